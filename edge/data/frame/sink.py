"""What comes out: rows as JSON lines, in files of bounded size, each there when all of it is.

Beside each finished file it is kept where the next one goes on, so that none is written twice.
"""

import hashlib
import json
from base64 import b64decode
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import IO
from zlib import crc32

import numpy as np

from edge.data.frame.places import Place, unpacked, written
from edge.data.frame.places import line as packed_line
from edge.data.frame.step import Data, Form, Keyed, Row
from edge.system.progress import Advance

BESIDE = ".i16"


@dataclass(frozen=True, slots=True)
class Cursor:
    """How many rows were taken whole, and tokens of the next one."""

    row: int = 0
    used: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Beside:
    """A file beside a file of rows."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """A finished file, and where it ends."""

    name: str
    rows: int
    bytes: int
    sha256: str
    end: Cursor
    beside: Beside | None = None

    @property
    def beside_bytes(self) -> int:
        return self.beside.bytes if self.beside else 0


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
        with ExitStack() as stack:
            file = _Shard(len(shards), form, folder, work, stack)
            while first is not None and file.takes(first):
                first = next(lines, None)
        shards.append(file.finished())
        with written(_mark(work, len(shards) - 1), lasting=False) as mark:
            mark.write(json.dumps(asdict(shards[-1])).encode())
    return Written(tuple(shards), stream.left)


@dataclass(frozen=True, slots=True)
class _Line:
    """A row to write, what lies beside it, and where it ends."""

    data: Data
    beside: bytes
    end: Cursor


class _Shard:
    """A file of rows while it is written, and the one beside it where there is one."""

    def __init__(self, number: int, form: Form, folder: Path, work: Path, stack: ExitStack) -> None:
        self._form, self._name = form, f"data-{number:05}"
        names = [f"{self._name}.jsonl", *([f"{self._name}{BESIDE}"] if form.beside else [])]
        self._files = [_Counted(stack.enter_context(written(folder / n, by=work))) for n in names]
        self._names, self._rows, self._end = names, 0, Cursor()

    def takes(self, line: _Line) -> bool:
        """Writes it, if there is room: for one there always is."""
        content = self._text(line)
        more = len(content) + len(line.beside)
        if self._rows and sum(file.size for file in self._files) + more > self._form.shard:
            return False
        self._files[0].write(content)
        if self._form.beside:
            self._files[1].write(line.beside)
        self._rows, self._end = self._rows + 1, line.end
        return True

    def _text(self, line: _Line) -> bytes:
        if self._form.beside is None:
            return packed_line(line.data)
        place = [self._files[1].size, len(line.beside), crc32(line.beside)]
        return packed_line({**line.data, self._form.beside: place})

    def finished(self) -> Shard:
        rows, *beside = (
            Beside(name=name, bytes=file.size, sha256=file.digest.hexdigest())
            for name, file in zip(self._names, self._files, strict=True)
        )
        return Shard(
            name=rows.name,
            rows=self._rows,
            bytes=rows.bytes,
            sha256=rows.sha256,
            end=self._end,
            beside=beside[0] if beside else None,
        )


class _Counted:
    """A file that is written, its size and hash so far."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.size, self.digest = file, 0, hashlib.sha256()

    def write(self, content: bytes) -> None:
        self._file.write(content)
        self.digest.update(content)
        self.size += len(content)


def _finished(work: Path) -> Iterator[Shard]:
    number = 0
    while (mark := _mark(work, number)).exists():
        said = json.loads(mark.read_text())
        beside = said["beside"] and Beside(**said["beside"])
        yield Shard(**said | {"end": Cursor(**said["end"]), "beside": beside})
        number += 1


def _mark(work: Path, number: int) -> Path:
    return work / f"shard-{number:05}.json"


class _Lines:
    """Rows to write, each with where it ends; afterwards, how many tokens are left."""

    def __init__(self, ordered: Ordered, form: Form, start: Cursor) -> None:
        self._rows, self._form, self._start = ordered.rows(start.row), form, start
        self.left = 0

    def __iter__(self) -> Iterator[_Line]:
        if self._form.length is not None:
            yield from self._packed(self._form.length)
            return
        for number, row in enumerate(self._rows, start=self._start.row + 1):
            beside = self._form.beside
            content = b64decode(row.data[beside]) if beside else b""
            yield _Line(row.data, content, Cursor(number))

    def _packed(self, length: int) -> Iterator[_Line]:
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
                yield _Line({"tokens": full}, b"", end)
        self.left = len(held)
