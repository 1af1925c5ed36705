"""`edge.system.team.Team` of the processes that torchrun started, on one machine or on several: each reads the same
checkpoint, computes its items, and tells the others what they came to, as bytes through gloo.
"""

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import numpy as np
import torch
import torch.distributed as dist

from edge.system.team import Parts, Threads
from edge.typing import U8, AnyArray


class Processes(Threads):
    def __init__(self) -> None:
        super().__init__()
        self._rank, self._of = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        dist.init_process_group("gloo")

    @property
    def first(self) -> bool:
        return self._rank == 0

    def each(self, count: int, make: Callable[[int], Parts]) -> Iterator[Parts]:
        at_once = self._of * self._count
        for start in range(0, count, at_once):
            items = range(start, min(start + at_once, count))
            mine: dict[int, Future[Parts]] = {
                item: self._begun(make, item) for item in items if item % self._of == self._rank
            }
            for item in items:
                made = mine.pop(item).result() if item in mine else None
                yield self._from(item % self._of, made)

    def own(self, count: int) -> range:
        return range(self._rank, count, self._of)

    def told(self, parts: Parts) -> Parts:
        own = {name: np.asarray(array, order="C") for name, array in parts.items()}
        return self._from(0, own if self.first else None)

    def close(self) -> None:
        super().close()
        dist.destroy_process_group()

    def _from(self, rank: int, parts: Parts | None) -> Parts:
        """What one process has, in all."""
        facts = [] if parts is None else _facts(parts)
        said = self._bytes(rank, np.frombuffer(json.dumps(facts).encode(), np.uint8))
        found: dict[str, AnyArray] = {}
        for name, kind, shape in json.loads(said.tobytes()):
            data = np.empty(shape, kind) if parts is None else parts[name]
            self._send(rank, data.reshape(-1).view(np.uint8))
            found[name] = data
        return found

    def _bytes(self, rank: int, own: U8) -> U8:
        """Bytes of which only their owner knows how many."""
        size = np.array([own.size], np.int64)
        self._send(rank, size.view(np.uint8))
        data = own if rank == self._rank else np.empty(int(size[0]), np.uint8)
        self._send(rank, data)
        return data

    def _send(self, rank: int, data: U8) -> None:
        if data.size:
            own = (
                data if data.flags.writeable else data.copy()
            )  # torch warns of what it may not write
            dist.broadcast(torch.from_numpy(own), rank)


def _facts(parts: Parts) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(name, array.dtype.str, array.shape) for name, array in parts.items()]


team = Processes
