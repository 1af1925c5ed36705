"""What is done anywhere: files are surveyed, or parts go through the steps of a phase. In and out go JSON, and
whoever does it twice writes the same bytes.
"""

import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from edge.data import engines
from edge.data.frame import sources
from edge.data.frame.places import KINDS, Counts, Place, line, packed, unpacked, written
from edge.data.frame.sources import Source
from edge.data.frame.step import (
    Drop,
    Dropped,
    Means,
    Part,
    Phase,
    Reading,
    Row,
    phases,
    seed_of,
    through,
)
from edge.errors import Damaged, EdgeError, Unsupported


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """All that decides which rows come out, besides the sources."""

    engine: str
    seed: int
    longest: int  # bytes of a record
    settings: Mapping[str, Any]
    means: Means

    def reading(self) -> Reading:
        return engines.find(self.engine).reading or sources.TEXTUAL

    def phases(self) -> list[Phase]:
        engine = engines.find(self.engine)
        return phases(engine.steps(engine.settings(**self.settings), self.means))


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """Parts that are worked on together, in a phase."""

    job: Job
    folder: str
    phase: int
    number: int
    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(part.size for part in self.parts)


def surveying(files: Sequence[Source], size: int, lined: Sequence[str]) -> str:
    """Ask for what some files hold, in parts of so many bytes where they are of such kinds."""
    named = [[source.name, str(source.path.absolute())] for source in files]
    return json.dumps({"files": named, "size": size, "lined": lined})


def stepping(task: Task) -> str:
    return json.dumps(asdict(task))


def answer(request: str) -> str:
    """Do what is asked -> what came of it, a refusal among it."""
    asked = json.loads(request)
    try:
        if "job" not in asked:
            files = [Source(name, Path(path)) for name, path in asked["files"]]
            found = [sources.survey(file, asked["size"], asked["lined"]) for file in files]
            return json.dumps({"surveys": [asdict(survey) for survey in found]})
        return json.dumps(asdict(_step(_task(asked))))
    except EdgeError as error:
        return json.dumps({"refused": [error.problem, error.fix, error.code]})


def opened(answered: str) -> dict[str, Any]:
    """What came of it; a refusal is raised here."""
    found: dict[str, Any] = json.loads(answered)
    if "refused" in found:
        problem, fix, code = found["refused"]
        kind = next((kind for kind in (Unsupported, Damaged) if kind.code == code), EdgeError)
        raise kind(problem, fix=fix)
    return found


def _task(asked: dict[str, Any]) -> Task:
    job = Job(**asked["job"] | {"means": Means(**asked["job"]["means"])})
    return Task(**asked | {"job": job, "parts": tuple(Part(**part) for part in asked["parts"])})


def _step(task: Task) -> Counts:
    """Take parts through a phase."""
    place = Place(Path(task.folder), task.phase, task.number)
    phase = _phases(json.dumps(asdict(task.job), sort_keys=True))[task.phase]
    counts = Counts()
    with ExitStack() as stack:
        rows, keys, dropped = (
            stack.enter_context(written(place.file(kind), lasting=False)) for kind in KINDS
        )
        begin = 0
        for made in _outcomes(task, phase, counts):
            if isinstance(made, Dropped):
                dropped.write(_told(made, counts))
                continue
            content = packed(made)
            rows.write(content)
            keys.write(begin.to_bytes(8, "little") + _key(phase, made, task.job.seed))
            begin += len(content)
            counts.kept += 1
    counts.made = counts.kept + counts.rejected - counts.read
    place.finish(counts)
    return counts


@lru_cache(maxsize=4)
def _phases(job: str) -> list[Phase]:
    """Steps may hold a tokenizer or a model: they are made once in a process."""
    said = json.loads(job)
    return Job(**said | {"means": Means(**said["means"])}).phases()


def _outcomes(task: Task, phase: Phase, counts: Counts) -> Iterator[Row | Dropped]:
    for row in _verdict(task, phase) if phase.verdict else _read(task):
        counts.read += 1
        if isinstance(row, Dropped):
            yield row
        else:
            yield from through(phase.steps, row, task.job.seed)


def _read(task: Task) -> Iterator[Row | Dropped]:
    records = task.job.reading().records
    for part in task.parts:
        for found in records(part, task.job.longest):
            yield found if isinstance(found, Row) else Dropped(found[0], "read", found[1])


def _verdict(task: Task, phase: Phase) -> Iterator[Row | Dropped]:
    """The rows of the phase before, with what was decided on them."""
    assert phase.verdict is not None
    folder, before = Path(task.folder), task.phase - 1
    starts = json.loads(starts_file(folder, before).read_text())
    copies = _Copies(folder, before, starts, phase.verdict.width)
    decided, first = verdict_file(folder, before), starts[task.number]
    verdicts = np.empty((0, 2), np.int64)
    if decided.stat().st_size:  # nothing cannot be mapped
        verdicts = np.memmap(decided, "<i8", "r").reshape(-1, 2)
    for number, row in enumerate(Place(folder, before, task.number).rows(), start=first):
        of, why = verdicts[number]
        if of < 0:
            yield row
        else:
            why = Drop(phase.verdict.reasons[int(why)], copies.name(int(of)))
            yield Dropped(row, phase.verdict.name, why)


def starts_file(folder: Path, phase: int) -> Path:
    """The number of the first row of each part."""
    return folder / f"{phase}.starts"


def verdict_file(folder: Path, phase: int) -> Path:
    return folder / f"{phase}.verdict"


@dataclass(slots=True)
class _Copies:
    """Names of rows by their numbers, wherever they lie."""

    folder: Path
    phase: int
    starts: list[int]
    width: int
    _known: dict[int, str] = field(default_factory=dict)

    def name(self, number: int) -> str:
        if number not in self._known:
            part = bisect_right(self.starts, number) - 1
            place = Place(self.folder, self.phase, part)
            begin = int(place.keys(self.width)[number - self.starts[part]]["begin"])
            self._known[number] = unpacked(place.line(begin)).name
        return self._known[number]


def _key(phase: Phase, row: Row, seed: int) -> bytes:
    if phase.keys is None:
        return b""
    key = phase.keys.key(row, seed_of(seed, phase.keys.name))
    assert len(key) == phase.keys.width
    return key


def _told(made: Dropped, counts: Counts) -> bytes:
    """A line that names what was dropped."""
    counts.drop(made.step, made.why.reason)
    said = {
        "file": made.row.file,
        "line": made.row.line,
        "step": made.step,
        "reason": made.why.reason,
    }
    more = {"child": made.row.child, "detail": made.why.detail}
    return line(said | {key: value for key, value in more.items() if value})
