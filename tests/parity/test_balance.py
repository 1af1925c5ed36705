"""Weights that are balanced before they are rounded: the model is the same, its codes lose less, and an artifact
keeps what its bytes can be made again from.
"""

from pathlib import Path

import numpy as np
import pytest
from support import CONFIGS, tiny

from edge import targets
from edge.api import eval_text, verify_artifact
from edge.artifact import vectors
from edge.artifact.manifest import Artifact
from edge.convert.calibrated import Reading
from edge.convert.calibration import Calibration
from edge.convert.conversion import convert, convert_all
from edge.convert.options import Options
from edge.errors import Damaged
from edge.quant.balance import joints
from edge.quant.recipe import parse
from edge.source.checkpoint import Checkpoint
from edge.typing import F32

RECIPES = {
    "onnx": "awq-int4-g32",
    "torch": "awq-int4-g32-bf16",
    "mlx": "awq-int3-g32-min",
    "gguf": "awq-int4-g32-min-fp16",
    "coreml": "awq-int4-g32",
}


def asked(world_text: Path, target: str, quant: str | None = None) -> Options:
    return Options(
        target=target, quant=quant or RECIPES[target], calibrate=Calibration.of(world_text, 400)
    )


def made_up(checkpoint: Checkpoint) -> dict[str, F32]:
    """Numbers far apart for everything that can be balanced."""
    spec, rng = checkpoint.decoder, np.random.default_rng(4)
    every = [joint for i in range(len(spec.layers)) for joint in joints(spec, i)]
    return {
        joint.before: np.exp(rng.normal(size=joint.width)).astype(np.float32) for joint in every
    }


@pytest.mark.parametrize("family", CONFIGS)
def test_a_balanced_model_says_what_it_said(family: str, tmp_path: Path) -> None:
    ids = [3, 1, 4, 1, 5, 9, 2, 6]
    with Checkpoint.open(tiny(tmp_path / "source", family)) as checkpoint:
        other = checkpoint.balanced(made_up(checkpoint))
        found, want = (
            targets.oracle().oracle(one, parse("fp32")).score(ids) for one in (other, checkpoint)
        )
        said = np.isfinite(want)  # some ids are forbidden
        assert np.array_equal(np.isfinite(found), said)
        assert np.abs(found[said] - want[said]).max() <= 1e-5 * np.abs(want[said]).max()
        changed = [
            name for name in checkpoint.places if not np.array_equal(other[name], checkpoint[name])
        ]
        inner = [
            name for name in checkpoint.places if name.startswith("layers.") and "_norm" not in name
        ]
        assert set(changed) <= set(inner)
        assert {
            name for name in inner if name.endswith((".q", ".k", ".v", ".o", ".gate", ".up"))
        } <= set(changed)


@pytest.mark.parametrize(
    ("target", "recipe"),
    [*RECIPES.items(), ("onnx", "smoothquant-w8a8"), ("gguf", "smoothquant-int8-g32-fp16")],
)
def test_every_target_holds_it_and_its_bytes_are_made_again(
    target: str, recipe: str, world_text: Path, tmp_path: Path, short_stories: Path
) -> None:
    artifact = convert(short_stories, tmp_path / "it", asked(world_text, target, recipe))
    assert vectors.BALANCE in artifact.manifest.files
    report = verify_artifact(artifact.folder, str(short_stories), tokens=16)
    assert report.passed, report
    assert report.differing_bytes == 0
    file = artifact.folder / vectors.BALANCE
    table = vectors.read(file)
    first = next(iter(table))
    vectors.write(file, table | {first: table[first] * np.float32(1.5)})
    assert not verify_artifact(artifact.folder, str(short_stories), tokens=8).passed


def test_together_as_alone_and_again_as_at_first(
    world_text: Path, tmp_path: Path, short_stories: Path
) -> None:
    outs = {target: tmp_path / target for target in ("onnx", "coreml")}
    for artifact, target in zip(
        convert_all(short_stories, outs, asked(world_text, "onnx")), outs, strict=True
    ):
        alone = convert(
            short_stories, tmp_path / f"{target}-2", asked(world_text, target, RECIPES["onnx"])
        )
        assert artifact.files == alone.files


