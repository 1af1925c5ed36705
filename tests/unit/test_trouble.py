"""What a person reads of an exception, and what a script reads of it."""

import errno
import os

import pytest

from edge.command import trouble
from edge.errors import Damaged, EdgeError, Unsupported


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (errno.ENOSPC, 2, "no space is left for /x"),
        (errno.EDQUOT, 2, "no space for /x"),
        (errno.EACCES, 2, "you may not use /x"),
        (errno.EPERM, 2, "you may not use /x"),
        (errno.EROFS, 2, "nothing can be written to /x"),
        (errno.ENOENT, 2, "there is no /x"),
        (errno.ENOTDIR, 2, "/x is no folder, or lies below a file"),
        (errno.EISDIR, 2, "/x is a folder"),
        (errno.ENAMETOOLONG, 2, "/x is too long"),
        (errno.EMFILE, 2, "too many files are open for /x"),
        (errno.ESTALE, 2, os.strerror(errno.ESTALE)),
        (errno.EIO, 4, "the disk fails at /x"),
    ],
)
def test_an_error_of_the_system_names_its_place(number: int, code: int, words: str) -> None:
    found = trouble.explained(OSError(number, os.strerror(number), "/x"))
    assert (found.code, words in found.problem) == (code, True), found
    assert found.fix


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (EdgeError("a", fix="b"), 2),
        (Unsupported("a", fix="b"), 3),
        (Damaged("a", fix="b"), 4),
        (MemoryError(), 2),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), 2),
        (OSError("of no number"), 2),
        (KeyError("x"), 70),
        (AssertionError(), 70),
        (RecursionError(), 70),
        (SystemExit(3), 3),
        (SystemExit(None), 0),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(), 141),
    ],
    ids=repr,
)
def test_codes(
    error: BaseException,
    code: int,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trouble, "_mute", lambda _: None)

    def command() -> None:
        raise error

    assert trouble.guarded(command) == code
    said = capfd.readouterr().err
    if isinstance(error, Exception) and not isinstance(error, BrokenPipeError):
        assert said.startswith("edge: ")
        assert len(said.splitlines()) == 2
    else:
        assert said == ""


def test_a_mistake_of_ours_says_where_and_shows_more_when_asked(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def command() -> None:
        raise ZeroDivisionError("by nothing")

    assert trouble.guarded(command) == 70
    said = capfd.readouterr().err
    assert "ZeroDivisionError in test_trouble.py, line" in said
    assert "EDGE_DEBUG=1" in said
    assert "Traceback" not in said
    monkeypatch.setenv("EDGE_DEBUG", "1")
    trouble.guarded(command)
    assert "Traceback" in capfd.readouterr().err


def test_an_error_without_a_name_is_said_all_the_same() -> None:
    assert trouble.explained(OSError(errno.EBADF, "bad")).problem == "a file is closed"
