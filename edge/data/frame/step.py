"""What an engine is made of: named steps over rows, as data.

A step sees one row, or a short key of every row. It is a pure function of what it is given and of a seed that the
row's name and the step's name fix, so that rows come out alike whoever computes them, and however often.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.typing import I64, U8

Data = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """A record, and where it came from: `line` of `file`, from 1; `child`: which of those that steps made of one."""

    file: str
    line: int
    data: Data
    child: str = ""

    @property
    def name(self) -> str:
        return f"{self.file}:{self.line}{self.child}"


@dataclass(frozen=True, slots=True)
class Drop:
    """That a row goes no further: the reason that it is counted under, and what may be said besides."""

    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of a file, of which the first begins `line`. `sha256`: of these bytes."""

    name: str
    path: str
    begin: int
    end: int
    line: int
    sha256: str

    @property
    def size(self) -> int:
        return self.end - self.begin


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """Which files an engine reads: those whose names end so, and of a folder's such files those that are `chosen`, as
    others belong to them. `records`: those of a part whose files are of these kinds, at most so many bytes each; of one
    that cannot be read, why. `lined`: kinds that are a record a line, and are cut between lines. `part`: bytes that are
    worked on together, if not as many as the frame has it.
    """

    kinds: tuple[str, ...]
    records: Callable[[Part, int], Iterator[Row | tuple[Row, Drop]]]
    lined: tuple[str, ...] = ()
    chosen: Callable[[list[Path]], list[Path]] = lambda files: files
    part: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Each:
    """What becomes of a row, by itself: a row, several of them, or none."""

    name: str
    do: Callable[[Row, int], Row | Drop | Sequence[Row]]  # a row and its seed


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of every row, [N]: the row whose copy it is, or -1 if it stays; and by which of the step's reasons."""

    of: I64
    why: I64


@dataclass(frozen=True, kw_only=True, slots=True)
class Keyed:
    """A key of every row, of `width` bytes. By itself the last step: rows are written in the order of their keys."""

    name: str
    width: int
    key: Callable[[Row, int], bytes]  # a row, and the step's own seed


@dataclass(frozen=True, kw_only=True, slots=True)
class Whole(Keyed):
    """Which rows stay, found from a key of each. `decide` sees all keys [N, width] in the order of the rows."""

    reasons: tuple[str, ...]
    decide: Callable[[U8], Verdict]


Step = Each | Keyed


@dataclass(frozen=True, slots=True)
class Phase:
    """Steps that need one row at a time, after a verdict on all of them and before the keys for what comes next."""

    verdict: Whole | None
    steps: tuple[Each, ...]
    keys: Keyed | None

    @property
    def width(self) -> int:
        """Bytes of the keys of its rows."""
        return 0 if self.keys is None else self.keys.width


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """How rows are written: files of at most so many bytes; `length`: as rows of so many tokens, of all rows' one
    after another. `beside`: the field whose bytes, which a step gave as base64, lie in a file beside their rows', where
    they can be mapped; a row says where they begin, how many they are, and their CRC-32.
    """

    shard: int
    length: int | None = None
    beside: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Means:
    """What the user named for an engine: a folder with a tokenizer, a model's folder or address."""

    tokenizer: str | None = None
    model: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """`version` rises when the same sources give other rows. `settings`: a frozen dataclass of its parameters, each
    with a default; `steps` and `form` of them and of what the user named;
    `check` refuses what does not go together: the names
    that were given, all settings, what the user named.
    """

    name: str
    version: int
    what: str
    settings: type[Any]
    steps: Callable[[Any, Means], tuple[Step, ...]]
    form: Callable[[Any, Means], Form]
    check: Callable[[frozenset[str], Any, Means], None]
    reading: Reading | None = None


def phases(steps: Sequence[Step]) -> list[Phase]:
    """The steps, cut where all rows must be known."""
    found: list[Phase] = []
    verdict: Whole | None = None
    some: list[Each] = []
    for step in steps:
        if isinstance(step, Each):
            some.append(step)
            continue
        found.append(Phase(verdict, tuple(some), step))
        if not isinstance(step, Whole):
            assert step is steps[-1], "an order is the last step"
            return found
        verdict, some = step, []
    return [*found, Phase(verdict, tuple(some), None)]


def seed_of(seed: int, *names: str) -> int:
    """A number that a seed and names fix, from 0 to 2^64 - 1."""
    said = json.dumps([seed, *names]).encode()
    return int.from_bytes(hashlib.blake2b(said, digest_size=8).digest(), "little")


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row that went no further, and by which step."""

    row: Row
    step: str
    why: Drop


def through(steps: Sequence[Each], row: Row, seed: int) -> Iterator[Row | Dropped]:
    """What one row becomes, by one step after another."""
    if not steps:
        yield row
        return
    made = steps[0].do(row, seed_of(seed, steps[0].name, row.name))
    if isinstance(made, Drop):
        yield Dropped(row, steps[0].name, made)
        return
    for each in (made,) if isinstance(made, Row) else _children(row, made):
        yield from through(steps[1:], each, seed)


def _children(row: Row, made: Sequence[Row]) -> list[Row]:
    assert made, "a step that makes nothing of a row says why"
    return [Row(row.file, row.line, one.data, f"{row.child}/{i}") for i, one in enumerate(made)]
