"""Who shares work whose items come out alike whoever does them: the threads of one process, or those of several
processes (`edge_runtimes.torch.team`). So that what comes of it does not depend on how many there are, an item is
computed by one thread, its library's too, and items are put together in their order.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from edge.system import processors
from edge.typing import AnyArray

Parts = Mapping[str, AnyArray]  # what an item comes to


class Team(Protocol):
    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        ...

    def each(self, count: int, make: Callable[[int], Parts]) -> Iterator[Parts]:
        """What items 0 to `count` come to, in their order, in every process; few are ahead of what is taken. Arrays lie
        in C order: numpy adds up rows of others in another order.
        """
        ...

    def own(self, count: int) -> range:
        """The items of `count` that this process keeps to itself, until `each` asks for them: those that `each` has
        made by it.
        """
        ...

    def run(self, do: Callable[[int], None], items: Iterable[int]) -> None:
        """Do items side by side in this process."""
        ...

    def told(self, parts: Parts) -> Parts:
        """What the first process was given here."""
        ...

    def close(self) -> None:
        """All is done."""
        ...


class Threads:
    """One process."""

    @property
    def first(self) -> bool:
        return True

    def __init__(self) -> None:
        self._count = processors.threads(None)
        self._pool = ThreadPoolExecutor(self._count)

    def each(self, count: int, make: Callable[[int], Parts]) -> Iterator[Parts]:
        ahead: deque[Future[Parts]] = deque()
        for item in range(count):
            ahead.append(self._begun(make, item))
            if len(ahead) > self._count:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()

    def own(self, count: int) -> range:
        return range(count)

    def run(self, do: Callable[[int], None], items: Iterable[int]) -> None:
        list(self._pool.map(do, items))

    def told(self, parts: Parts) -> Parts:
        return parts

    def _begun(self, make: Callable[[int], Parts], item: int) -> Future[Parts]:
        def made() -> Parts:
            return {name: np.asarray(array, order="C") for name, array in make(item).items()}

        return self._pool.submit(made)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


def several() -> bool:
    """Whether torchrun started this process beside others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Products of matrices come out a little otherwise by two threads than by one, so numpy has one here. (Apple's
    Accelerate, which numpy has on a Mac, decides for itself.)
    """
    with threadpool_limits(1, "blas"):
        yield
