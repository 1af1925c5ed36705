"""README.md and docs/*.md say what was recorded, and name only commands, files and pages that exist."""

import re
from pathlib import Path

import pytest
import typer
from readme import PAGES, README, ROOT, parts, stale
from tables import PARTS

from edge import targets
from edge.command.cli import app
from edge.errors import Unsupported

LINES = 250  # of README.md: what a user needs, in the order of need
TEXTS = {page: page.read_text() for page in PAGES}
EVERY = "\n".join(TEXTS.values())
LINK = re.compile(r"\]\(([^()\s]+)\)|<img src=\"([^\"]+)\"")
COMMANDS = sorted(set(re.findall(r"^edge [^\n]*$", EVERY, re.MULTILINE)))


def test_the_generated_parts_are_up_to_date() -> None:
    assert not stale(), "run: python tests/readme.py --write"


def test_each_generated_part_is_on_one_page() -> None:
    assert sorted(name for text in TEXTS.values() for name in parts(text)) == sorted(PARTS)


def test_the_readme_is_short() -> None:
    assert len(TEXTS[README].splitlines()) <= LINES


def places(page: Path) -> list[str]:
    found = [first or second for first, second in LINK.findall(TEXTS[page])]
    return [link for link in found if not link.startswith("http")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in places(page):
        path, _, part = link.partition("#")
        file = page.parent / path if path else page
        assert file.is_file(), link
        assert not part or part in titles(file.read_text()), link


def titles(text: str) -> list[str]:
    """Where a link may lead within a page."""
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return [re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads]


def test_every_page_can_be_reached_from_the_readme() -> None:
    known, left = set(), [README]
    while left:
        page = left.pop()
        known.add(page)
        linked = {(page.parent / link.partition("#")[0]).resolve() for link in places(page)}
        left += [other for other in PAGES if other in linked - known]
    assert known == set(PAGES)


@pytest.mark.parametrize("target", targets.names("converters"))
def test_what_short_names_mean_is_what_a_target_says(target: str) -> None:
    try:
        converter = targets.converter(target)
    except Unsupported as error:
        pytest.skip(str(error))
    names, best = converter.ALIASES, converter.BODIES["int4"]
    row = f"| `{target}` | `{best}` | `{names['int4']}` | `{names['int8']}` |"
    assert row in (ROOT / "docs" / "recipes.md").read_text()


@pytest.mark.parametrize("line", COMMANDS)
def test_an_example_is_a_command_with_options_that_exist(line: str) -> None:
    words = line.partition(" #")[0].split()
    group = typer.main.get_command(app)
    command = group.commands[words[1]]  # type: ignore[attr-defined]
    known = {name for option in command.params for name in option.opts}
    assert {word for word in words if re.match(r"--?[a-z]", word)} <= known


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`((?:edge|converters|runtimes|tests|docs)/[\w./-]*)`", EVERY)))
)
def test_a_path_that_is_named_exists(path: str) -> None:
    assert "NAME" in path or (ROOT / path).exists()


@pytest.mark.parametrize(
    ("file", "name"), sorted(set(re.findall(r"`(tests/[\w./]+\.py)(?:::(\w+))?`", EVERY)))
)
def test_a_test_that_is_named_exists(file: str, name: str) -> None:
    assert "NAME" in file or f"def {name}(" in (ROOT / file).read_text() or not name
