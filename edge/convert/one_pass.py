"""One pass over a checkpoint for any number of targets: each block of rows is read once and given to
every writer that still lacks it.

A journal in each writer's folder names the weights that are there: a conversion that was killed
goes on with the others.
"""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from edge.contracts import Writer
from edge.names import Location
from edge.quant.unfit import Unfit
from edge.source.checkpoint import Checkpoint
from edge.source.finite import blocks
from edge.system import processors
from edge.typing import F32

JOURNAL = "journal.json"  # gone before an artifact is published
_AHEAD = 4  # blocks in flight: bounds memory
_MARK = 1 << 26  # bytes after which the journal is brought up to date


@dataclass(slots=True)
class Journal:
    """Weights that lie finished in a folder. `key` tells whose: other inputs, another journal."""

    folder: Path
    key: str
    done: set[str] = field(default_factory=set)

    @classmethod
    def open(cls, folder: Path, key: str) -> "Journal":
        """What the folder's journal says; nothing, if it has none of this key."""
        try:
            data = json.loads((folder / JOURNAL).read_bytes())
            names = set(map(str, data["done"])) if data["key"] == key else set()
        except (OSError, ValueError, KeyError, TypeError):
            names = set()
        return cls(folder, key, names)

    def mark(self, names: Sequence[str]) -> None:
        self.done.update(names)
        partial = self.folder / f".{JOURNAL}"
        partial.write_text(json.dumps({"key": self.key, "done": sorted(self.done)}))
        partial.replace(self.folder / JOURNAL)

    def close(self) -> None:
        (self.folder / JOURNAL).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Job:
    """A writer, the journal of its folder if it has one, and weights that it is not given."""

    writer: Writer
    journal: Journal | None = None
    skip: frozenset[str] = frozenset()

    def needs(self, name: str) -> bool:
        if name in self.skip:
            return False
        return self.journal is None or name not in self.journal.done

    def mark(self, names: Sequence[str]) -> None:
        if self.journal is not None:
            self.writer.sync()
            self.journal.mark(names)


def one_pass(checkpoint: Checkpoint, jobs: Sequence[Job], progress: Callable[[int], None]) -> None:
    """Give every weight to every writer; `progress` hears of bytes as they are done. Refuses what is not
    finite, or would not be as it is stored.
    """
    put(checkpoint, list(checkpoint.places), jobs, progress)
    for job in jobs:
        job.writer.finish()


def put(
    checkpoint: Checkpoint,
    wanted: Sequence[str],
    jobs: Sequence[Job],
    progress: Callable[[int], None],
) -> None:
    """Give these weights to every writer that still lacks them."""
    names: list[str] = []  # put, but not in the journal yet
    unmarked = 0
    with ThreadPoolExecutor(processors.threads(None)) as pool:
        waiting: list[Future[int]] = []

        def settle(most: int) -> None:
            nonlocal unmarked
            while len(waiting) > most:
                done = waiting.pop(0).result()
                unmarked += done
                progress(done)

        for name in wanted:
            writers = [job.writer for job in jobs if job.needs(name)]
            place = checkpoint.places[name]
            for row, block in blocks(checkpoint, name) if writers else ():
                waiting.append(pool.submit(_put, writers, name, place, row, block))
                settle(_AHEAD)
            names.append(name)
            if unmarked > _MARK:
                settle(0)
                for job in jobs:
                    job.mark(names)
                names, unmarked = [], 0
        settle(0)
    for job in jobs:
        job.mark(names)


def _put(writers: Sequence[Writer], name: str, place: Location, row: int, block: F32) -> int:
    try:
        return sum(writer.put(name, row, block) for writer in writers)
    except Unfit as error:
        raise error.at(place) from None
