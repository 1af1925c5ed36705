"""The manifest of an artifact that is no decoder, and what refuses one."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Edge

from edge.artifact import integrity, network
from edge.artifact.manifest import Artifact, write_manifest
from edge.artifact.network import Network, Port
from edge.errors import Damaged, Unsupported
from edge.files.hashing import sha256
from edge.system.progress import silent


def write(folder: Path, **changes: Any) -> Network:
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(b"a network")
    manifest = Network(
        target="onnx",
        via="optimum",
        name="it",
        architecture="BertModel",
        task="feature-extraction",
        entry="model.onnx",
        inputs=(Port(name="input_ids", type="int64", shape=("batch", 7)),),
        outputs=(Port(name="hidden", type="float", shape=("batch", 7, 32)),),
        repository=None,
        revision=None,
        source={},
        files={"model.onnx": sha256(folder / "model.onnx")},
        tools={"optimum": "2.1.0"},
    )
    write_manifest(folder, replace(manifest, **changes))
    return manifest


def test_it_comes_back_as_it_was_written(tmp_path: Path) -> None:
    made = write(tmp_path)
    assert network.is_network(tmp_path)
    assert network.read(tmp_path) == made
    network.record(tmp_path, made, {"passed": True})
    assert network.read(tmp_path).verified == {"passed": True}


def test_a_decoder_is_none(tmp_path: Path) -> None:
    assert not network.is_network(tmp_path)
    (tmp_path / "edge.json").write_text("{}")
    assert not network.is_network(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 7}, "schema 7"),
        ({"entry": "../model.onnx"}, "no file of its folder"),
        ({"entry": "other.onnx"}, "lacks the file"),
        ({"files": {"../b": "0"}}, "no file of its folder"),
        ({"files": {"gone": "0"}}, "lacks the file"),
        ({"inputs": []}, "inputs is"),
        ({"inputs": [3]}, "not a list of objects"),
        ({"inputs": [{"name": "x", "type": "float"}]}, "has no shape"),
        ({"inputs": [{"name": "x", "type": "float", "shape": [True]}]}, "has no shape"),
        ({"task": 3}, "task is 3"),
    ],
)
def test_a_manifest_that_lies_is_one_error(tmp_path: Path, change: Any, message: str) -> None:
    write(tmp_path)
    file = tmp_path / "edge.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(Damaged, match=message):
        network.read(tmp_path)


def test_what_wants_a_decoder_refuses_it(tmp_path: Path, edge: Edge) -> None:
    write(tmp_path)
    with pytest.raises(Unsupported, match="is no decoder but BertModel, for feature-extraction"):
        Artifact.open(tmp_path)
    for command in (["run", tmp_path, "Hello"], ["bench", tmp_path], ["serve", tmp_path]):
        made = edge(*command)
        assert made.code == 3
        assert "run model.onnx with onnx's own runtime" in made.err


def test_inspect_shows_what_goes_in_and_out(tmp_path: Path, edge: Edge) -> None:
    write(tmp_path)
    found = edge("inspect", tmp_path, "--json").json
    assert found["kind"] == "module"
    assert found["inputs"] == {"input_ids": "int64[batch, 7]"}
    assert found["outputs"] == {"hidden": "float[batch, 7, 32]"}
    assert found["verified"] is None


def test_its_files_are_hashed(tmp_path: Path, edge: Edge) -> None:
    made = write(tmp_path)
    assert edge("verify", tmp_path, "--files").code == 0
    (tmp_path / "model.onnx").write_bytes(b"a notwerk")
    assert integrity.compare(tmp_path, made, None, silent).changed_files == ("model.onnx",)
    assert edge("verify", tmp_path, "--files").code == 1


def test_it_has_no_greedy_tokens(tmp_path: Path, edge: Edge) -> None:
    write(tmp_path)
    made = edge("verify", tmp_path, "--against", tmp_path, "--tokens", "8")
    assert made.code == 2
    assert "it has no greedy tokens" in made.err
