"""One model, one answer at a time: requests wait in turn, and a client that leaves stops its answer."""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic

from edge.model import Answer, Model


class Busy(Exception):
    """Too many requests wait already."""


class Engine:
    """Runs a model on a thread of its own. `queue`: requests that may wait; `seconds`: for one."""

    def __init__(self, model: Model, *, queue: int, seconds: float) -> None:
        self.model = model
        self._queue = queue
        self._seconds = seconds
        self._waiting = 0
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Hold the model, after those who came before."""
        if self._waiting > self._queue:
            raise Busy
        self._waiting += 1
        try:
            async with self._turn:
                yield
        finally:
            self._waiting -= 1

    async def pieces(self, begin: Callable[[], Answer]) -> AsyncGenerator[tuple[str, Answer], None]:
        """Text as it is made, inside a `turn`. Errors of `begin` come out before the first piece."""
        answer = await asyncio.to_thread(begin)
        loop = asyncio.get_running_loop()
        made: asyncio.Queue[str | BaseException | None] = asyncio.Queue()
        left = threading.Event()
        end = monotonic() + self._seconds

        def work() -> None:
            result: BaseException | None = None
            try:
                for piece in answer:
                    loop.call_soon_threadsafe(made.put_nowait, piece)
                    if left.is_set() or monotonic() > end:
                        break
            except BaseException as error:
                result = error
            loop.call_soon_threadsafe(made.put_nowait, result)

        worker = loop.run_in_executor(None, work)
        try:
            while isinstance(piece := await made.get(), str):
                yield piece, answer
            if piece is not None:
                raise piece
            yield "", answer
        finally:
            left.set()
            await asyncio.shield(worker)  # the next in turn finds the model at rest
