"""Who does the work: this process, or several that are told by lines of JSON. Answers come in the order of requests.

The others end as soon as this one does, however it ends: they read their requests from it.
"""

import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Protocol

from edge.data.frame.work import answer
from edge.errors import EdgeError

_WORKER = "edge.data.frame.worker"


class Crew(Protocol):
    def each(self, requests: Sequence[str]) -> Iterator[str]:
        """What comes of each request, in their order."""
        ...

    def close(self) -> None: ...


class Alone:
    """This process."""

    def each(self, requests: Sequence[str]) -> Iterator[str]:
        return map(answer, requests)

    def close(self) -> None:
        pass


class Processes:
    """At most so many more, begun when there is work for them."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._idle: deque[subprocess.Popen[str]] = deque()
        self._all: list[subprocess.Popen[str]] = []
        self._pool = ThreadPoolExecutor(count)

    def each(self, requests: Sequence[str]) -> Iterator[str]:
        if len(requests) == 1:
            yield answer(requests[0])
            return
        ahead: deque[Future[str]] = deque()
        for request in requests:
            ahead.append(self._pool.submit(self._ask, request))
            if len(ahead) > 2 * self._count:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()

    def close(self) -> None:
        for process in self._all:
            process.kill()
        self._pool.shutdown(cancel_futures=True)
        for process in self._all:
            with suppress(BrokenPipeError), process:  # waits, and closes its pipes
                pass

    def _ask(self, request: str) -> str:
        """By one of them: as many threads ask as there may be."""
        process = self._idle.pop() if self._idle else self._more()
        try:
            assert process.stdin
            assert process.stdout
            process.stdin.write(request + "\n")
            process.stdin.flush()
            said = process.stdout.readline()
        except BrokenPipeError:
            said = ""
        if not said:
            raise EdgeError(
                "a process that worked on a part ended by itself: it was killed, or ran out of memory",
                fix="give the same command with --resume, and fewer --processes",
            )
        self._idle.append(process)
        return said

    def _more(self) -> "subprocess.Popen[str]":
        begun = _begun()
        self._all.append(begun)
        return begun


def _begun() -> "subprocess.Popen[str]":
    paths = [path for path in sys.path if path]
    return subprocess.Popen(
        [sys.executable, "-P", "-m", _WORKER],  # no package of the working folder comes first
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )
