"""Weights that are rounded by a text: proved on every target, the same alone and together, whole or killed."""

import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import NETWORKS
from support import nothing_left, run, tiny

import edge.convert.calibrated
from edge import targets
from edge.api import eval_text, verify_artifact
from edge.artifact.manifest import Artifact, recipe_of
from edge.convert.calibrated import Heard, Reading
from edge.convert.calibration import FEW, Calibration
from edge.convert.conversion import convert, convert_all
from edge.convert.networks import floats_first
from edge.convert.options import Options
from edge.convert.streams import FILE as STREAMS
from edge.errors import EdgeError, Unsupported
from edge.names import shapes
from edge.quant.recipe import parse
from edge.source.checkpoint import Checkpoint
from edge.system.progress import silent

RECIPES = {
    "onnx": "gptq-int4-g32",
    "torch": "gptq-int4-g32-bf16",
    "mlx": "gptq-int3-g32-min",
    "gguf": "gptq-int4-g32-min-fp16",
    "coreml": "gptq-int4-g32",
}


def asked(world_text: Path, target: str = "onnx", **more: object) -> Options:
    recipe = str(more.pop("quant", RECIPES[target]))
    return Options(target=target, quant=recipe, calibrate=Calibration.of(world_text, 600), **more)  # type: ignore[arg-type]


def contents(artifact: Artifact) -> dict[str, str]:
    return dict(artifact.files)


@pytest.mark.parametrize("target", RECIPES)
def test_every_target_holds_what_a_text_made(
    target: str, world_text: Path, tmp_path: Path, short_stories: Path
) -> None:
    artifact = convert(short_stories, tmp_path / "it", asked(world_text, target))
    found = artifact.manifest.calibration
    assert found is not None
    assert found["text"] == world_text.name
    report = verify_artifact(artifact.folder, str(short_stories), tokens=24)
    assert report.passed, report
    plain = convert(
        short_stories,
        tmp_path / "plain",
        Options(target=target, quant=RECIPES[target].replace("gptq", "rtn")),
    )
    assert artifact.nbytes == pytest.approx(plain.nbytes, rel=0.01)


def test_a_weight_that_was_changed_since_is_found(
    world_text: Path, tmp_path: Path, short_stories: Path
) -> None:
    """No text is at hand to make it again: it lies too far from its source."""
    artifact = convert(
        short_stories, tmp_path / "it", asked(world_text, "torch", quant="gptq-int8-g32")
    )
    file = next(artifact.folder.glob("*.safetensors"))
    data = bytearray(file.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    name = next(key for key in header if "layers.0.attn.q" in key and "scale" not in key)
    begin, end = header[name]["data_offsets"]
    data[start + begin : start + end] = bytes((end - begin) * [255])
    file.write_bytes(data)
    report = verify_artifact(artifact.folder, str(short_stories), tokens=8)
    assert not report.passed
    assert not next(m for m in report.matrices if m.name == "layers.0.attn.q").near


def test_several_targets_are_made_as_each_alone(
    world_text: Path, tmp_path: Path, short_stories: Path
) -> None:
    outs = {target: tmp_path / target for target in ("onnx", "torch")}
    together = convert_all(short_stories, outs, asked(world_text))
    for artifact, target in zip(together, outs, strict=True):
        options = asked(world_text, target, quant=RECIPES["onnx"])
        assert contents(artifact) == contents(
            convert(short_stories, tmp_path / f"{target}-alone", options)
        )


@pytest.fixture
def killed_after(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Conversions stop once streams were kept so many times."""
    left: list[int] = []
    keep = Reading.keep

    def stopping(self: Reading, *given: object) -> object:
        if left and left[0] == 0:  # what was done stays, as where a process was killed
            raise OSError(errno.ENOSPC, "full")
        kept = keep(self, *given)  # type: ignore[arg-type]
        if left:
            left[0] -= 1
        return kept

    monkeypatch.setattr(Reading, "keep", stopping)
    return left


def test_a_conversion_killed_after_any_layer_ends_in_the_same_bytes(
    world_text: Path,
    tmp_path: Path,
    killed_after: list[int],
    monkeypatch: pytest.MonkeyPatch,
    short_stories: Path,
) -> None:
    whole = convert(short_stories, tmp_path / "whole", asked(world_text))
    layers = len(whole.manifest.decoder.layers)
    for kept in (0, 1, layers - 1):
        out = tmp_path / f"killed-{kept}"
        killed_after[:] = [kept]
        with pytest.raises(OSError, match="full"):
            convert(short_stories, out, asked(world_text))
        killed_after.clear()
        begun: list[int] = []
        made = edge.convert.calibrated._codes

        def counted(*given: object, made=made, begun=begun) -> object:  # type: ignore[no-untyped-def]
            begun.append(1)
            return made(*given)

        monkeypatch.setattr(edge.convert.calibrated, "_codes", counted)
        again = convert(short_stories, out, asked(world_text))
        monkeypatch.setattr(edge.convert.calibrated, "_codes", made)
        assert len(begun) == layers - kept + 1, "and the head"
        assert contents(again) == contents(whole)
        assert not list(out.rglob(f"*{STREAMS}"))


def test_streams_of_another_conversion_or_none_are_left_alone(
    world_text: Path, tmp_path: Path, short_stories: Path
) -> None:
    with Checkpoint.open(short_stories) as checkpoint:
        windows = Calibration.of(world_text, 600).windows(short_stories, checkpoint.decoder.context)
        walk = targets.oracle().walk(checkpoint, windows)
        left = walk.through(None, lambda _: None)
        kept = Reading(windows, tmp_path, "one", silent).keep(1, left)
        assert [np.array_equal(*pair) for pair in zip(kept, left, strict=True)] == [True] * len(
            left
        )
        for key, layer in (("one", 1), ("other", 0)):
            fresh = targets.oracle().walk(checkpoint, windows)
            Reading(windows, tmp_path, key, silent).back(fresh)
            assert fresh.layer == layer
            assert np.array_equal(fresh.streams[0], left[0]) == (layer == 1)
        other = [*windows[:-1], windows[-1][:-1]]
        Reading(other, tmp_path, "one", silent).back(
            shorter := targets.oracle().walk(checkpoint, other)
        )
        assert shorter.layer == 0
        (tmp_path / STREAMS).write_bytes(b"\x08\0\0\0\0\0\0\0nonsense")
        fresh = targets.oracle().walk(checkpoint, windows)
        Reading(windows, tmp_path, "one", silent).back(fresh)
        assert fresh.layer == 0


def test_a_walk_by_its_own_weights_is_the_model(world_text: Path, short_stories: Path) -> None:
    with Checkpoint.open(short_stories) as checkpoint:
        ids = [1, *range(40, 70)]
        walk = targets.oracle().walk(checkpoint, [ids, ids[:9]])
        heard: dict[str, list[tuple[int, ...]]] = {}
        while walk.layer < len(checkpoint.decoder.layers):
            walk.arrive(
                walk.through(
                    lambda names, x: heard.setdefault(names[0], []).append(x.shape), lambda _: None
                )
            )
        width = checkpoint.decoder.width
        assert heard["layers.0.attn.q"] == [(31, width), (9, width)]
        assert {name.rpartition(".")[2] for name in heard} == {"q", "o", "gate", "down"}
        pure = targets.oracle().oracle(checkpoint, parse("fp32"))
        from edge.nn.decoder import head
        from edge_runtimes.reference.decoder import checkpoint_weights
        from edge_runtimes.reference.ops import Cache, NumpyOps

        ops = NumpyOps(checkpoint_weights(checkpoint), Cache(), 0, False)
        found = head(ops, checkpoint.decoder, walk.streams[0], None)
        np.testing.assert_allclose(found, pure.score(ids), rtol=1e-4, atol=1e-4)


def test_less_is_lost_than_by_rounding_alone(assets: Path, tmp_path: Path) -> None:
    """Real weights, and stories that calibration did not see."""
    source, texts = assets / "llm" / "stories-260k", assets / "text" / "tinystories"
    seen = Calibration.of(texts / "tinystories_sample.txt", 4000)
    held = tmp_path / "held.txt"
    held.write_text((texts / "minigpt-tinystories.txt").read_text()[:20_000])
    lost = {}
    for method, text in (("rtn", None), ("gptq", seen)):
        recipe = f"{method}-int4-g32"
        options = Options(target="torch", quant=recipe, embed="fp32", head="fp32", calibrate=text)
        artifact = convert(source, tmp_path / method, options)
        lost[method] = eval_text(artifact.folder, held, window=None, threads=1).nats_per_token
    assert lost["gptq"] < lost["rtn"] - 0.01, lost


def test_a_text_comes_with_edge(tmp_path: Path, short_stories: Path) -> None:
    command = ["convert", str(short_stories), "--to", "onnx", "--quant", "gptq-int4-g32"]
    command += ["--calibrate-tokens", "300", "-o", str(tmp_path / "it"), "--json"]
    done = run(*command)
    assert done.returncode == 0, done.stderr
    found = Artifact.open(tmp_path / "it").manifest.calibration
    assert found is not None
    assert found["text"] == "calibration.txt"
    assert found["sha256"] == Calibration.packaged().sha256


@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_a_text_of_a_few_words_is_enough_to_go_on(
    method: str, tmp_path: Path, short_stories: Path
) -> None:
    """Fewer tokens than a matrix has inputs (AutoGPTQ#98); fewer than sixteen are no text."""
    few = tmp_path / "few.txt"
    few.write_text("Marla had a red kite. Tomtin had a blue drum. The red kite made Marla happy.")
    options = Options(target="onnx", quant=f"{method}-int4-g32", calibrate=Calibration.of(few, 40))
    assert verify_artifact(
        convert(short_stories, tmp_path / "it", options).folder, str(short_stories), tokens=8
    ).passed
    few.write_text("a few")
    options = Options(target="onnx", quant=f"{method}-int4-g32", calibrate=Calibration.of(few, 40))
    with pytest.raises(EdgeError, match=r"is of \d tokens"):
        convert(short_stories, tmp_path / "none", options)
    assert nothing_left(tmp_path / "none")


@pytest.mark.parametrize("values", [np.nan, np.inf, 3e38])
def test_inputs_that_are_no_numbers_are_said(values: float) -> None:
    heard = Heard()
    with np.errstate(over="ignore", invalid="ignore"):
        heard.hear(("layers.3.mlp.down",), np.full((4, 8), values, np.float32))
        with pytest.raises(EdgeError, match=r"layers\.3\.mlp\.down multiplies is no number"):
            heard.take(("layers.3.mlp.down",))


@pytest.mark.parametrize("target", ["onnx", "mlx", "gguf"])
def test_codes_are_made_again_by_their_text(
    target: str, world_text: Path, tmp_path: Path, short_stories: Path
) -> None:
    """One code that another hand moved by a step is within all bounds, and found so."""
    artifact = convert(short_stories, tmp_path / "it", asked(world_text, target))
    folder, source = artifact.folder, str(short_stories)

    def verified(text: Path | None = world_text) -> Any:
        return verify_artifact(folder, source, tokens=4, remake=True, calibrate=text)

    report = verified()
    assert (report.passed, report.differing_bytes) == (True, 0)
    with pytest.raises(EdgeError, match=r"another text than 'world\.txt'"):
        verified(None)
    file = next(
        folder / name
        for name in ("model.onnx.data", "model.safetensors", "model.gguf")
        if (folder / name).is_file()
    )
    content = bytearray(file.read_bytes())
    at = len(content) // 2
    content[at] ^= 1
    file.write_bytes(content)
    assert verified().differing_bytes == 1


def test_what_no_text_rounded_is_not_rounded_again(
    tmp_path: Path, short_stories: Path, world_text: Path
) -> None:
    options = Options(target="onnx", quant="rtn-int4-g32")
    artifact = convert(short_stories, tmp_path / "it", options)
    with pytest.raises(EdgeError, match="was not rounded by a text"):
        verify_artifact(artifact.folder, str(short_stories), tokens=4, remake=True)
    done = run("verify", str(artifact.folder), "--calibrate", str(world_text))
    assert done.returncode == 2
    assert "--calibrate is of --remake" in done.stderr


@pytest.mark.parametrize("target", targets.names("converters"))
def test_int4_is_the_best_codes_in_groups_that_fit(
    target: str, tmp_path: Path, short_stories: Path, world_text: Path
) -> None:
    """The manifest says what was chosen, and by which text."""
    made = convert(short_stories, tmp_path / "it", Options(target=target))
    manifest, spec = made.manifest, made.manifest.decoder
    schemes = recipe_of(manifest)
    assert manifest.calibration is not None
    assert int(str(manifest.calibration["tokens"])) < FEW + 100
    widest = parse(targets.converter(target).BODIES["int4"]).body.group or 0
    for name, shape in shapes(spec).items():
        if name.startswith("layers.") and len(shape) == 2:
            scheme = schemes.scheme(name)
            fits = [group for group in (128, 64, 32) if group <= widest and shape[1] % group == 0]
            assert (scheme.method, scheme.group) == ("gptq", fits[0]), name
    assert schemes.head.method == "gptq"


@pytest.mark.parametrize(
    "given", [{"head": "int8"}, {"embed": "int8"}, {"embed": "fp16", "head": "int8"}]
)
def test_ends_of_their_own_are_not_those_of_int4(
    given: dict[str, str], tmp_path: Path, short_stories: Path
) -> None:
    """A head that is the embedding is two weights then, each as it was asked for (GPTQModel#3050)."""
    made = convert(short_stories, tmp_path / "it", Options(target="onnx", **given))  # type: ignore[arg-type]
    schemes = recipe_of(made.manifest)
    assert made.manifest.decoder.tied
    for part, scheme in (("embed", schemes.embed), ("head", schemes.head)):
        if part in given:
            assert str(scheme) == {"int8": "int8-g32", "fp16": "fp16"}[given[part]], part
    assert verify_artifact(made.folder, str(short_stories), tokens=8).passed


def test_a_conversion_is_the_same_every_time(tmp_path: Path, short_stories: Path) -> None:
    """As mlx-lm#1759 and omlx#2293 were not."""
    one, other = (convert(short_stories, tmp_path / name, Options()) for name in ("a", "b"))
    assert contents(one) == contents(other)


def test_int4_without_a_tokenizer_asks_for_no_text(tmp_path: Path) -> None:
    source = tiny(tmp_path / "source", "llama")
    made = convert(source, tmp_path / "it", Options(target="onnx")).manifest
    assert (made.calibration, recipe_of(made).body.method) == (None, "search")
    own = Options(target="onnx", overrides={"layers.*.mlp.*": "fp16"}, head="int8")
    made = convert(source, tmp_path / "own", own).manifest
    assert made.overrides == {"layers.*.mlp.*": "fp16"}
    assert made.head == "rtn-int8-g32"


def test_what_reads_no_text_is_not_rounded_by_one(
    world_text: Path, tmp_path: Path, short_stories: Path
) -> None:
    source = tiny(tmp_path / "source", "llama")
    with pytest.raises(EdgeError, match="no tokenizer to read the text that"):
        convert(source, tmp_path / "it", Options(target="onnx", quant="gptq-int4-g32"))
    with pytest.raises(EdgeError, match="--calibrate would change nothing"):
        convert(short_stories, tmp_path / "it", asked(world_text, quant="rtn-int4-g32"))
    with pytest.raises(Unsupported, match="this network reads none"):
        floats_first(parse("gptq-int4-g32"), NETWORKS["vit"])
