"""One answer at a time: requests wait in turn, and a client that leaves stops its answer.

The turn belongs to a task of its own, never to the request: a request may be cancelled at any
moment, and the models must be at rest before the next answer begins.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from math import ceil
from threading import Event
from time import monotonic
from typing import Any, Generic, TypeVar

from edge.system.cancellation import Unwanted, unless

PATIENCE = 30  # seconds: the longest that a client is told to wait before it asks again
Piece = TypeVar("Piece")


class Busy(Exception):
    """Too many requests wait already. `seconds`: after which these may have been answered."""

    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Making(ABC, Generic[Piece]):
    """What is made for one request."""

    late = False  # the time is up: what there is of it is all of it

    def prepare(self) -> None:
        """Before its turn, beside the answer of another: what is wrong with the request is raised here."""
        return

    @abstractmethod
    def __iter__(self) -> Iterator[Piece]:
        """In its turn, on the models' thread."""

    def stop(self) -> None:
        """From another thread: no piece is wanted after the one in progress."""
        return

    def forget(self) -> None:
        """It ended in the middle of a piece, for nobody wanted the rest or it is late."""
        return


@dataclass(frozen=True, slots=True)
class _End:
    """There is no more, or there is this error."""

    error: Exception | None


class Job(Generic[Piece]):
    """An answer that is being made, or waits to be. Whoever asked reads `pieces`, or leaves."""

    def __init__(self, making: Making[Piece]) -> None:
        self.left = False  # nobody reads it
        self.waiting: asyncio.Task[None] | None = None  # before it has its turn
        self._making = making
        self._loop = asyncio.get_running_loop()
        self._made: asyncio.Queue[Piece | _End] = asyncio.Queue()
        self._over = Event()

    async def pieces(self) -> AsyncGenerator[Piece, None]:
        """As they are made. What goes wrong comes out here."""
        try:
            while not isinstance(piece := await self._made.get(), _End):
                yield piece
            if piece.error is not None:
                raise piece.error
        finally:
            self.leave()

    def leave(self) -> None:
        """Nobody wants the rest: the place is free, or the piece in progress is the last."""
        if not self._over.is_set():
            self.left = True
            self.end()
            self._making.stop()
            if self.waiting is not None:
                self.waiting.cancel()

    def expire(self) -> None:
        self._making.late = True
        self._making.stop()

    def end(self, error: Exception | None = None) -> None:
        self._over.set()
        self._made.put_nowait(_End(error))

    def run(self) -> None:
        """Make it, on a thread."""
        making = self._making
        if self._over.is_set():
            return
        try:
            with unless(lambda: self._over.is_set() or making.late):
                for piece in making:
                    self._give(piece)
                    if self._over.is_set():
                        return
        except Unwanted:
            making.forget()

    def _give(self, piece: Piece) -> None:
        with suppress(RuntimeError):  # the loop has ended, and the reader with it
            self._loop.call_soon_threadsafe(self._made.put_nowait, piece)


class Engine:
    """Runs models. `queue`: requests that may wait; `seconds`: the longest that one may take."""

    def __init__(self, *, queue: int, seconds: float) -> None:
        self._queue = queue
        self._seconds = seconds
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "models")  # never behind others' templates
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself keeps only weak references
        self._took = 0.0  # seconds that the last answer took

    def start(
        self, making: Making[Piece], gone: Callable[[], Coroutine[Any, Any, object]]
    ) -> Job[Piece]:
        """Take a place in the queue, then prepare what is asked for, and wait for the turn.

        `gone` ends when the client leaves: then the place, or the model, is free at once.
        """
        if len(self._tasks) > self._queue:
            all_of_it = ceil(self._took * len(self._tasks))
            raise Busy(min(PATIENCE, max(1, all_of_it)))
        job = Job(making)
        job.waiting = asyncio.create_task(self._work(job, making))
        watch = asyncio.create_task(gone())
        watch.add_done_callback(lambda _: job.leave())
        self._tasks.add(job.waiting)
        job.waiting.add_done_callback(self._tasks.discard)
        job.waiting.add_done_callback(lambda _: watch.cancel())
        return job

    async def _work(self, job: Job[Any], making: Making[Any]) -> None:
        try:
            await asyncio.to_thread(making.prepare)
            async with self._turn:
                await self._make(job)
        except asyncio.CancelledError:
            job.leave()
            raise
        except BaseException as error:  # a panic inside a library is no Exception
            job.end(error if isinstance(error, Exception) else RuntimeError(repr(error)))
        else:
            job.end()

    async def _make(self, job: Job[Any]) -> None:
        job.waiting = None  # from here on the thread alone says when the models are at rest
        loop, began = asyncio.get_running_loop(), monotonic()
        clock = loop.call_later(self._seconds, job.expire)
        try:
            await loop.run_in_executor(self._thread, job.run)
        finally:
            clock.cancel()
            self._took = monotonic() - began
