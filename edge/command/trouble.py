"""What becomes of an exception that reaches the command line: a problem, a fix and an exit code; never
a traceback, and never the code 1, which says that a proof failed.
"""

import errno
import io
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edge.errors import Damaged, EdgeError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

FAULT = 70  # EX_SOFTWARE of sysexits.h
INTERRUPTED = 130
UNREAD = 141  # what a shell says of a process whose reader went away
DEBUG = "EDGE_DEBUG"

_ROOM = "make room, then give the same command again"
_ELSEWHERE = "name another place"
_SAID = {
    errno.ENOSPC: ("no space is left for {}", _ROOM),
    errno.EDQUOT: ("your share of the disk leaves no space for {}", _ROOM),
    errno.EFBIG: ("{} becomes larger than a file may be here", "name a place on another disk"),
    errno.EACCES: ("you may not use {}", f"change its permissions, or {_ELSEWHERE}"),
    errno.EPERM: ("you may not use {}", f"change its permissions, or {_ELSEWHERE}"),
    errno.EROFS: ("nothing can be written to {}", "name a place on another disk"),
    errno.ENOENT: ("there is no {}", "check the name"),
    errno.ENOTDIR: ("{} is no folder, or lies below a file", _ELSEWHERE),
    errno.EEXIST: ("{} is there already", f"remove it, or {_ELSEWHERE}"),
    errno.EISDIR: ("{} is a folder", "name a file"),
    errno.ENOTEMPTY: ("{} is not empty", f"remove it, or {_ELSEWHERE}"),
    errno.ENAMETOOLONG: ("{} is too long for the name of a file", "give a shorter one"),
    errno.ELOOP: ("{} is a link that leads to itself", "name what it should lead to"),
    errno.EBADF: ("{} is closed", "open it"),
    errno.EMFILE: ("too many files are open for {}", "raise `ulimit -n`"),
    errno.ENOMEM: ("there is too little memory for {}", "close other programs"),
}


class Fault(EdgeError):
    """A mistake of edge's own."""

    code = FAULT


def guarded(command: Callable[[], object]) -> int:
    """Run a command -> its exit code. What went wrong is said on stderr."""
    _stand()
    try:
        code = command()
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return _unread()
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # so the parser ends
            return _unread()
        code = end.code
    except Exception as error:
        return _told(error)
    return code if isinstance(code, int) else 0


def explained(error: Exception) -> EdgeError:
    """What a person reads of it."""
    match error:
        case EdgeError():
            return error
        case MemoryError():
            return EdgeError(
                "there is too little memory", fix="close other programs, or ask for less"
            )
        case UnicodeError():
            return EdgeError(f"a text is not UTF-8: {error}", fix="save or write it as UTF-8")
        case OSError():
            return _of_the_system(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(frame.filename).name}, line {frame.lineno}"
    return Fault(
        f"this is a mistake of edge's own: {type(error).__name__} in {where}: {error}",
        fix=f"set {DEBUG}=1, give the command again, and report all that it prints",
    )


def _of_the_system(error: OSError) -> EdgeError:
    place = "a file" if error.filename is None else str(error.filename)
    if error.errno == errno.EIO:
        return Damaged(f"the disk fails at {place}", fix="use a copy on another disk")
    other = (f"{error.strerror or error}: {{}}", f"try again, or {_ELSEWHERE}")
    problem, fix = _SAID.get(error.errno or 0, other)
    return EdgeError(problem.format(place), fix=fix)


def _told(error: Exception) -> int:
    """Say it -> its exit code."""
    found = explained(error)
    try:
        if os.environ.get(DEBUG):
            traceback.print_exception(error)
        print(f"edge: {found}", file=sys.stderr, flush=True)
    except OSError:
        _mute(2)
    if isinstance(error, OSError) and error.filename == _Stdout.NAME:
        _mute(1)
    return found.code


def _unread() -> int:
    """Nobody reads stdout any more, which is no news to anyone."""
    _mute(1)
    return UNREAD


def _mute(descriptor: int) -> None:
    """What is still to be written there at the end of the process goes nowhere, and fails nobody."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


class _Stdout(io.FileIO):
    """The system does not name what it cannot write to."""

    NAME = "stdout"

    def write(self, content: "ReadableBuffer", /) -> int:
        try:
            return super().write(content)
        except OSError as error:
            error.filename = self.NAME
            raise


def _stand() -> None:
    """Streams that are there, and that write any character.

    The place of a closed one would be taken by the next file that is opened, which would then hold what
    is printed. An empty stdin and a stderr that nobody reads harm no one; a result that nobody gets does.
    """
    for descriptor, flags in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, flags)  # takes the lowest number that is free
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    if sys.stdout is sys.__stdout__:  # a test may have put its own there
        given = sys.stdout or os.fdopen(1, "w", closefd=False)
        strict = given.errors in ("strict", "surrogateescape")
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(_Stdout(1, "w", closefd=False)),
            given.encoding,
            "backslashreplace" if strict else given.errors,
            line_buffering=given.isatty(),
        )
