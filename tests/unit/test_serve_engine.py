"""The engine: one answer at a time, whatever those who asked do meanwhile."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from edge.errors import EdgeError
from edge.run.model import Wish
from edge.serve.engine import PATIENCE, Busy, Engine, Job
from edge.serve.replies import Asked, Reply
from edge.system.cancellation import go_on


class Slow(Iterator[str]):
    """An answer that knows how many are being made at once. `silent`: its tokens are no text."""

    running = most = made = 0

    def __init__(self, tokens: int, silent: bool) -> None:
        type(self).running += 1
        type(self).most = max(self.most, self.running)
        self.generation = self
        self.ending = "length"
        self._left = tokens
        self._silent = silent

    def stop(self) -> None:
        self.ending, self._left = "stop", 0

    def __next__(self) -> str:
        while self._left > 0:
            self._left -= 1
            type(self).made += 1
            time.sleep(0.002)
            if not self._silent:
                return "x"
        type(self).running -= 1
        raise StopIteration


class Panic(BaseException):
    """What a library's native code may raise."""


class Speaker:
    """A model whose answers are as many tokens as its prompt says."""

    def __init__(self, *, silent: bool = False) -> None:
        self._silent = silent

    def reply(self, ids: list[int], _: Wish, /) -> Any:
        if not ids[0]:
            raise Panic("it is wrong")
        return Slow(ids[0], self._silent)

    def forget(self) -> None:
        return


@pytest.fixture(autouse=True)
def _anew() -> None:
    Slow.running = Slow.most = Slow.made = 0


def engine(**limits: Any) -> Engine:
    return Engine(**({"queue": 8, "seconds": 10.0} | limits))


async def never() -> None:
    await asyncio.Event().wait()


def reply(tokens: int, *, silent: bool = False) -> Reply:
    return Reply(Speaker(silent=silent), lambda: Asked([tokens], Wish()))


def start(made: Engine, tokens: int = 20, gone: Any = never, *, silent: bool = False) -> Job[str]:
    return made.start(reply(tokens, silent=silent), gone)


async def text(job: Job[str]) -> str:
    return "".join([piece async for piece in job.pieces()])


