"""A wrong command line is answered in the user's words; prompts are taken as they are meant."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Edge
from support import ROOT, converted, environment

from edge.command.options import Threads
from edge.system.processors import MOST

LONG = "word " * 100  # longer than the name of a file may be
LIBRARIES = ("Input should", "Invalid value", "Value error", "Usage:", "unable to parse", "[type=")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return converted(tmp_path_factory.mktemp("words") / "it", ROOT / "edge/models/edge-stories")


@pytest.mark.parametrize(
    ("given", "problem", "fix"),
    [
        ("run m --max-tokens 0", "--max-tokens 0 is not a whole number of 1 or more", "run --help"),
        ("run m --max-tokens=x", "--max-tokens x is not a whole number of 1 or more", "run --help"),
        ("run m --seed 1.5", "--seed 1.5 is not a whole number", "run --help"),
        ("bench m -p0", "--prompt 0 is not a whole number of 1 or more", "bench --help"),
        (
            "serve --port 99999",
            "--port 99999 is not a whole number from 0 to 65535",
            "serve --help",
        ),
        ("run m --threads 513", "--threads 513 is not a whole number from 1 to 512", "run --help"),
        ("run m --temperature hot", "--temperature hot is not a number", "run --help"),
        ("run m --kv int4", "--kv int4 is not one of 'int8'", "run --help"),
        (
            "convert m --layerskip 2 --layerskip x",
            "--layerskip 2, x is not a whole number",
            "convert",
        ),
        ("run m --max-tokens", "--max-tokens needs a value", "edge run --help"),
        ("run m --raw=1", "--raw takes no value", "edge run --help"),
        ("run a b c d", "run takes no further argument: c d", "into quotes"),
        ("convert", "convert needs MODEL", "edge convert --help"),
        ("verify", "verify needs ARTIFACT...", "edge verify --help"),
        ("train stories", "train needs --out", "edge train --help"),
        ("run m --max-token 5", "run has no option '--max-token'", "did you mean --max-tokens"),
        ("list --all", "list has no option '--all'", "edge list --help"),
        ("--verbose list", "edge has no option '--verbose'", "`edge --help`"),
        ("lst", "there is no command 'lst'", "did you mean list?"),
    ],
)
def test_a_wrong_command_line(edge: Edge, given: str, problem: str, fix: str) -> None:
    done = edge(*given.split())
    assert (done.code, done.out) == (2, "")
    first, second = done.err.splitlines()
    assert first == f"edge: {problem}"
    assert fix in second
    assert not [words for words in LIBRARIES if words in done.err]


@pytest.mark.parametrize("prompt", ["-5 degrees", "- buy milk", "--help me", "--stop it", "-x"])
def test_a_prompt_may_begin_with_a_dash(edge: Edge, artifact: Path, prompt: str) -> None:
    refused = edge("run", artifact, prompt)
    assert refused.code == 2
    assert f'edge run MODEL -- "{prompt}"' in refused.err
    given = ("--raw", "--max-tokens", "1", "--json")
    assert edge("run", *given, artifact, "--", prompt).code == 0


def test_a_sentence_is_no_command(edge: Edge) -> None:
    assert 'a prompt: edge run "Once upon a time"' in edge("Once upon a time").err


@pytest.mark.parametrize("prompt", [LONG, "你好" * 200, "a/" * 3000, "two\nlines"], ids=len)
def test_a_prompt_may_be_no_name_of_a_file(prompt: str) -> None:
    from edge.command.arguments import split_prompt

    assert split_prompt(prompt, None) == (None, prompt)


def test_a_long_name_is_an_error(edge: Edge) -> None:
    for command in (("inspect", LONG), ("convert", LONG), ("run", LONG, "a b"), ("plan", LONG)):
        done = edge(*command)
        assert done.code == 2
        assert "too long for the name of a file" in done.err


@pytest.mark.parametrize(
    ("given", "stdin", "words"),
    [
        (("-",), "", "stdin holds no prompt"),
        (("-", "--raw"), "", "stdin holds no prompt"),
        (("-",), " \n", "the prompt is empty"),
        (("",), "", "the prompt is empty"),
        (("\n",), "", "the prompt is empty"),
    ],
)
def test_an_empty_prompt_is_an_error(
    edge: Edge, artifact: Path, given: tuple[str, ...], stdin: str, words: str
) -> None:
    for model in ((artifact,), ()):
        done = edge("run", *model, *given, stdin=stdin)
        assert (done.code, done.out) == (2, "")
        assert words in done.err


def test_an_empty_model_is_not_the_packaged_one(edge: Edge) -> None:
    for command in (("run", "", "a b"), ("serve", ""), ("convert", ""), ("plan", "")):
        done = edge(*command)
        assert done.code == 2
        assert "the model's name is empty" in done.err


def test_a_prompt_of_stdin_has_no_byte_order_mark(edge: Edge, artifact: Path) -> None:
    given = ("run", artifact, "-", "--raw", "--max-tokens", "1", "--json")
    plain, marked = (edge(*given, stdin=text).json for text in ("a b", "\ufeffa b"))
    assert marked["prompt_tokens"] == plain["prompt_tokens"]


@pytest.mark.parametrize("dry", [("--dry-run",), ()], ids=["dry", "wet"])
@pytest.mark.parametrize("out", ["file/x", "file/x/y", ".", "", "/", "/dev/null/x"])
def test_an_output_has_a_place(
    edge: Edge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, dry: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    done = edge("convert", "edge-stories", "-o", out, *dry)
    assert (done.code, done.out) == (2, "")
    assert "give" in done.err
    assert {file.name for file in tmp_path.iterdir()} <= {"file", "home"}


def test_a_reader_that_goes_away_is_no_news(artifact: Path) -> None:
    """The help lists the code; a shell without pipefail sees the reader's own."""
    for command in (("list",), ("run", str(artifact), "a b", "--max-tokens", "200"), ("--help",)):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(
            [sys.executable, "-m", "edge", *command],
            stdout=writer,
            stderr=subprocess.PIPE,
            env=environment(),
            check=False,
        )
        os.close(writer)
        assert (done.returncode, done.stderr) == (141, b"")


def test_the_help_of_threads_says_the_same_bound() -> None:
    assert Threads.__metadata__[0].max == MOST  # type: ignore[attr-defined]
