"""One model, one answer at a time: requests wait in turn, and a client that leaves stops its answer.

The turn belongs to a task of its own, never to the request: a request may be cancelled at any
moment, and the model must be at rest before the next answer begins.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from time import monotonic

from edge.model import Answer, Model


class Busy(Exception):
    """Too many requests wait already."""


class Job:
    """An answer that is being made, or waits to be. Whoever asked reads `pieces`, or leaves."""

    def __init__(self) -> None:
        self.answer: Answer | None = None  # once it has begun
        self._loop = asyncio.get_running_loop()
        self._made: asyncio.Queue[str | BaseException | None] = asyncio.Queue()
        self._left = threading.Event()

    async def pieces(self) -> AsyncGenerator[str, None]:
        """Text as it is made. What goes wrong comes out here."""
        try:
            while isinstance(piece := await self._made.get(), str):
                yield piece
            if piece is not None:
                raise piece
        finally:
            self.leave()

    def leave(self) -> None:
        """Nobody wants the rest."""
        self._left.set()

    def run(self, begin: Callable[[], Answer], seconds: float) -> None:
        """Make the answer, on a thread."""
        end = monotonic() + seconds
        try:
            if not self._left.is_set():
                self.answer = begin()
                for piece in self.answer:
                    self._give(piece)
                    if self._left.is_set() or monotonic() > end:
                        break
            self._give(None)
        except BaseException as error:
            self._give(error)

    def _give(self, piece: str | BaseException | None) -> None:
        with suppress(RuntimeError):  # the loop has ended, and the reader with it
            self._loop.call_soon_threadsafe(self._made.put_nowait, piece)


class Engine:
    """Runs a model. `queue`: requests that may wait; `seconds`: the longest that one may take."""

    def __init__(self, model: Model, *, queue: int, seconds: float) -> None:
        self.model = model
        self._queue = queue
        self._seconds = seconds
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself keeps only weak references

    def start(self, begin: Callable[[], Answer]) -> Job:
        """Put an answer in the queue."""
        if len(self._tasks) > self._queue:
            raise Busy
        job = Job()
        task = asyncio.create_task(self._work(job, begin))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return job

    async def _work(self, job: Job, begin: Callable[[], Answer]) -> None:
        async with self._turn:
            await asyncio.to_thread(job.run, begin, self._seconds)