async def until(done: Any, seconds: float = 2.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it takes too long"
        await asyncio.sleep(0.002)


def test_answers_are_made_one_at_a_time() -> None:
    async def ask() -> list[str]:
        made = engine()
        return await asyncio.gather(*(text(start(made)) for _ in range(4)))

    assert asyncio.run(ask()) == ["x" * 20] * 4
    assert Slow.most == 1


def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    async def ask() -> list[int]:
        made = engine(queue=1)
        said = []
        for took in (0.0, 7.2, 900.0):
            made._took = took  # seconds that the last answer took
            jobs = [start(made) for _ in range(2)]
            with pytest.raises(Busy) as busy:
                start(made)
            said.append(busy.value.seconds)
            await asyncio.gather(*map(text, jobs))
            await until(lambda: not made._tasks)
        assert await text(start(made, 1)) == "x"
        return said

    assert asyncio.run(ask()) == [1, 15, PATIENCE]


def test_nobody_makes_what_nobody_wants() -> None:
    async def ask() -> None:
        made = engine()
        first, second = start(made, 500), start(made, 500)
        async for _ in first.pieces():
            break  # after one piece
        second.leave()  # while it waits
        first.leave()
        await until(lambda: not made._tasks)

    asyncio.run(ask())
    assert Slow.made < 100
    assert Slow.most == 1


class Reader(Speaker):
    """A model that reads a prompt in a hundred pieces before its first token."""

    pieces = forgotten = 0

    def reply(self, ids: list[int], wish: Wish, /) -> Any:
        for self.pieces in range(100):
            go_on()
            time.sleep(0.02)
        return super().reply(ids, wish)

    def forget(self) -> None:
        self.forgotten += 1


def test_a_prompt_is_read_no_further_when_its_reader_leaves() -> None:
    reader = Reader()

    async def ask() -> None:
        made = engine()
        job = made.start(Reply(reader, lambda: Asked([20], Wish())), never)
        await until(lambda: reader.pieces)
        job.leave()
        await until(lambda: not made._tasks, 0.5)

    asyncio.run(ask())
    assert (reader.pieces < 20, reader.forgotten, Slow.made) == (True, 1, 0)


def test_a_prompt_that_takes_all_of_the_time_is_an_error_and_no_empty_answer() -> None:
    reader = Reader()

    async def ask() -> None:
        job = engine(seconds=0.1).start(Reply(reader, lambda: Asked([20], Wish())), never)
        with pytest.raises(EdgeError, match="the time is up"):
            await text(job)

    asyncio.run(ask())
    assert reader.forgotten == 1


def test_who_leaves_the_queue_frees_the_place_while_another_is_answered() -> None:
    async def ask() -> str:
        made = engine(queue=1)
        first = start(made, 100_000)
        await until(lambda: Slow.made)
        for _ in range(20):
            left = asyncio.Event()
            waits = start(made, 500, left.wait)
            left.set()
            assert await asyncio.wait_for(text(waits), 1) == ""
            await until(lambda: len(made._tasks) == 1)
        last = start(made, 3)
        first.leave()
        return await text(last)

    assert asyncio.run(ask()) == "xxx"


@pytest.mark.parametrize("silent", [False, True])
def test_who_leaves_frees_the_model_between_two_tokens(silent: bool) -> None:
    """Also where the tokens make no text for long: then no piece comes at which to look."""

    async def ask() -> str:
        made = engine()
        left = asyncio.Event()
        reader = asyncio.create_task(text(start(made, 100_000, left.wait, silent=silent)))
        await until(lambda: Slow.made)
        left.set()
        await asyncio.wait_for(reader, 1)
        return await asyncio.wait_for(text(start(made, 3, silent=silent)), 2)

    assert asyncio.run(ask()) == ("" if silent else "xxx")


def test_what_is_prepared_slowly_keeps_no_place_when_nobody_waits_for_it() -> None:
    async def ask() -> str:
        made = engine(queue=0)
        left = asyncio.Event()
        slow = Reply(Speaker(), lambda: time.sleep(0.3) or Asked([500], Wish()))
        asleep = made.start(slow, left.wait)
        await asyncio.sleep(0.02)
        with pytest.raises(Busy):
            start(made)
        left.set()
        assert await text(asleep) == ""
        await until(lambda: not made._tasks, 0.2)
        return await text(start(made, 3))

    assert asyncio.run(ask()) == "xxx"


def test_a_cancelled_reader_leaves_the_turn_to_the_next() -> None:
    async def ask() -> str:
        made = engine()
        reader = asyncio.create_task(text(start(made, 100_000)))
        await asyncio.sleep(0.02)
        reader.cancel()
        return await text(start(made, 3))

    assert asyncio.run(ask()) == "xxx"


def test_the_loop_that_ends_stops_the_model() -> None:
    async def ask() -> None:
        start(engine(), 100_000)
        await until(lambda: Slow.made)

    asyncio.run(ask())
    made = Slow.made
    time.sleep(0.05)
    assert Slow.made <= made + 1


@pytest.mark.parametrize("silent", [False, True])
def test_an_answer_that_takes_too_long_is_cut_off(silent: bool) -> None:
    async def ask() -> tuple[str, str]:
        late = reply(100_000, silent=silent)
        return await text(engine(seconds=0.05).start(late, never)), late.ending

    said, ending = asyncio.run(ask())
    assert (ending, bool(said)) == ("length", not silent)
    assert 0 < Slow.made < 100


def test_an_error_reaches_who_asked_and_frees_the_turn() -> None:
    def wrong() -> Asked:
        raise ValueError("it is wrong")

    async def ask() -> str:
        made = engine()
        for job in (start(made, 0), made.start(Reply(Speaker(), wrong), never)):
            with pytest.raises((ValueError, RuntimeError), match="it is wrong"):
                await asyncio.wait_for(text(job), 1)
        return await text(start(made, 2))

    assert asyncio.run(ask()) == "xx"
