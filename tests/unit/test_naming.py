"""A model's name means one thing, whoever asks; where two could be meant, which one is fixed here."""

from collections.abc import Callable
from pathlib import Path

import pytest

from edge.errors import EdgeError
from edge.source.naming import Kind, resolve

Make = Callable[[Path, Path], None]


def nothing(_here: Path, _home: Path) -> None:
    """The name is all there is."""


def folder(here: Path, _home: Path) -> None:
    (here / "phi-3-mini-4k").mkdir()


def artifact(here: Path, _home: Path) -> None:
    (here / "phi-3-mini-4k").mkdir()
    (here / "phi-3-mini-4k" / "edge.json").write_text("{}")


def file(here: Path, _home: Path) -> None:
    (here / "phi-3-mini-4k").write_text("GGUF")


def pulled(_here: Path, home: Path) -> None:
    for name in ("phi-3-mini-4k", "someone--model"):
        kept = home / "checkpoints" / name
        kept.mkdir(parents=True)
        (kept / "config.json").write_text("{}")


def mine(here: Path, _home: Path) -> None:
    (here / "someone" / "model").mkdir(parents=True)


CASES: list[tuple[str, Make, Kind, bool]] = [  # name, what is there, what it is, whether it is here
    ("edge-stories", nothing, "packaged", True),
    ("phi-3-mini-4k", nothing, "hub", False),
    ("phi-3-mini-4k", pulled, "pulled", True),
    ("phi-3-mini-4k", folder, "hub", False),  # an id is the registry's, whatever lies around
    ("phi-3-mini-4k", artifact, "artifact", True),  # but what was made here is run
    ("phi-3-mini-4k", file, "file", True),
    ("./phi-3-mini-4k", folder, "folder", True),
    ("microsoft/Phi-3-mini-4k-instruct", nothing, "hub", False),
    ("someone/model", nothing, "hub", False),
    ("someone/model", pulled, "pulled", True),
    ("someone/model", mine, "folder", True),
]


@pytest.mark.parametrize(("name", "make", "kind", "here"), CASES)
def test_what_a_name_stands_for(
    name: str, make: Make, kind: Kind, here: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_HOME", str(tmp_path / "home"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    make(tmp_path / "here", tmp_path / "home")
    named = resolve(name)
    assert (named.kind, named.path is not None) == (kind, here)
    assert named.path is None or named.path.exists()
    if "/" in name and name[0] != ".":
        assert named.source is not None


@pytest.mark.parametrize("name", ["", "no such model", "../elsewhere/model", "a/b/c", "/nowhere"])
def test_a_name_that_stands_for_nothing_is_refused(name: str) -> None:
    with pytest.raises(EdgeError):
        resolve(name)


def test_what_only_the_hub_may_have_is_pulled_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_HOME", str(tmp_path / "home"))
    with pytest.raises(EdgeError, match="no path") as raised:
        resolve("someone/model").checkpoint()
    assert "edge pull someone/model" in raised.value.fix


def test_a_conversion_takes_the_registrys_checkpoint_though_its_artifact_lies_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`edge convert phi-3-mini-4k -o phi-3-mini-4k --force`, for the second time."""
    monkeypatch.setenv("EDGE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    artifact(tmp_path, tmp_path)
    pulled(tmp_path, tmp_path / "home")
    assert resolve("phi-3-mini-4k").checkpoint() == tmp_path / "home/checkpoints/phi-3-mini-4k"
