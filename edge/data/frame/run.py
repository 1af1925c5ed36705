"""A run: sources are surveyed, parts go through the phases, rows are written. Whatever was finished when it was
killed is there for the one that resumes it, and what it was asked must be what that one is asked.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from edge.artifact.publishing import alone, partial_of, publishing
from edge.data.frame import sink, sources
from edge.data.frame.crew import Crew
from edge.data.frame.places import Counts, Place, line, written
from edge.data.frame.step import Form, Part, Phase, Verdict, Whole
from edge.data.frame.work import Job, Task, opened, starts_file, stepping, surveying, verdict_file
from edge.errors import Damaged, EdgeError
from edge.files.config import parse_json
from edge.files.hashing import sha256
from edge.system.progress import Progress

T = TypeVar("T")
SCHEMA = 1
MANIFEST, REPORT, REJECTED = "manifest.json", "report.json", "rejected.jsonl"
_WORK, _JOB = "work", "job.json"
_ANEW = "remove its folder, and begin again"


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What a run is asked for. `told`: what decides its rows and is kept with them, beside the sources: versions,
    seed, settings, what the model and the tokenizer are.
    """

    job: Job
    form: Form
    told: Mapping[str, Any]
    part: int = sources.PART  # bytes of a source that are worked on together


def run(
    wanted: Wanted,
    given: Sequence[str],
    out: Path,
    hire: Callable[[], Crew],
    *,
    resume: bool,
    progress: Progress,
) -> dict[str, Any]:
    """Make the folder `out` of the sources -> its report."""
    reading = wanted.job.reading()
    found = sources.find(given, reading)
    _refuse(out, resume)
    begun = _begun(partial_of(out))
    if begun:
        _same(begun, wanted.told, out)  # before the sources are read, which takes long
    size = begun.get("part", wanted.part)
    with closing(hire()) as crew:
        some = together(found, [source.path.stat().st_size for source in found], size)
        asked = [surveying(files, size, reading.lined) for files, _ in some]
        with progress("reading the sources", sum(read for _, read in some)) as advance:
            surveys = []
            for (_, read), said in zip(some, crew.each(asked), strict=True):
                surveys += opened(said)["surveys"]
                advance(read)
        hashes = {source.name: one["sha256"] for source, one in zip(found, surveys, strict=True)}
        told = {**wanted.told, "sources": hashes}
        if out.exists():
            with alone(out):  # whose lock a killed run left
                return _finished(out, told)
        every = [Part(**one) for survey in surveys for one in survey["parts"]]
        parts = [these for these, _ in together(every, [part.size for part in every], size)]
        with publishing(out, force=False, keep=_worth, lasting=True) as folder:
            return _Run(wanted, told | {"part": size}, parts, folder, crew, progress).result()


def together(
    items: Sequence[T], sizes: Sequence[int], least: int
) -> list[tuple[tuple[T, ...], int]]:
    """Items in their order, as many at a time as come to so many bytes; and those bytes."""
    found: list[tuple[tuple[T, ...], int]] = []
    some: list[T] = []
    total = 0
    for item, size in zip(items, sizes, strict=True):
        some.append(item)
        total += size
        if total >= least:
            found.append((tuple(some), total))
            some, total = [], 0
    return [*found, (tuple(some), total)] if some else found


def _refuse(out: Path, resume: bool) -> None:
    """Before anything is read: what lies there is not lost, and nothing is begun twice by mistake."""
    if out.exists() and not (resume and (out / MANIFEST).is_file()):
        raise EdgeError(f"{out} exists already", fix="give another -o")
    if not resume and _worth(partial_of(out)):
        raise EdgeError(
            f"a run for {out} was stopped before its end",
            fix=f"give --resume to go on with it, or remove {partial_of(out)}",
        )


def _worth(partial: Path) -> bool:
    """Whether there is a run to go on with."""
    return (partial / _WORK / _JOB).is_file() or (partial / MANIFEST).is_file()


def _begun(partial: Path) -> dict[str, Any]:
    """What the run to go on with was asked, if there is one."""
    file = partial / _WORK / _JOB
    found = _read(file) if file.is_file() else {}
    if found and not (isinstance(found.get("part"), int) and found["part"] > 0):
        raise Damaged(f"{file} names no part", fix=_ANEW)
    return found


def _read(file: Path) -> dict[str, Any]:
    return parse_json(file.read_bytes(), str(file), fix=_ANEW)


def _finished(out: Path, told: Mapping[str, Any]) -> dict[str, Any]:
    """A run that was killed once all was there."""
    _same(_read(out / MANIFEST), told, out)
    return _read(out / REPORT)


def _same(before: Mapping[str, Any], told: Mapping[str, Any], where: Path) -> None:
    """Refuse to go on with what was begun otherwise: the rest would be of another mould."""
    for name, value in told.items():
        if before.get(name) != value:
            old, new = _difference(before.get(name), value)
            raise EdgeError(
                f"{where} was begun with other {name}: {old}, now {new}",
                fix="resume it as it was begun, or give another -o",
            )


def _difference(old: Any, new: Any) -> tuple[str, str]:
    """Of two tables what differs first."""
    if isinstance(old, dict) and isinstance(new, dict):
        name = next(name for name in (*old, *new) if old.get(name) != new.get(name))
        return f"{name}: {old.get(name)!s:.40}", f"{new.get(name)!s:.40}"
    return f"{old!s:.40}", f"{new!s:.40}"


