"""A file that is not the one that was converted is refused at load, unless asked."""

import json
import os
from pathlib import Path

import pytest
from conftest import Edge
from support import converted, tiny

from edge.artifact import integrity
from edge.artifact.manifest import MANIFEST, Artifact
from edge.errors import Damaged


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return Artifact.open(converted(tmp_path / "it", tiny(tmp_path / "source"), "int4"))


def flip(file: Path, at: int) -> None:
    """One bit, and the time of change put back: only the hash can tell."""
    times = file.stat()
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns + 1))


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data", "config.json"])
def test_one_flipped_bit_is_found(artifact: Artifact, name: str) -> None:
    integrity.check(artifact)
    flip(artifact.folder / name, -1)
    with pytest.raises(Damaged, match=f"{name} is not the file"):
        integrity.check(artifact)


def test_unchanged_files_are_hashed_once(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    integrity.check(artifact)
    monkeypatch.setattr(integrity, "sha256", lambda _: pytest.fail("hashed again"))
    integrity.check(artifact)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}'])
def test_a_broken_memory_only_costs_time(artifact: Artifact, content: str) -> None:
    integrity.check(artifact)
    (file,) = Path(os.environ["EDGE_HOME"]).glob("checked.json")
    file.write_text(content)
    integrity.check(artifact)
    flip(artifact.folder / "model.onnx.data", 0)
    with pytest.raises(Damaged):
        integrity.check(artifact)


def test_a_home_that_cannot_be_written(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    monkeypatch.setenv("EDGE_HOME", str(tmp_path / "taken"))
    integrity.check(artifact)


def test_on_the_command_line(artifact: Artifact, edge: Edge) -> None:
    flip(artifact.folder / "model.onnx.data", -1)
    result = edge("run", artifact.folder, "hi", "--raw")
    assert (result.code, "--unchecked" in result.err) == (4, True)
    assert "hash" not in edge("run", artifact.folder, "hi", "--raw", "--unchecked").err


def test_only_the_hashes(artifact: Artifact, edge: Edge) -> None:
    result = edge("verify", artifact.folder, "--files", "--json")
    assert (result.code, result.json["passed"], result.json["changed_inputs"]) == (0, True, None)
    flip(artifact.folder / "model.onnx.data", 0)
    result = edge("verify", artifact.folder, "--files", "--json")
    assert (result.code, result.json["changed_files"]) == (1, ["model.onnx.data"])
    (artifact.folder / "model.onnx.data").unlink()
    assert edge("verify", artifact.folder, "--files").code == 4


def test_hashes_of_the_inputs(artifact: Artifact, edge: Edge, tmp_path: Path) -> None:
    source = tmp_path / "source"
    asked = ("verify", artifact.folder, "--files", "--against", source, "--json")
    result = edge(*asked)
    assert (result.code, result.json["changed_inputs"]) == (0, [])
    flip(source / "model.safetensors", -1)
    result = edge(*asked)
    assert (result.code, result.json["changed_inputs"]) == (1, ["model.safetensors"])
    assert result.json["changed_files"] == []
    (source / "config.json").unlink()
    result = edge(*asked)
    assert (result.code, result.json["missing_inputs"]) == (1, ["config.json"])


def test_inputs_are_names_not_paths(artifact: Artifact, edge: Edge, tmp_path: Path) -> None:
    manifest = json.loads((artifact.folder / MANIFEST).read_text())
    manifest["source"]["../../secret"] = "0" * 64
    (artifact.folder / MANIFEST).write_text(json.dumps(manifest))
    result = edge("verify", artifact.folder, "--files", "--against", tmp_path / "source")
    assert (result.code, "../../secret" in result.err) == (4, True)


def test_an_option_that_would_be_ignored(artifact: Artifact, edge: Edge) -> None:
    result = edge("verify", artifact.folder, "--files", "--tokens", "3")
    assert (result.code, "--tokens" in result.err) == (2, True)
