"""Families of networks that are no decoders: their checkpoints under published names against code that is
not ours, then every one on every target in every precision, proved by `edge verify` itself.

`pytest tests/parity/test_towers.py --record docs/parity.json` keeps the errors for the README.
"""

import errno
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Recorder
from support import nothing_left
from towers import TOWERS, pictures

from edge import targets
from edge.artifact.manifest import Artifact
from edge.artifact.publishing import partial_of
from edge.convert import one_pass
from edge.convert.conversion import convert
from edge.convert.options import Options
from edge.errors import Damaged, EdgeError, Unsupported
from edge.families import families, family_of, pipelines
from edge.files.config import Config
from edge.measure.inspection import parameters
from edge.nn.resizing import matrix
from edge.prove.networks import verify
from edge.quant.recipe import parse
from edge.run.opening import open_net_proof
from edge.source.checkpoint import Checkpoint
from edge_runtimes.reference import net_oracle

pytest.importorskip("torch")
pytest.importorskip("transformers")

SHOWN = ("internvl", "groma", "groma_detector")  # pipelines that are shown pictures
SPEECH = tuple(f"{one.name}_" for one in pipelines() if one.name not in SHOWN)
Arrays = Mapping[str, np.ndarray]
TARGETS = ("coreml", "mlx", "onnx", "torch")
OWN = {
    "onnx": ("rtn-int8-g32", "bf16"),
    "coreml": ("lut4-g1-fp16",),
    "mlx": ("bf16",),
    "torch": ("bf16", "nf4"),
}
VARIANTS = [
    (family, name, fields)
    for family, tower in TOWERS.items()
    for name, fields in {"tiny": {}, **tower.variants}.items()
]


def off(got: np.ndarray, want: np.ndarray) -> float:
    assert got.shape == want.shape
    return float(np.abs(got - want).max() / np.abs(want).max())


def apart(got: Arrays, want: np.ndarray | Arrays) -> float:
    """Of all outputs the farthest; what has no name is the only one."""
    wanted = want if isinstance(want, Mapping) else dict(zip(got, [want], strict=True))
    assert got.keys() == wanted.keys()
    return max(off(found, wanted[name]) for name, found in got.items())


def test_every_family_of_networks_is_here() -> None:
    """Those of speech have tests of their own, test_speech_checkpoints.py."""
    speech = {
        "recognizer",
        "vocos",
        *(part.name for part in families() if part.name.startswith(SPEECH)),
    }
    others = {family.name for family in families() if family.network is not None} - speech
    assert others == set(TOWERS)


@pytest.mark.parametrize(("family", "name", "fields"), VARIANTS)
def test_a_checkpoint_is_what_others_compute(
    family: str, name: str, fields: dict[str, Any], tmp_path: Path
) -> None:
    tower = TOWERS[family]
    reference = tower.write(tmp_path / "it", **fields)
    given = tower.inputs(**fields)
    with Checkpoint.open(tmp_path / "it") as checkpoint:
        got = net_oracle(checkpoint, parse("fp32"))(**given)
    assert apart(got, reference(*given.values())) <= 5e-6


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("family", "recipe"), [(f, recipe) for f, tower in TOWERS.items() for recipe in tower.recipes]
)
def test_a_target_is_its_source(
    family: str, target: str, recipe: str, tmp_path: Path, record: Recorder
) -> None:
    proved(family, target, recipe, tmp_path, record)


@pytest.mark.parametrize(("target", "recipe"), [(t, r) for t, some in OWN.items() for r in some])
def test_and_in_what_a_target_has_of_its_own(
    target: str, recipe: str, tmp_path: Path, record: Recorder
) -> None:
    proved("vit", target, recipe, tmp_path, record)


def proved(family: str, target: str, recipe: str, folder: Path, record: Recorder) -> None:
    tower = TOWERS[family]
    reference = tower.write(folder / "source")
    artifact = convert(folder / "source", folder / "out", Options(target=target, quant=recipe))
    report = verify(artifact, folder / "source")
    record(family=family, target=target, recipe=recipe, error=report.error)
    assert report.passed, report
    given = tower.inputs()
    got = open_net_proof(artifact, exact=True)(**given)
    off_by = apart(got, reference(*given.values()))
    if recipe == "fp32":
        assert off_by <= 5e-6
    else:  # far enough to show that bits were taken away, near enough to be the same network
        assert 1e-7 < off_by < 0.5


@pytest.mark.parametrize("family", TOWERS)
def test_gguf_refuses_by_name(family: str, tmp_path: Path) -> None:
    TOWERS[family].write(tmp_path / "source")
    with pytest.raises(Unsupported, match="gguf cannot hold networks that are no decoders"):
        convert(tmp_path / "source", tmp_path / "out", Options(target="gguf", quant="fp16"))
    assert nothing_left(tmp_path / "out")


@pytest.mark.parametrize(
    ("family", "name"), [(f, name) for f, tower in TOWERS.items() for name in tower.published]
)
def test_published_configs_have_the_published_sizes(family: str, name: str) -> None:
    fields, count = TOWERS[family].published[name]
    config = Config(fields, "config.json")
    assert family_of(config).name == family
    assert parameters(family_of(config).spec(config)) == pytest.approx(count, rel=5e-3)


