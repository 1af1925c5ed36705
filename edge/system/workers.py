"""Processes of our own scripts, kept warm: started before they are needed, used again, replaced."""

import contextlib
import json
import math
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edge.system.wire import ANSWER, LATE, REQUEST

# What a process needs to start at all; no token or key of the user's is among it.
PASSED = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TZ")
# Elsewhere a fork may break the system's own libraries, or there is none.
FORKS = sys.platform == "linux"
KEPT = 2  # idle processes of a script
TURN = 0.5  # seconds to wait for a busy one before another is started
LEAVE = 1.0  # seconds that a process has to end by itself
GRACE = 10.0  # seconds beyond a request's patience until the process itself is thought stuck


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """`seconds` of processor time; `patience` by the clock: a busy machine is no hostile input;
    `answer`: bytes of the longest one.
    """

    seconds: int
    patience: float
    megabytes: int
    answer: int = 1 << 20


@dataclass(frozen=True, slots=True)
class Request:
    """Two parts, in JSON (`edge.system.wire`), and their limits."""

    stands: bytes
    rest: bytes
    limits: Limits

    def packed(self) -> bytes:
        limit = self.limits
        head = (limit.seconds, limit.megabytes, limit.patience, limit.answer)
        sizes = (len(self.stands), len(self.rest))
        return REQUEST.pack(*head, *sizes) + self.stands + self.rest


@dataclass(frozen=True, slots=True)
class Start:
    """What a process is started with. One that was started with other things is of no use."""

    command: tuple[str, ...]
    path: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    forks: bool

    @classmethod
    def of(cls, script: Path) -> "Start":
        path = [entry for entry in sys.path if entry and Path(entry).is_absolute()]
        path.append(str(Path(__file__).parents[2]))  # an editable install is on no path
        passed = ((name, os.environ[name]) for name in PASSED if name in os.environ)
        return cls((sys.executable, "-I", "-S", str(script)), tuple(path), tuple(passed), FORKS)


class Gone(Exception):
    """The process of a worker ended."""


class Worker:
    """A process of a script. It imports while its first request may be on the way already."""

    def __init__(self, start: Start) -> None:
        self.start = start
        self._process = subprocess.Popen(
            start.command,
            bufsize=0,  # nothing of one request is left for the next, nor for a fork
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(start.environment),
        )
        assert self._process.stdin
        assert self._process.stdout
        self._into: IO[bytes] = self._process.stdin
        self._out: IO[bytes] = self._process.stdout
        self._late = False
        with contextlib.suppress(Gone):  # whoever asks it will see
            self._send(json.dumps([start.path, start.forks]).encode() + b"\n", None)
        if start.forks:
            os.set_blocking(self._into.fileno(), False)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: Request) -> tuple[int, bytes]:
        """How it ended, and what it gave: the answer, or last words. `Gone` if this process is."""
        patience = request.limits.patience
        if self.start.forks:  # then it keeps the time itself, unless it is stuck
            return self._exchange(request.packed(), time.monotonic() + patience + GRACE)
        timer = threading.Timer(patience, self._give_up)
        timer.daemon = True
        timer.start()
        try:
            return self._exchange(request.packed(), None)
        finally:
            timer.cancel()

    def end(self) -> int:
        """End the process; how it ended, if it already had."""
        self._close()
        if self.start.forks:  # it ends by itself then, and its child first
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(LEAVE)
        self._process.kill()
        status = self._process.wait()
        return LATE if self._late else status

    def disown(self) -> None:
        """Wait for nothing: this process ends, or is a fork of the one that the worker belongs to."""
        self._process.returncode = 0
        self._close()

    def _close(self) -> None:
        self._into.close()
        self._out.close()

    def _give_up(self) -> None:
        self._late = True
        self._process.kill()

    def _exchange(self, data: bytes, until: float | None) -> tuple[int, bytes]:
        self._send(data, until)
        end, size = ANSWER.unpack(self._receive(ANSWER.size, until))
        return end, self._receive(size, until)

    def _send(self, data: bytes, until: float | None) -> None:
        left = memoryview(data)
        with contextlib.suppress(BrokenPipeError):
            while left:
                self._wait(self._into, until, writes=True)
                left = left[self._into.write(left) or 0 :]
            return
        raise Gone

    def _receive(self, size: int, until: float | None) -> bytes:
        data = bytearray()
        while len(data) < size:
            self._wait(self._out, until, writes=False)
            part = self._out.read(size - len(data))
            if not part:
                raise Gone
            data += part
        return bytes(data)

    def _wait(self, pipe: IO[bytes], until: float | None, *, writes: bool) -> None:
        """Until a pipe can be used; without `until`, a timer watches."""
        if until is None:
            return
        watch = select.poll()
        watch.register(pipe, select.POLLOUT if writes else select.POLLIN)
        if not watch.poll(1000 * max(0.0, until - time.monotonic())):
            self._give_up()
            raise Gone


class Crew:
    """The processes of one script, each of which works on one request at a time."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._idle: list[Worker] = []
        self._busy: set[Worker] = set()
        self._taken = 0  # busy ones, and those that are being started
        self._started = -math.inf  # when the last one was

    def ask(self, start: Start, request: Request) -> tuple[int, bytes]:
        """How the request ended, and what came of it. It is asked again where the process had been
        killed by others.
        """
        for tries in (1, 2):
            with self._one(start) as worker:
                try:
                    return worker.ask(request)
                except Gone:
                    end = worker.end()
            if not start.forks or end == LATE or tries == 2:
                break
        return end, b""

    def warm(self, start: Start) -> None:
        """Begin to start a process if there is none."""
        with self._changed:
            if not self._idle and not self._taken:
                self._idle.append(Worker(start))

    def close(self) -> None:
        """End what is idle."""
        with self._changed:
            while self._idle:
                self._idle.pop().end()

    def disown(self) -> None:
        for worker in (*self._idle, *self._busy):
            worker.disown()

    @contextlib.contextmanager
    def _one(self, start: Start) -> Iterator[Worker]:
        """A process for one request: idle, soon idle, or new."""
        with self._changed:
            self._wait_a_turn()
            worker = self._fitting(start)
            self._taken += 1
            if worker is None:
                self._started = time.monotonic()
        try:
            worker = worker or Worker(start)
            self._busy.add(worker)
            try:
                yield worker
            except BaseException:  # Ctrl-C, with half an answer still to come
                worker.end()
                raise
        finally:
            with self._changed:
                self._taken -= 1
                kept = worker is None or self._kept(worker)
                self._changed.notify()
            if worker and not kept:
                self._end(worker)

    def _wait_a_turn(self) -> None:
        """Until a process is idle, or it is time for another one, of which many start in turn."""
        until = time.monotonic() + TURN
        while self._taken and not self._idle:
            left = max(until, self._started + TURN) - time.monotonic()
            if left <= 0:
                return
            self._changed.wait(left)

    def _fitting(self, start: Start) -> Worker | None:
        while self._idle:
            worker = self._idle.pop()
            if worker.start == start and worker.alive:
                return worker
            worker.end()
        return None

    def _kept(self, worker: Worker) -> bool:
        self._busy.discard(worker)
        fit = worker.start.forks and worker.alive and len(self._idle) < KEPT
        if fit:
            self._idle.append(worker)
        return fit

    def _end(self, worker: Worker) -> None:
        worker.end()
        if not worker.start.forks:  # it was for one request: the next one starts ahead
            with contextlib.suppress(OSError):
                self.warm(worker.start)
