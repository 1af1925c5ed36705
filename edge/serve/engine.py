"""One model, one answer at a time: requests wait in turn, and a client that leaves stops its answer.

The turn belongs to a task of its own, never to the request: a request may be cancelled at any
moment, and the model must be at rest before the next answer begins.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from math import ceil
from threading import Event
from time import monotonic
from typing import Any, Literal, Protocol

from edge.run.model import Answer, Wish
from edge.system.cancellation import Unwanted, unless

PATIENCE = 30  # seconds: the longest that a client is told to wait before it asks again


class Busy(Exception):
    """Too many requests wait already. `seconds`: after which these may have been answered."""

    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt of token ids, how its answer should be made, and what is done first."""

    ids: list[int]
    wish: Wish
    before: Callable[[], None] = lambda: None  # on the model's thread, in its turn


class Replies(Protocol):
    """What the engine needs of a model."""

    def reply(self, ids: list[int], wish: Wish, /) -> Answer: ...

    def forget(self) -> None: ...


class Job:
    """An answer that is being made, or waits to be. Whoever asked reads `pieces`, or leaves."""

    def __init__(self) -> None:
        self.answer: Answer | None = None  # once it has begun
        self.prompt_tokens = 0
        self.left = False  # nobody reads it
        self.waiting: asyncio.Task[None] | None = None  # before it has its turn
        self._loop = asyncio.get_running_loop()
        self._made: asyncio.Queue[str | Exception | None] = asyncio.Queue()
        self._over = Event()
        self._late = False

    async def pieces(self) -> AsyncGenerator[str, None]:
        """Text as it is made. What goes wrong comes out here."""
        try:
            while isinstance(piece := await self._made.get(), str):
                yield piece
            if piece is not None:
                raise piece
        finally:
            self.leave()

    @property
    def ending(self) -> Literal["stop", "length"]:
        """Why it ended, in OpenAI's words; one that ran out of time was cut off, too."""
        assert self.answer is not None
        whole = self.answer.generation.ending == "stop" and not self._late
        return "stop" if whole else "length"

    def leave(self) -> None:
        """Nobody wants the rest: the place is free, or the token in progress is the last."""
        if not self._over.is_set():
            self.left = True
            self.end()
            self._stop()
            if self.waiting is not None:
                self.waiting.cancel()

    def expire(self) -> None:
        """The time is up: what there is of the answer is all of it."""
        self._late = True
        self._stop()

    def end(self, error: Exception | None = None) -> None:
        """There is no more, or there is this error."""
        self._over.set()
        self._made.put_nowait(error)

    def run(self, model: Replies, asked: Asked) -> None:
        """Make the answer, on a thread."""
        if self._over.is_set():
            return
        self.prompt_tokens = len(asked.ids)
        try:
            with unless(lambda: self._over.is_set() or self._late):
                asked.before()
                self.answer = model.reply(asked.ids, asked.wish)
                for piece in self.answer:
                    self._give(piece)
                    if self._over.is_set() or self._late:
                        return
        except Unwanted:
            model.forget()  # of a prompt that was read in part

    def _stop(self) -> None:
        if self.answer is not None:  # whose tokens may be no text for long
            self.answer.generation.stop()

    def _give(self, piece: str) -> None:
        with suppress(RuntimeError):  # the loop has ended, and the reader with it
            self._loop.call_soon_threadsafe(self._made.put_nowait, piece)


class Engine:
    """Runs a model. `queue`: requests that may wait; `seconds`: the longest that one may take."""

    def __init__(self, model: Replies, *, queue: int, seconds: float) -> None:
        self._model = model
        self._queue = queue
        self._seconds = seconds
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "model")  # never behind others' templates
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself keeps only weak references
        self._took = 0.0  # seconds that the last answer took

    def start(
        self, prepare: Callable[[], Asked], gone: Callable[[], Coroutine[Any, Any, object]]
    ) -> Job:
        """Take a place in the queue, then prepare what is asked for, and wait for the turn.

        `gone` ends when the client leaves: then the place, or the model, is free at once.
        """
        if len(self._tasks) > self._queue:
            all_of_it = ceil(self._took * len(self._tasks))
            raise Busy(min(PATIENCE, max(1, all_of_it)))
        job = Job()
        job.waiting = asyncio.create_task(self._work(job, prepare))
        watch = asyncio.create_task(gone())
        watch.add_done_callback(lambda _: job.leave())
        self._tasks.add(job.waiting)
        job.waiting.add_done_callback(self._tasks.discard)
        job.waiting.add_done_callback(lambda _: watch.cancel())
        return job

    async def _work(self, job: Job, prepare: Callable[[], Asked]) -> None:
        try:
            asked = await asyncio.to_thread(prepare)
            async with self._turn:
                await self._make(job, asked)
        except asyncio.CancelledError:
            job.leave()
            raise
        except BaseException as error:  # a panic inside a library is no Exception
            job.end(error if isinstance(error, Exception) else RuntimeError(repr(error)))
        else:
            job.end()

    async def _make(self, job: Job, asked: Asked) -> None:
        job.waiting = None  # from here on the thread alone says when the model is at rest
        loop, began = asyncio.get_running_loop(), monotonic()
        clock = loop.call_later(self._seconds, job.expire)
        try:
            await loop.run_in_executor(self._thread, job.run, self._model, asked)
        finally:
            clock.cancel()
            self._took = monotonic() - began