def test_a_changed_byte_of_the_weights_fails_the_proof(tmp_path: Path) -> None:
    TOWERS["vit"].write(tmp_path / "source")
    artifact = convert(tmp_path / "source", tmp_path / "out", Options(target="torch", quant="fp32"))
    file = artifact.folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-3] ^= 0x40
    file.write_bytes(content)
    report = verify(Artifact.open(artifact.folder), tmp_path / "source")
    assert not report.passed
    assert report.differing_bytes > 0
    assert report.changed_files == ("model.safetensors",)


def test_a_proof_against_another_source_is_refused(tmp_path: Path) -> None:
    TOWERS["vit"].write(tmp_path / "source")
    TOWERS["vit"].write(tmp_path / "other", num_labels=8)
    artifact = convert(tmp_path / "source", tmp_path / "out", Options(target="torch", quant="fp32"))
    with pytest.raises(EdgeError, match="another model"):
        verify(artifact, tmp_path / "other")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hidden_act": "relu"}, "hidden_act"),
        ({"num_channels": 1}, "num_channels"),
        ({"image_size": 18}, "no whole patches"),
        ({"architectures": ["ViTForMaskedImageModeling"]}, "architectures"),
        ({"num_attention_heads": 5}, "heads"),
        ({"num_hidden_layers": 100_000}, "num_hidden_layers"),
        ({"patch_size": [4, 2]}, "patch_size"),
        ({"hidden_size": 1 << 40}, "hidden_size"),
    ],
)
def test_what_is_not_computed_is_refused_by_name(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    TOWERS["vit"].write(tmp_path / "it")
    file = tmp_path / "it" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises((Damaged, Unsupported), match=words):
        convert(tmp_path / "it", tmp_path / "out", Options(target="onnx", quant="fp32"))


@pytest.mark.parametrize("target", TARGETS)
def test_a_conversion_that_filled_the_disk_goes_on(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a matrix is written only once all of its rows are there."""
    TOWERS["catlip"].write(tmp_path / "source")
    options = Options(target=target, quant="int8")
    whole = convert(tmp_path / "source", tmp_path / "whole", options)
    monkeypatch.setattr(one_pass, "_MARK", 1 << 10)  # a journal that is brought up to date often
    marks, mark = 0, one_pass.Journal.mark

    def stopped(journal: one_pass.Journal, names: Sequence[str]) -> None:
        nonlocal marks
        mark(journal, names)
        marks += 1
        if marks in (2, 4, 6):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(one_pass.Journal, "mark", stopped)
    for _ in range(3):
        with pytest.raises(OSError, match="No space left"):
            convert(tmp_path / "source", tmp_path / "out", options)
        assert (partial_of(tmp_path / "out") / one_pass.JOURNAL).exists()
    assert convert(tmp_path / "source", tmp_path / "out", options).manifest.files == (
        whole.manifest.files
    )


def test_positions_of_another_size_are_those_of_transformers(tmp_path: Path) -> None:
    """DINOv2's own code resizes them at each call."""
    tower = TOWERS["dinov2"]
    reference = tower.write(tmp_path / "it")
    with Checkpoint.open(tmp_path / "it", changes={"image_size": 24}) as checkpoint:
        image = pictures({"image_size": 24})
        got = net_oracle(checkpoint, parse("fp32"))(image=image)
    assert apart(got, reference(image)) <= 5e-6


def test_positions_of_a_picture_that_is_no_square(tmp_path: Path) -> None:
    """Height and width were taken for each other elsewhere (facebookresearch/dinov2#333, #506)."""
    tower = TOWERS["dinov2"]
    reference = tower.write(tmp_path / "it")
    with Checkpoint.open(tmp_path / "it", changes={"image_size": [12, 20]}) as checkpoint:
        rng = np.random.default_rng(3)
        image = rng.standard_normal((2, 12, 20, 3)).astype(np.float32)
        got = net_oracle(checkpoint, parse("fp32"))(image=image)
    assert apart(got, reference(image)) <= 5e-6


@pytest.mark.parametrize(
    ("start", "stop"),
    [(14, 61), (14, 115), (14, 122), *((37, n) for n in (39, 43, 78, 86, 115, 123))],
)
def test_sizes_whose_scale_does_not_come_back(start: int, stop: int) -> None:
    """A float of n / start times start is not n for these (facebookresearch/dinov2#378)."""
    import torch

    x = torch.randn(1, 3, start, start, generator=torch.Generator().manual_seed(0))
    want = torch.nn.functional.interpolate(x, size=(stop, stop), mode="bicubic")[0].numpy()
    by = matrix(start, stop, "bicubic")
    assert off(np.einsum("as,bt,cst->cab", by, by, x[0].numpy()), want) <= 5e-6


def test_a_config_of_another_size_is_said(tmp_path: Path) -> None:
    """Weights of 577 positions under a config of 197 (Gourieff/ComfyUI-ReActor#20)."""
    TOWERS["vit"].write(tmp_path / "it")
    file = tmp_path / "it" / "config.json"
    said: list[str] = []
    convert(tmp_path / "it", tmp_path / "a", Options(target="torch"), say=said.append)
    assert said == []
    file.write_text(json.dumps({**json.loads(file.read_text()), "image_size": 24}))
    convert(tmp_path / "it", tmp_path / "b", Options(target="torch"), say=said.append)
    (note,) = said
    assert "17 rows, and 37 are made" in note


def test_names_of_targets(tmp_path: Path) -> None:
    """Whoever holds networks runs them, too."""
    assert set(targets.offering("converters", "net_layout")) == set(TARGETS)
    assert set(targets.offering("runtimes", "open_net")) == set(TARGETS)