def test_a_killed_one_goes_on(
    world_text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short_stories: Path
) -> None:
    import errno

    whole = convert(short_stories, tmp_path / "whole", asked(world_text, "onnx"))
    keep, count = Reading.keep, []

    def stopping(self: Reading, *given: object) -> object:
        kept = keep(self, *given)  # type: ignore[arg-type]
        count.append(1)
        if len(count) == 2:
            raise OSError(errno.ENOSPC, "full")
        return kept

    monkeypatch.setattr(Reading, "keep", stopping)
    with pytest.raises(OSError, match="full"):
        convert(short_stories, tmp_path / "it", asked(world_text, "onnx"))
    again = convert(short_stories, tmp_path / "it", asked(world_text, "onnx"))
    # Each layer is gone through to balance it, then to round it; the first two were not once more.
    assert len(count) == 2 * len(whole.manifest.decoder.layers)
    assert again.files == whole.files


@pytest.mark.parametrize(
    "wrong",
    [
        {"layers.0.attn.norm": np.ones(3, np.float32)},
        {"layers.0.attn.q": np.ones(160, np.float32)},
        {"layers.99.attn.norm": np.ones(160, np.float32)},
        {"layers.0.attn.norm": np.zeros(160, np.float32)},
        {"layers.0.attn.norm": np.full(160, np.inf, np.float32)},
    ],
)
def test_numbers_of_another_model_are_refused(
    wrong: dict[str, F32],
    world_text: Path,
    tmp_path: Path,
    module_artifact: Artifact,
    short_stories: Path,
) -> None:
    file = module_artifact.folder / vectors.BALANCE
    before = file.read_bytes()
    try:
        vectors.write(file, wrong)
        with pytest.raises(Damaged):
            verify_artifact(module_artifact.folder, str(short_stories), tokens=8)
    finally:
        file.write_bytes(before)


@pytest.fixture(scope="module")
def module_artifact(
    world_text: Path, tmp_path_factory: pytest.TempPathFactory, short_stories: Path
) -> Artifact:
    return convert(
        short_stories, tmp_path_factory.mktemp("made") / "it", asked(world_text, "torch")
    )


def test_less_is_lost_than_by_rounding_alone(assets: Path, tmp_path: Path) -> None:
    source, texts = assets / "llm" / "stories-260k", assets / "text" / "tinystories"
    held = tmp_path / "held.txt"
    held.write_text((texts / "minigpt-tinystories.txt").read_text()[:20_000])
    lost = {}
    for method in ("rtn", "awq"):
        text = Calibration.of(texts / "tinystories_sample.txt", 4000) if method == "awq" else None
        recipe = f"{method}-int4-g32"
        options = Options(target="torch", quant=recipe, embed="fp32", head="fp32", calibrate=text)
        artifact = convert(source, tmp_path / method, options)
        found = eval_text(artifact.folder, held, window=None, threads=1, against=str(source))
        assert found.kl is not None
        lost[method] = found.kl
    assert lost["awq"] < 0.9 * lost["rtn"], lost


def test_one_text_balances_some_weights_and_rounds_others(
    world_text: Path, tmp_path: Path, short_stories: Path
) -> None:
    options = asked(world_text, "onnx")
    mixed = Options(
        target="onnx",
        quant=options.quant,
        calibrate=options.calibrate,
        overrides={"layers.0.*": "gptq-int4-g32"},
    )
    artifact = convert(short_stories, tmp_path / "it", mixed)
    assert verify_artifact(artifact.folder, str(short_stories), tokens=16).passed
    again = verify_artifact(
        artifact.folder, str(short_stories), tokens=8, remake=True, calibrate=world_text
    )
    assert again.passed, again
    assert again.differing_bytes == 0
