"""Requests answered each by a child of its own.

A child begins as its parent was before any request, with limits and pipes of its own. So no object,
no processor time and no byte of one request is there in the next, whatever a stranger's code made of
the child. The parent moves bytes, counts them, and kills.
"""

import contextlib
import os
import select
import signal
import sys
import time
from dataclasses import dataclass
from io import FileIO
from typing import NoReturn

from edge.system.wire import ANSWER, LATE, LONG, REQUEST, UNMADE, Begin, give, limit, outcome, read

QUIET = 0.05  # seconds after an answer until the next child is made


@dataclass(frozen=True, slots=True)
class Task:
    """What is known of a request before it comes."""

    stands: bytes
    seconds: int
    megabytes: int


def serve_all(begin: Begin) -> None:
    """Answer until the parent closes the pipe."""
    child: Child | None = None
    first = True  # of those with something that stands: it is asked for before there is work
    try:
        while True:
            seconds, megabytes, patience, most, *sizes = REQUEST.unpack(read(REQUEST.size))
            task, rest = Task(read(sizes[0]), seconds, megabytes), read(sizes[1])
            if child is None or child.task != task:
                child = _next(child, begin, task)
            if child is None:
                give(sys.stdout.buffer, UNMADE, b"")
                continue
            end, given = child.ask(rest, time.monotonic() + patience, most)
            give(sys.stdout.buffer, end, given)
            del rest, given  # of which the next child finds nothing
            ahead = task.stands and not end and (first or _quiet())
            first = first and not task.stands
            child = _next(child, begin, task if ahead else None)
    finally:
        _next(child, begin, None)


def _quiet() -> bool:
    """Whether nothing comes for a while. A model that answers meanwhile wants every core."""
    watch = select.poll()
    watch.register(sys.stdin, select.POLLIN)
    return not watch.poll(1000 * QUIET)


def _next(child: "Child | None", begin: Begin, task: Task | None) -> "Child | None":
    """One child ends, another begins; None where none shall, or can."""
    if child is not None:
        child.end()
    with contextlib.suppress(OSError):  # this user has too many processes
        return None if task is None else Child(begin, task)
    return None


class Child:
    """A fork of this process, which does what it can of a task and waits for the rest."""

    def __init__(self, begin: Begin, task: Task) -> None:
        self.task = task
        # The rest comes in memory that both see: to write into a pipe is to wait for its reader.
        self._page = FileIO(os.memfd_create("rest"), "wb")
        wait, self._go = _pipe()
        self._out, its_out = _pipe()
        self._status: int | None = None
        self._pid = os.fork()
        if not self._pid:
            _be(begin, task, wait.fileno(), its_out.fileno(), self._page.fileno())
        wait.close()
        its_out.close()
        with contextlib.suppress(OSError):  # the child does it, too: whoever comes first
            os.setpgid(self._pid, self._pid)

    def ask(self, rest: bytes, until: float, most: int) -> tuple[int, bytes]:
        """How it ended, and what it gave: at most so many bytes."""
        _write(self._page, rest)
        self._go.close()
        watch = select.poll()
        watch.register(sys.stdin, 0)  # for nothing but its end
        watch.register(self._out, select.POLLIN)
        given = bytearray()
        while (patience := until - time.monotonic()) > 0:
            ready = dict(watch.poll(patience * 1000))
            if sys.stdin.fileno() in ready:
                raise EOFError
            if not ready:
                continue
            part = os.read(self._out.fileno(), 1 << 20)
            given += part
            if not part:
                return self.end(), b""
            if answer := _whole(given, most):
                return answer
        return LATE, b""

    def end(self) -> int:
        """End it, and whatever it might have started; how it ended, if it already had."""
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._pid, signal.SIGKILL)
            self._status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
            for file in (self._page, self._go, self._out):
                file.close()
        return self._status


def _pipe() -> tuple[FileIO, FileIO]:
    theirs, ours = os.pipe()
    return FileIO(theirs, "rb"), FileIO(ours, "wb")


def _whole(given: bytearray, most: int) -> tuple[int, bytes] | None:
    """An answer once it is there, and nothing that came after it."""
    if len(given) < ANSWER.size:
        return None
    end, size = ANSWER.unpack_from(given)
    if size > most:
        return LONG, b""
    if len(given) < ANSWER.size + size:
        return None
    return int(bool(end)), bytes(given[ANSWER.size : ANSWER.size + size])


def _be(begin: Begin, task: Task, wait: int, out: int, page: int) -> NoReturn:
    """The life of a child, with nothing open but what it was given. Whatever happens, it ends here."""

    def rest() -> bytes:
        os.read(0, 1)
        return os.pread(page, os.fstat(page).st_size, 0)

    try:
        os.setpgid(0, 0)
        for at, file in enumerate((wait, out, os.open(os.devnull, os.O_WRONLY))):
            os.dup2(file, at)
        os.closerange(3, page)
        os.closerange(page + 1, 1 << 16)
        limit(task.seconds, task.megabytes)
        give(sys.stdout.buffer, *outcome(begin, task.stands, rest))
    finally:
        os._exit(1)


def _write(file: FileIO, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]
