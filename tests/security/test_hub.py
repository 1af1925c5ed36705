"""Names that others chose, in the hub's listing, in models.lock, on the command line: never a path.

CVE-2024-37032 was such a name: a digest that led out of the folder.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from attack import refused
from conftest import Edge
from hub import serving
from support import tiny

from edge.errors import Damaged
from edge.source.hub import Repository
from edge.source.pull import read_pins

PIN = {"source": "some/model", "revision": "a" * 40, "files": {"config.json": "0" * 64}}

HOSTILE = [
    "../model-1-of-2.safetensors",
    "../../escaped.tiktoken",
    "/escaped.tiktoken",
    "model-/../../../x-of-2.safetensors",
    "sub/x.tiktoken",
    "..\\x.tiktoken",
    "C:\\x.tiktoken",
    "\\\\host\\x.tiktoken",
    "a\0.tiktoken",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_listing_that_names_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edge: Edge, name: str
) -> None:
    source = tiny(tmp_path / "source")
    files = {path.name: path.read_bytes() for path in source.iterdir()} | {name: b"escaped"}
    with serving(files) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        assert name not in Repository.at("some/model", None).files
        result = edge("pull", "some/model", "--json")
        assert set(result.json["files"]) == {"config.json", "model.safetensors"}
    home = Path(os.environ["EDGE_HOME"])
    assert not [path for path in tmp_path.rglob("*escaped*") if home not in path.parents]
    assert not list(home.rglob("*.tiktoken"))


@pytest.mark.parametrize(
    "sha", ["../../x", "a" * 39, "A" * 40, "main", "a" * 40 + "\n", "sha256:../x"]
)
def test_a_revision_that_is_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sha: str
) -> None:
    source = tiny(tmp_path / "source")
    with serving({path.name: path.read_bytes() for path in source.iterdir()}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.sha = sha
        with refused(Damaged, "some/model"):
            Repository.at("some/model", None)


PINS: dict[str, Any] = {
    "a list": [],
    "a text": "some/model",
    "nothing": {},
    "a field more": {**PIN, "run": "x"},
    "source of a number": {**PIN, "source": 7},
    "source of a path": {**PIN, "source": "../../x"},
    "revision of a path": {**PIN, "revision": "../../x"},
    "revision of null": {**PIN, "revision": None},
    "files of a list": {**PIN, "files": ["config.json"]},
    "files of numbers": {**PIN, "files": {"config.json": 7}},
    "files of paths": {**PIN, "files": {"../config.json": "0" * 64}},
    "a short hash": {**PIN, "files": {"config.json": "0" * 63}},
    "a hash of letters": {**PIN, "files": {"config.json": "../" + "0" * 61}},
}


def lock(content: str) -> None:
    home = Path(os.environ["EDGE_HOME"])
    home.mkdir(exist_ok=True)
    (home / "models.lock").write_text(content)


@pytest.mark.parametrize("pin", PINS.values(), ids=PINS.keys())
def test_a_lock_file_that_lies(pin: Any) -> None:
    lock(json.dumps({"some--model": pin}))
    with refused(Damaged, "models.lock"):
        read_pins()


@pytest.mark.parametrize("content", ["", "[]", "{", "[" * 100_000, '{"x": ' * 5000])
def test_a_lock_file_that_is_none(content: str) -> None:
    lock(content)
    with refused(Damaged, "models.lock"):
        read_pins()


def test_a_true_lock_file() -> None:
    lock(json.dumps({"some--model": PIN}))
    assert read_pins()["some--model"].files == PIN["files"]


@pytest.mark.parametrize(
    "name", ["..", ".", "", "*", "?", "[a-z]*", "../..", "./.", "a/../..", "/", "a/b/c", ".hidden"]
)
def test_what_cannot_be_removed(edge: Edge, name: str) -> None:
    """Each of them is, as a path or a pattern, everything that edge keeps."""
    home = Path(os.environ["EDGE_HOME"])
    kept = [home / "checkpoints" / "some--model", home / "artifacts" / "some--model-1-onnx-int4"]
    for folder in kept:
        folder.mkdir(parents=True)
    lock(json.dumps({"some--model": PIN}))
    assert edge("rm", name).code == 2
    assert edge("pull", name).code == 2
    assert all(folder.is_dir() for folder in kept)
    assert "some--model" in read_pins()


def test_what_can_be_removed(edge: Edge) -> None:
    home = Path(os.environ["EDGE_HOME"])
    (home / "checkpoints" / "some--model").mkdir(parents=True)
    (home / "checkpoints" / "some--model" / "config.json").symlink_to("/nowhere")
    lock(json.dumps({"some--model": PIN}))
    result = edge("rm", "some/model", "--json")
    assert (result.code, len(result.json["removed"])) == (0, 1)


def test_a_link_out_of_the_home_is_not_removed(edge: Edge, tmp_path: Path) -> None:
    home = Path(os.environ["EDGE_HOME"])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("dear")
    (home / "checkpoints").mkdir(parents=True)
    (home / "checkpoints" / "some--model").symlink_to(tmp_path / "mine")
    assert edge("rm", "some/model").code == 2
    assert (tmp_path / "mine" / "letter").exists()
