"""Artifacts of networks whose edge.json lies, checkpoints whose config does. One error, soon."""

import json
import shutil
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attack import Change, refused, rewrite
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from towers import TOWERS

import edge
from edge.artifact.manifest import MANIFEST
from edge.convert.conversion import convert
from edge.convert.options import Options
from edge.errors import Damaged, EdgeError, Unsupported
from edge.measure.inspection import inspect
from edge.vision.pictures import Picture

PICTURE = Picture(rgb=np.zeros((70, 80, 3), np.uint8))
TARGETS = ("onnx", "mlx", "torch", "coreml")
MODULES = {"onnx": "onnxruntime", "mlx": "mlx.core", "torch": "torch", "coreml": "coremltools"}


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    TOWERS["catlip"].write(folder / "source")
    for target in TARGETS:
        pytest.importorskip(MODULES[target])
        convert(folder / "source", folder / target, Options(target=target, quant="int8"))
    return folder


@pytest.fixture(params=TARGETS)
def artifact(request: pytest.FixtureRequest, every: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(every / request.param, tmp_path / request.param))


def shown(folder: Path) -> list[Any]:
    more = {"reference": True} if folder.name == "coreml" else {}
    return edge.load(folder, unchecked=True, **more).classify(PICTURE)


def config(change: dict[str, Any]) -> Change:
    return lambda d: d["spec"]["config"].update(change)


UNREADABLE: dict[str, Change] = {
    "another kind": lambda d: d["spec"].update(kind="os"),
    "no config": lambda d: d["spec"].pop("config"),
    "a field more": config({"code": "import os"}),
    "no width": config({"width": None}),
    "a negative width": config({"width": -64}),
    "huge sizes": config({"width": 1 << 40}),
    "many layers": config({"layers": 100_000}),
    "heads that do not divide": config({"heads": 3}),
    "a grid of one": config({"grid": [4]}),
    "a stem of texts": config({"stem": [["a", 1]]}),
    "a preparation of nothing": lambda d: d["vision"].update(preparation={}),
    "no vision's scores": lambda d: d["vision"].update(scores="pickle"),
    "a deviation of zero": lambda d: d["vision"]["preparation"].update(std=[0, 0, 0]),
    "a resize to gigabytes": lambda d: d["vision"]["preparation"].update(resize=1 << 40),
    "a cut of texts": lambda d: d["vision"].update(cut=[["a"]]),
    "an empty cut": lambda d: d["vision"].update(cut=[[]]),
    "changes of a list": lambda d: d.update(changes=[1]),
}
OTHERS: dict[str, Change] = {  # each of them true of another network
    "wider": config({"width": 128}),
    "more layers": config({"layers": 3}),
    "fewer layers": config({"layers": 1}),
    "a larger grid": config({"grid": [400, 400]}),
    "no head": config({"classes": None}),
    "more classes": config({"classes": 41}),
}


@pytest.mark.parametrize("change", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_manifests_that_cannot_be(artifact: Path, change: Change) -> None:
    rewrite(artifact, change)
    with refused(Damaged):
        inspect(artifact)


def test_a_graph_that_cannot_be_computed(every: Path, tmp_path: Path) -> None:
    """It is whole, and one of its shapes is of other numbers: found by fuzzing."""
    folder = Path(shutil.copytree(every / "onnx", tmp_path / "onnx"))
    right, wrong = struct.pack("<4q", -1, 8, 8, 16), struct.pack("<4q", -1, 8, 8, 7 << 24)
    for file in ("model.onnx", "signed.onnx"):
        content = (folder / file).read_bytes()
        assert right in content
        (folder / file).write_bytes(content.replace(right, wrong))
    with pytest.raises(Damaged, match="Reshape"):
        shown(folder)


# Where a graph is stored it says itself what it computes: its ports alone must be the manifest's.
GRAPHS, WITHIN = ("onnx", "coreml"), ("wider", "more layers", "fewer layers")


@pytest.mark.parametrize("name", OTHERS)
def test_manifests_of_another_network(artifact: Path, name: str) -> None:
    before = shown(artifact)
    rewrite(artifact, OTHERS[name])
    if artifact.name in GRAPHS and name in WITHIN:
        assert shown(artifact) == before
        return
    with pytest.raises(EdgeError) as caught:
        shown(artifact)
    assert type(caught.value) in (Damaged, Unsupported)
    assert len(str(caught.value)) < 1000


def test_a_cut_beyond_the_head_and_labels_that_are_missing(artifact: Path) -> None:
    (artifact / "labels.txt").write_text("one\ntwo\n")
    with refused(Damaged, "2 lines for a head of 40 rows"):
        shown(artifact)


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9])
def test_truncated_weights(artifact: Path, part: float) -> None:
    (file,) = (
        path
        for path in artifact.rglob("*")
        if path.suffix in (".data", ".bin", ".safetensors") and path.is_file()
    )
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * part)])
    with pytest.raises(EdgeError):
        shown(artifact)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
def test_any_manifest_is_read_or_refused(every: Path, tmp_path: Path, data: st.DataObject) -> None:
    """A true one with one value of its spec or of how it is shown pictures, at any depth, replaced."""
    manifest = json.loads((every / "torch" / MANIFEST).read_text())
    place: Any = {key: manifest[key] for key in ("spec", "vision", "overrides")}
    manifest |= place
    while True:
        keys = sorted(place) if isinstance(place, dict) else range(len(place))
        key = data.draw(st.sampled_from(keys))
        deeper = isinstance(place[key], dict | list) and place[key]
        if not deeper or data.draw(st.booleans()):
            place[key] = data.draw(json_values)
            break
        place = place[key]
    folder = tmp_path / "torch"
    if not folder.exists():
        shutil.copytree(every / "torch", folder)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with suppress(EdgeError):
        inspect(folder)
        shown(folder)


@pytest.mark.parametrize(
    "fields",
    [
        {"id2label": {str(i): 7 for i in range(40)}},
        {"id2label": {str(i): "x" * 1000 for i in range(40)}},
        {"id2label": "cat"},
        {"image_size": [64, 64, 64]},
        {"image_size": 1 << 30},
        {"num_labels": 0},
        {"num_labels": 1 << 40},
        {"num_hidden_layers": -1},
        {"hidden_size": "64"},
    ],
    ids=lambda fields: str(fields)[:40],
)
def test_configs_that_lie(fields: dict[str, Any], tmp_path: Path) -> None:
    TOWERS["catlip"].write(tmp_path / "it")
    file = tmp_path / "it" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))
    with pytest.raises(EdgeError) as caught:
        convert(tmp_path / "it", tmp_path / "out", Options(target="torch", quant="fp32"))
    assert len(str(caught.value)) < 1000
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content",
    ["[1]", "{", '{"size": {"height": -1, "width": 2}}', '{"do_pad": true}', '{"resample": 7, "size": 4}'],
)  # fmt: skip
def test_preparations_that_lie(content: str, tmp_path: Path) -> None:
    TOWERS["catlip"].write(tmp_path / "it")
    (tmp_path / "it" / "preprocessor_config.json").write_text(content)
    with pytest.raises(EdgeError, match="preprocessor_config"):
        convert(tmp_path / "it", tmp_path / "out", Options(target="torch", quant="fp32"))
