"""What comes out: rows as JSON lines, in files of bounded size, each there when all of it is.

Beside each finished file it is kept where the next one goes on, so that none is written twice.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from edge.data.frame.places import Place, line, unpacked, written
from edge.data.frame.step import Form, Keyed, Row
from edge.system.progress import Advance


@dataclass(frozen=True, slots=True)
class Cursor:
    """How many rows were taken whole, and tokens of the next one."""

    row: int = 0
    used: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """A finished file, and where it ends."""

    name: str
    rows: int
    bytes: int
    sha256: str
    end: Cursor


@dataclass(frozen=True, slots=True)
class Ordered:
    """The rows of the last phase in the order that they are written in."""

    places: tuple[Place, ...]
    counts: tuple[int, ...]  # rows of each part
    keys: Keyed | None  # by which they are sorted; the order of the sources otherwise
    advance: Advance = lambda _: None  # is told how many bytes were read

    def rows(self, first: int) -> Iterator[Row]:
        """From the first-th on."""
        for content in self._as_they_lie(first) if self.keys is None else self._sorted(first):
            self.advance(len(content))
            yield unpacked(content)

    def _as_they_lie(self, first: int) -> Iterator[bytes]:
        for place, count in zip(self.places, self.counts, strict=True):
            if first < count:
                begin = int(place.keys(0)[first]["begin"])
                with place.file("rows").open("rb") as file:
                    file.seek(begin)
                    yield from file
            first = max(0, first - count)

    def _sorted(self, first: int) -> Iterator[bytes]:
        assert self.keys is not None
        found = [place.keys(self.keys.width) for place in self.places]
        # Keys as numbers, big-endian: of equal ones the first comes first.
        keys = np.concatenate(
            [np.ascontiguousarray(part["key"]).view(">u8")[:, 0] for part in found]
        )
        starts = np.array([0, *accumulate(self.counts)])
        for number in np.argsort(keys, kind="stable")[first:]:
            part = int(np.searchsorted(starts, number, side="right")) - 1
            yield self.places[part].line(int(found[part][number - starts[part]]["begin"]))


@dataclass(frozen=True, slots=True)
class Written:
    shards: tuple[Shard, ...]
    left: int  # tokens that fill no row


def write(ordered: Ordered, form: Form, folder: Path, work: Path) -> Written:
    """Write what is not written yet; `work`: where it is kept how far that is."""
    shards = list(_finished(work))
    stream = _Lines(ordered, form, shards[-1].end if shards else Cursor())
    lines = iter(stream)
    first = next(lines, None)
    while first is not None:
        name = f"data-{len(shards):05}.jsonl"
        digest, size, rows, end = hashlib.sha256(), 0, 0, Cursor()
        with written(folder / name, by=work) as file:
            while first is not None and (not rows or size + len(first[0]) <= form.shard):
                content, end = first
                file.write(content)
                digest.update(content)
                size, rows = size + len(content), rows + 1
                first = next(lines, None)
        shards.append(Shard(name=name, rows=rows, bytes=size, sha256=digest.hexdigest(), end=end))
        with written(_mark(work, len(shards) - 1), lasting=False) as file:
            file.write(json.dumps(asdict(shards[-1])).encode())
    return Written(tuple(shards), stream.left)


def _finished(work: Path) -> Iterator[Shard]:
    number = 0
    while (mark := _mark(work, number)).exists():
        said = json.loads(mark.read_text())
        yield Shard(**said | {"end": Cursor(**said["end"])})
        number += 1


def _mark(work: Path, number: int) -> Path:
    return work / f"shard-{number:05}.json"


class _Lines:
    """Lines to write, each with where it ends; afterwards, how many tokens are left."""

    def __init__(self, ordered: Ordered, form: Form, start: Cursor) -> None:
        self._rows, self._length, self._start = ordered.rows(start.row), form.length, start
        self.left = 0

    def __iter__(self) -> Iterator[tuple[bytes, Cursor]]:
        if self._length is None:
            for number, row in enumerate(self._rows, start=self._start.row + 1):
                yield line(row.data), Cursor(number)
        else:
            yield from self._packed(self._length)

    def _packed(self, length: int) -> Iterator[tuple[bytes, Cursor]]:
        held: list[int] = []
        used = self._start.used
        for number, row in enumerate(self._rows, start=self._start.row):
            tokens = row.data["tokens"]
            held += tokens[used:]
            used = 0
            while len(held) >= length:
                full, held = held[:length], held[length:]
                # What was held before is shorter than a row: what is left now is all of this one.
                end = Cursor(number, len(tokens) - len(held)) if held else Cursor(number + 1)
                yield line({"tokens": full}), end
        self.left = len(held)
