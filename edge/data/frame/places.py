"""Where a run keeps what it made, and how: a file is there when all of it is, whoever is killed when.

A part of a phase is its rows (JSON lines), their keys (where each row begins, and what the next verdict is found
from), the rows that were dropped, and, last of all, the counts: once those are there, it is never computed again.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from edge.data.frame.step import Row
from edge.typing import AnyArray

KINDS = ("rows", "keys", "dropped")


@contextmanager
def written(file: Path, *, by: Path | None = None, lasting: bool = True) -> Iterator[IO[bytes]]:
    """A file that appears at once, with all that is written here; a process of a killed run spoils no other's. `by`:
    the folder that holds it until then, where another may not keep what a killed run left. `lasting`: it is there
    also if the machine stops the next moment.
    """
    partial = (by or file.parent) / f".{file.name}.{os.getpid()}-{os.urandom(4).hex()}"
    try:
        with partial.open("wb") as opened:
            yield opened
            if lasting:
                opened.flush()
                os.fsync(opened.fileno())
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


@dataclass(kw_only=True, slots=True)
class Counts:
    """What became of the rows of a part: `read` and `made` (beyond one a row) are `kept` and those in `dropped`, by
    step and reason. `sizes`: of the part's files, in bytes.
    """

    read: int = 0
    made: int = 0
    kept: int = 0
    dropped: dict[str, dict[str, int]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)

    def drop(self, step: str, reason: str) -> None:
        reasons = self.dropped.setdefault(step, {})
        reasons[reason] = reasons.get(reason, 0) + 1

    def add(self, other: "Counts") -> None:
        """Those of a further part of the same phase."""
        self.read, self.made, self.kept = (
            self.read + other.read,
            self.made + other.made,
            self.kept + other.kept,
        )
        for step, reasons in other.dropped.items():
            mine = self.dropped.setdefault(step, {})
            for reason, count in reasons.items():
                mine[reason] = mine.get(reason, 0) + count

    @property
    def rejected(self) -> int:
        return sum(sum(reasons.values()) for reasons in self.dropped.values())


@dataclass(frozen=True, slots=True)
class Place:
    """The files of a part of a phase."""

    folder: Path
    phase: int
    part: int

    def file(self, kind: str) -> Path:
        return self.folder / f"{self.phase}-{self.part:06}.{kind}"

    def counts(self) -> Counts | None:
        """None: it is still to be computed, or was lost when the machine stopped."""
        try:
            found = Counts(**json.loads(self.file("counts").read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None
        return found if found.sizes == self._sizes() else None

    def finish(self, counts: Counts) -> None:
        counts.sizes = self._sizes()
        with written(self.file("counts"), lasting=False) as file:
            file.write(json.dumps(asdict(counts)).encode())

    def _sizes(self) -> dict[str, int]:
        files = {kind: self.file(kind) for kind in KINDS}
        return {kind: file.stat().st_size for kind, file in files.items() if file.exists()}

    def keys(self, width: int) -> AnyArray:
        """Of its rows, N: where each begins in the file of rows, and its key [N, width]."""
        kind = key_type(width)
        if not self.file("keys").stat().st_size:
            return np.empty(0, kind)
        found: AnyArray = np.memmap(self.file("keys"), kind, "r")
        return found

    def rows(self) -> Iterator[Row]:
        with self.file("rows").open("rb") as file:
            for line in file:
                yield unpacked(line)

    def line(self, begin: int) -> bytes:
        """The row that begins there."""
        with self.file("rows").open("rb") as file:
            file.seek(begin)
            return file.readline()


def key_type(width: int) -> Any:
    return np.dtype([("begin", "<u8"), ("key", "u1", (width,))])


def packed(row: Row) -> bytes:
    """A row as a line."""
    return line([row.file, row.line, row.child, row.data])


def unpacked(content: bytes) -> Row:
    file, number, child, data = json.loads(content)
    return Row(file, number, data, child)


def line(value: Mapping[str, Any] | list[Any]) -> bytes:
    return (
        json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        + b"\n"
    )
