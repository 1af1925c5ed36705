"""The README's recipes, run as they are written: those of the packaged model, which need no network."""

import re
import shlex
from pathlib import Path

import pytest
from conftest import Edge
from support import ROOT

TEXT = (ROOT / "README.md").read_text()
SECTIONS = ("On an iPhone or a Mac", "On Android and in a browser")


def recipe(section: str) -> list[list[str]]:
    """The commands of a section's first block, as a shell would split them."""
    body = TEXT.partition(f"## {section}\n")[2].partition("\n## ")[0]
    lines = re.findall(
        r"^edge [^\n]*$", body.partition("```\n")[2].partition("```")[0], re.MULTILINE
    )
    return [shlex.split(line, comments=True)[1:] for line in lines]


@pytest.mark.parametrize("section", SECTIONS)
def test_a_recipe_works_as_it_is_written(
    section: str, edge: Edge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("coremltools")
    pytest.importorskip("mlx.core")
    monkeypatch.chdir(tmp_path)
    commands = recipe(section)
    assert {words[0] for words in commands} >= {"convert", "verify"}
    for words in commands:
        done = edge(*words)
        assert done.code == 0, f"edge {' '.join(words)}: {done.err}"


def test_the_files_that_an_app_takes_are_there(
    edge: Edge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    section = SECTIONS[1]
    assert edge(*recipe(section)[0]).code == 0
    table = TEXT.partition(f"## {section}\n")[2].partition("\n## ")[0]
    named = re.findall(r"^\| (`[^|]*) \|", table, re.MULTILINE)
    files = [name for cell in named for name in re.findall(r"`([^`]+)`", cell)]
    assert "model.onnx.data" in files
    for name in files:
        assert (tmp_path / "artifacts" / "onnx" / name).is_file(), name
