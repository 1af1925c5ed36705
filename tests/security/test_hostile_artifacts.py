"""Artifacts whose edge.json lies, or whose files were changed. One error, soon."""

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from attack import Change, give_tokenizer, refused, rewrite
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import (
    converted,
    tiny,
)

from edge import api
from edge.artifact.manifest import MANIFEST, Artifact
from edge.errors import Damaged, EdgeError
from edge.measure.inspection import inspect


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    return converted(folder / "it", tiny(folder / "source", vocab_size=512), "int4")


@pytest.fixture
def artifact(whole: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(whole, tmp_path / "artifact"))


MANIFESTS: dict[str, Change] = {
    "parent": lambda d: d["files"].update({"../source/config.json": "0"}),
    "absolute": lambda d: d["files"].update({"/etc/passwd": "0"}),
    "dots": lambda d: d["files"].update({"..": "0"}),
    "empty name": lambda d: d["files"].update({"": "0"}),
    "missing file": lambda d: d["files"].update({"gone.bin": "0"}),
    "nul in a name": lambda d: d["files"].update({"a\0b": "0"}),
    "long name": lambda d: d["files"].update({"x" * 5000: "0"}),
    "many folders": lambda d: d["files"].update({"/".join(["x" * 200] * 40): "0"}),
    "surrogate in a name": lambda d: d["files"].update({"\ud800": "0"}),
    "hash of a number": lambda d: d["files"].update({"model.onnx": 7}),
    "files of a list": lambda d: d.update(files=["model.onnx"]),
    "schema of tomorrow": lambda d: d.update(schema=2),
    "no schema": lambda d: d.pop("schema"),
    "no spec": lambda d: d.pop("spec"),
    "no target": lambda d: d.pop("target"),
    "no layers": lambda d: d["spec"].update(layers=[]),
    "layers of numbers": lambda d: d["spec"].update(layers=[7]),
    "layer of nothing": lambda d: d["spec"].update(layers=[{}]),
    "heads that do not divide": lambda d: d["spec"]["layers"][0].update(kv_heads=3),
    "huge width": lambda d: d["spec"].update(width=10**12),
    "negative context": lambda d: d["spec"].update(context=-1),
    "verified of a list": lambda d: d.update(verified=[1]),
}


@pytest.mark.parametrize("change", MANIFESTS.values(), ids=MANIFESTS.keys())
def test_manifests_that_lie(artifact: Path, change: Change) -> None:
    rewrite(artifact, change)
    with refused(Damaged):
        inspect(artifact)


@pytest.mark.parametrize("target", ["", "../runtimes", "os", "reference", "nonsense"])
def test_a_manifest_of_another_target(artifact: Path, target: str) -> None:
    rewrite(artifact, lambda d: d.update(target=target))
    with refused(EdgeError, "target"):
        api.load(artifact)


def test_a_linked_file_is_not_followed(artifact: Path, tmp_path: Path) -> None:
    (artifact / "model.onnx.data").rename(tmp_path / "elsewhere")
    (artifact / "model.onnx.data").symlink_to(tmp_path / "elsewhere")
    with refused(Damaged, "model.onnx.data"):
        Artifact.open(artifact)


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data"])
@pytest.mark.parametrize("part", [0.0, 0.3, 0.9])
def test_truncated_files_of_an_artifact(
    artifact: Path, assets: Path, name: str, part: float
) -> None:
    file = artifact / name
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * part)])
    give_tokenizer(artifact, assets)
    with refused(Damaged, "model.onnx"):
        api.load(artifact)


LIES: dict[str, Change] = {  # each of them true of another model
    "more vocabulary": lambda d: d["spec"].update(vocab=513),
    "less vocabulary": lambda d: d["spec"].update(vocab=511),
    "more layers": lambda d: d["spec"].update(layers=d["spec"]["layers"] * 2),
    "fewer layers": lambda d: d["spec"].update(layers=d["spec"]["layers"][:1]),
    "other heads": lambda d: [layer.update(kv_heads=4) for layer in d["spec"]["layers"]],
    "longer context": lambda d: d["spec"].update(context=4096),
    "narrower heads": lambda d: [layer.update(head_width=8) for layer in d["spec"]["layers"]],
}


@pytest.mark.parametrize("change", LIES.values(), ids=LIES.keys())
def test_a_spec_that_is_not_the_graph_s(artifact: Path, assets: Path, change: Change) -> None:
    give_tokenizer(artifact, assets)
    rewrite(artifact, change)
    with refused(Damaged, "model.onnx"):
        api.load(artifact).decoder.prefill([1, 2, 3] * 30)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_any_manifest_is_read_or_refused(whole: Path, tmp_path: Path, data: st.DataObject) -> None:
    """A true manifest with one value, at any depth, replaced."""
    manifest = json.loads((whole / MANIFEST).read_text())
    place: Any = manifest
    while True:
        key = data.draw(
            st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place)))
        )
        deeper = isinstance(place[key], dict | list) and place[key]
        if not deeper or data.draw(st.booleans()):
            place[key] = data.draw(json_values)
            break
        place = place[key]
    folder = tmp_path / "fuzzed"
    folder.mkdir(exist_ok=True)
    for name in ("model.onnx", "score.onnx", "exact.onnx", "model.onnx.data", "genai_config.json"):
        (folder / name).touch()
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with suppress(EdgeError):
        inspect(folder)