class _Run:
    """A run in its folder."""

    def __init__(
        self,
        wanted: Wanted,
        told: Mapping[str, Any],
        parts: Sequence[tuple[Part, ...]],
        folder: Path,
        crew: Crew,
        progress: Progress,
    ) -> None:
        self._wanted, self._told, self._parts = wanted, told, parts
        self._folder, self._work, self._crew, self._progress = (
            folder,
            folder / _WORK,
            crew,
            progress,
        )
        self._phases = wanted.job.phases()

    def result(self) -> dict[str, Any]:
        if not (self._folder / MANIFEST).is_file():  # the last thing to be written
            self._begin()
            counts = [self._phase(number, phase) for number, phase in enumerate(self._phases)]
            self._write(counts)
        else:
            _same(_read(self._folder / MANIFEST), self._identity, self._folder)
        shutil.rmtree(self._work, ignore_errors=True)
        return _read(self._folder / REPORT)

    @property
    def _identity(self) -> Mapping[str, Any]:
        return {name: value for name, value in self._told.items() if name != "part"}

    def _begin(self) -> None:
        self._work.mkdir(exist_ok=True)
        job = self._work / _JOB
        if job.is_file():
            _same(_read(job), self._told, self._folder)
            return
        with written(job, lasting=False) as file:
            file.write(json.dumps(self._told).encode())

    def _phase(self, number: int, phase: Phase) -> list[Counts]:
        """Take every part through a phase -> the counts of each."""
        job, folder = self._wanted.job, str(self._work.absolute())
        tasks = [
            Task(job=job, folder=folder, phase=number, number=i, parts=parts)
            for i, parts in enumerate(self._parts)
            if Place(self._work, number, i).counts() is None
        ]
        with self._progress(
            f"step {number + 1} of {len(self._phases)}", sum(task.size for task in tasks)
        ) as advance:
            for task, said in zip(
                tasks, self._crew.each([stepping(task) for task in tasks]), strict=True
            ):
                opened(said)
                advance(task.size)
        counts = self._counts(number)
        if isinstance(phase.keys, Whole) and not verdict_file(self._work, number).exists():
            self._decide(number, phase.keys, counts)
        return counts

    def _counts(self, phase: int) -> list[Counts]:
        found = [Place(self._work, phase, i).counts() for i in range(len(self._parts))]
        if any(one is None for one in found):
            raise EdgeError(
                f"what other machines made is not in {self._work}",
                fix="give -o a folder that all of them see by this name",
            )
        return [one for one in found if one is not None]

    def _decide(self, number: int, step: Whole, counts: Sequence[Counts]) -> None:
        """The verdict on all rows of a phase."""
        total = sum(one.kept for one in counts)
        starts = [0, *accumulate(one.kept for one in counts)][:-1]
        keys = np.empty((total, step.width), np.uint8)
        for i, start in enumerate(starts):
            part = Place(self._work, number, i).keys(step.width)
            keys[start : start + len(part)] = part["key"]
        verdict: Verdict = step.decide(keys)
        with written(starts_file(self._work, number)) as file:
            file.write(json.dumps(starts).encode())
        with written(verdict_file(self._work, number)) as file:
            file.write(np.stack([verdict.of, verdict.why], axis=1).astype("<i8").tobytes())

    def _write(self, counts: Sequence[Sequence[Counts]]) -> None:
        """Rows, what was rejected, the report, and last the manifest."""
        last = len(self._phases) - 1
        places = tuple(Place(self._work, last, i) for i in range(len(self._parts)))
        kept = tuple(one.kept for one in counts[last])
        keys, form = self._phases[last].keys, self._wanted.form
        sizes = [one.sizes["rows"] for one in counts[last]]
        with self._progress("writing", sum(sizes)) as advance:
            ordered = sink.Ordered(places, kept, keys, advance)
            made = sink.write(ordered, form, self._folder, self._work)
        with written(self._folder / REJECTED, by=self._work) as file:
            for phase in range(len(self._phases)):
                for i in range(len(self._parts)):
                    with Place(self._work, phase, i).file("dropped").open("rb") as part:
                        shutil.copyfileobj(part, file)
        with written(self._folder / REPORT, by=self._work) as file:
            file.write(line(self._report(counts, made)))
        files = {
            s.name: {"rows": s.rows, "bytes": s.bytes, "sha256": s.sha256} for s in made.shards
        }
        for beside in (shard.beside for shard in made.shards if shard.beside):
            files[beside.name] = {"bytes": beside.bytes, "sha256": beside.sha256}
        rejected = self._folder / REJECTED
        files[REJECTED] = {"bytes": rejected.stat().st_size, "sha256": sha256(rejected)}
        with written(self._folder / MANIFEST, by=self._work) as file:
            content = {"schema": SCHEMA, **self._identity, "files": files}
            file.write(json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")

    def _report(self, counts: Sequence[Sequence[Counts]], made: sink.Written) -> dict[str, Any]:
        """Counts that add up: `read` and `made` are `rejected` and `kept`."""
        of_phases = []
        for some in counts:
            of_phases.append(Counts())
            for one in some:
                of_phases[-1].add(one)
        length = self._wanted.form.length
        rows = sum(shard.rows for shard in made.shards)
        tokens = {} if length is None else {"tokens": rows * length, "left_tokens": made.left}
        return {
            "read": of_phases[0].read,
            "made": sum(one.made for one in of_phases),
            "rejected": sum(one.rejected for one in of_phases),
            "kept": of_phases[-1].kept,
            "rows": rows,
            **tokens,
            "files": len(made.shards),
            "bytes": sum(shard.bytes + shard.beside_bytes for shard in made.shards),
            "reasons": {
                step: reasons for one in of_phases for step, reasons in one.dropped.items()
            },
        }
