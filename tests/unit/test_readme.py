"""README.md says what was recorded, and names only commands and files that exist."""

import re

import pytest
import typer
from readme import README, ROOT, generated

from edge.command.cli import app

TEXT = README.read_text()


def test_the_generated_parts_are_up_to_date() -> None:
    assert generated(TEXT) == TEXT, "run: python tests/readme.py --write"


@pytest.mark.parametrize("line", sorted(set(re.findall(r"^edge [^\n]*$", TEXT, re.MULTILINE))))
def test_an_example_is_a_command_with_options_that_exist(line: str) -> None:
    words = line.split()
    group = typer.main.get_command(app)
    command = group.commands[words[1]]  # type: ignore[attr-defined]
    known = {name for option in command.params for name in option.opts}
    assert {word for word in words if re.match(r"--?[a-z]", word)} <= known


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`((?:edge|converters|runtimes|tests|docs)/[\w./-]*)`", TEXT)))
)
def test_a_path_that_is_named_exists(path: str) -> None:
    assert "NAME" in path or (ROOT / path).exists()


SECURITY = (ROOT / "docs" / "security.md").read_text()


@pytest.mark.parametrize(
    ("file", "name"), sorted(set(re.findall(r"`(tests/[\w./]+\.py)(?:::(\w+))?`", SECURITY)))
)
def test_a_test_that_is_named_exists(file: str, name: str) -> None:
    assert f"def {name}(" in (ROOT / file).read_text() or not name
