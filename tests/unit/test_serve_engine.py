"""The engine: one answer at a time, whatever those who asked do meanwhile."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from edge.serve.engine import Busy, Engine, Job


class Slow(Iterator[str]):
    """An answer that knows how many are being made at once."""

    running = most = made = 0

    def __init__(self, pieces: int) -> None:
        type(self).running += 1
        type(self).most = max(self.most, self.running)
        self._left = pieces

    def __next__(self) -> str:
        if not self._left:
            type(self).running -= 1
            raise StopIteration
        self._left -= 1
        type(self).made += 1
        time.sleep(0.002)
        return "x"


@pytest.fixture(autouse=True)
def _anew() -> None:
    Slow.running = Slow.most = Slow.made = 0


def engine(**limits: Any) -> Engine:
    model: Any = None  # only those who ask use it
    return Engine(model, **({"queue": 8, "seconds": 10.0} | limits))


def begin(pieces: int = 20) -> Any:
    return lambda: Slow(pieces)


async def text(job: Job) -> str:
    return "".join([piece async for piece in job.pieces()])


def test_answers_are_made_one_at_a_time() -> None:
    async def ask() -> list[str]:
        made = engine()
        return await asyncio.gather(*(text(made.start(begin())) for _ in range(4)))

    assert asyncio.run(ask()) == ["x" * 20] * 4
    assert Slow.most == 1


def test_a_full_queue_refuses() -> None:
    async def ask() -> None:
        made = engine(queue=1)
        jobs = [made.start(begin()) for _ in range(2)]
        with pytest.raises(Busy):
            made.start(begin())
        await asyncio.gather(*map(text, jobs))
        assert await text(made.start(begin(1))) == "x"

    asyncio.run(ask())


def test_nobody_makes_what_nobody_wants() -> None:
    async def ask() -> None:
        made = engine()
        first, second = made.start(begin(500)), made.start(begin(500))
        second.leave()  # while it waits
        async for _ in first.pieces():
            break  # after one piece
        first.leave()
        await asyncio.gather(*made._tasks)

    asyncio.run(ask())
    assert Slow.made < 100


def test_a_cancelled_reader_leaves_the_turn_to_the_next() -> None:
    async def ask() -> str:
        made = engine()
        reader = asyncio.create_task(text(made.start(begin(500))))
        await asyncio.sleep(0.02)
        reader.cancel()
        return await text(made.start(begin(3)))

    assert asyncio.run(ask()) == "xxx"


def test_an_answer_that_takes_too_long_is_cut_off() -> None:
    async def ask() -> str:
        return await text(engine(seconds=0.02).start(begin(500)))

    assert 0 < len(asyncio.run(ask())) < 100


def test_an_error_reaches_who_asked_and_frees_the_turn() -> None:
    def wrong() -> Any:
        raise ValueError("it is wrong")

    async def ask() -> str:
        made = engine()
        with pytest.raises(ValueError, match="it is wrong"):
            await text(made.start(wrong))
        return await text(made.start(begin(2)))

    assert asyncio.run(ask()) == "xx"
