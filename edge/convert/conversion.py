"""A checkpoint -> artifacts: the targets' files, the tokenizer's, and a manifest that ties them to
their source.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, Protocol, Self, TypeVar, get_args

import numpy as np

from edge import targets
from edge.artifact import vectors
from edge.artifact.manifest import Artifact, files_of, write_manifest
from edge.artifact.publishing import check_place, partial_of, publishing
from edge.contracts import About, Calibrator, Converter, Layout
from edge.convert.calibrated import Alike, Reading, balance_of, begun, by_inputs, drop
from edge.convert.calibration import Calibration, calibration_of, measure
from edge.convert.decoders import DecoderSubject
from edge.convert.footprint import Copied
from edge.convert.mixtures import tools
from edge.convert.networks import NetSubject
from edge.convert.one_pass import Job, Journal, one_pass
from edge.convert.options import Options, recipe_for
from edge.convert.telling import hashed, inputs, told, versions
from edge.errors import EdgeError
from edge.families import family_of
from edge.files.datafile import Mode
from edge.files.hashing import sha256
from edge.names import Spec
from edge.quant.recipe import Recipe
from edge.source.checkpoint import Checkpoint
from edge.source.headers import config_of
from edge.system import processors
from edge.system.memory import give_back
from edge.system.progress import Progress, silent
from edge.system.team import Team
from edge.system.units import size
from edge.text.ids import SpecialIds
from edge.text.vocabulary import vocabulary_of
from edge.typing import Say


def unsaid(_note: str) -> None: ...


class Subject(Copied, Protocol):
    """What is converted, opened as `Options` ask for it; an option that this kind of model has no use for
    is refused. `notes`: what a user should know; broken files are found by `copy`, before any work.
    """

    @property
    def notes(self) -> tuple[str, ...]: ...

    def asked(self, outs: Iterable[str]) -> Self:
        """The same for these targets."""
        ...

    def recipe(self, recipe: Recipe, target: str, progress: Progress) -> Recipe:
        """A recipe with what this kind of model makes of it."""
        ...

    def layout(self, target: str, recipe: Recipe) -> Layout[Spec]: ...


AnySubject = TypeVar("AnySubject", bound=Subject)


def open_subject(source: Path, options: Options) -> Subject:
    """By what the config says that the model is."""
    network = family_of(config_of(source, stage=options.stage)).network is not None
    return NetSubject.open(source, options) if network else DecoderSubject.open(source, options)


Pass = Literal["balance", "round"]  # what a text is read for, one after the other


@dataclass(frozen=True, slots=True)
class Task:
    """One artifact to be made."""

    out: Path
    target: str
    converter: Converter
    recipe: Recipe
    layout: Layout[Spec]
    key: str  # of everything that its bytes depend on
    calibration: Calibration | None = None  # the text among it

    def begun(self, folder: Path) -> bool:
        """Whether a conversion that was killed left something to go on with."""
        kept = bool(Journal.open(folder, self.key).done)
        return kept or any(begun(folder, self.reading(to)) for to in get_args(Pass))

    def reading(self, to: Pass) -> str:
        """The key of what a text is read for."""
        return f"{self.key} {to}"

    def json(self) -> dict[str, object]:
        """What would be done."""
        return {
            "path": str(self.out),
            "target": self.target,
            "recipe": str(self.recipe),
            "bytes": self.layout.nbytes,
            "resumes": self.begun(partial_of(self.out)),
        }


@dataclass(frozen=True, slots=True)
class Work:
    """A task, the folder that will become its artifact, and the ids of the tokenizer in it."""

    task: Task
    folder: Path
    ids: SpecialIds


def convert(
    source: Path, out: Path, options: Options, progress: Progress | None = None, say: Say = unsaid
) -> Artifact:
    """Convert a checkpoint folder; `out` appears when all of it is there."""
    return convert_all(source, {options.target: out}, options, progress, say)[0]


def convert_all(
    source: Path,
    outs: Mapping[str, Path],
    options: Options,
    progress: Progress | None = None,
    say: Say = unsaid,
) -> list[Artifact]:
    """Convert to several targets in one pass over the checkpoint: target -> folder of its artifact. Of processes that
    torchrun started, the first writes them, and the others do their share of reading a text; they return nothing.
    """
    with closing(targets.team()) as team, ExitStack() as stack:
        progress, say = (progress or silent, say) if team.first else (silent, unsaid)
        subject = open_subject(source, options)
        stack.enter_context(subject.checkpoint)
        subject, tasks = prepare(subject, outs, options, progress)
        checkpoint = subject.checkpoint
        for note in subject.notes:
            say(note)
        folders = [
            stack.enter_context(_place(task, force=options.force, first=team.first))
            for task in tasks
        ]
        works = [
            Work(task, folder, subject.copy(folder))
            for task, folder in zip(tasks, folders, strict=True)
        ]
        give_back()  # what reading the tokenizer took
        text = _Text.of(checkpoint, works, team)
        _weigh(checkpoint, works, text, progress, team)
        for some in _alike(works):
            _write(checkpoint, some, text, progress, team)
        if not team.first:
            return []
        hashes = _hashes(inputs(subject), progress)
        for work in works:
            outputs = files_of(work.folder)
            found = _hashes(outputs, progress)
            own = work.task.calibration
            manifest = told(
                subject,
                work.task.recipe,
                target=work.task.target,
                spec=work.task.layout.spec,
                ids=work.ids,
                stage=options.stage,
            )
            manifest = replace(
                hashed(manifest, subject, hashes),
                calibration=None if own is None else own.json(text.windows),
                files={path.relative_to(work.folder).as_posix(): found[path] for path in outputs},
            )
            write_manifest(work.folder, manifest)
    return [Artifact.open(task.out) for task in tasks]


def _place(task: Task, *, force: bool, first: bool) -> AbstractContextManager[Path]:
    """The folder that becomes an artifact; one that is thrown away, where another process writes that."""
    if first:
        return publishing(task.out, force=force, keep=task.begun)
    return _thrown_away()


@contextmanager
def _thrown_away() -> Iterator[Path]:
    with TemporaryDirectory(prefix="edge-") as folder:
        yield Path(folder)


def prepare(
    subject: AnySubject, outs: Mapping[str, Path], options: Options, progress: Progress = silent
) -> tuple[AnySubject, list[Task]]:
    """What each target will write, of what; refuses before anything is begun."""
    subject, config = subject.asked(outs), subject.checkpoint.config
    tasks = []
    for target, out in outs.items():
        converter = targets.converter(target)
        recipe = subject.recipe(recipe_for(options, converter, config), target, progress)
        layout = subject.layout(target, recipe)
        text = calibration_of(options.calibrate, recipe, options.calibrate_on)
        key = _key(subject, target, recipe, converter, text)
        tasks.append(Task(out, target, converter, recipe, layout, key, text))
    _check_calibration(options, tasks, options.tokenizer or subject.checkpoint.folder)
    _room(tasks)
    return subject, tasks


def _check_calibration(options: Options, tasks: Sequence[Task], tokenizer: Path) -> None:
    """A text to calibrate with is not read for nothing, nor without a tokenizer."""
    if any(task.recipe.trained for task in tasks):
        targets.tuner()  # what trains may not be installed
    if any(task.calibration for task in tasks):
        if vocabulary_of(tokenizer) is None:
            text = "--calibrate" if options.calibrate else "the text that weights are rounded by"
            raise EdgeError(
                f"{tokenizer} has no tokenizer to read {text} with",
                fix="give --tokenizer the folder of one",
            )
    elif options.size is None and (named := _named(options)):
        raise EdgeError(
            f"{options.quant} asks no text how to round: {named} would change nothing",
            fix="leave it out, or give --quant gptq-int4, …; or --to gguf --quant q4_k_m, iq2_xs, …",
        )


def _named(options: Options) -> str | None:
    """An option that is of a text."""
    given = {"--calibrate": options.calibrate, "--calibrate-on": options.calibrate_on}
    return next((name for name, value in given.items() if value is not None), None)


@dataclass(frozen=True, slots=True)
class _Text:
    """Tokens in windows, and what reads them."""

    windows: Sequence[Sequence[int]]
    by: Calibrator

    @classmethod
    def of(cls, checkpoint: Checkpoint, works: Sequence[Work], team: Team) -> "_Text":
        """That of a task that has one: they share it. Refuses processes that would compute otherwise than the first."""
        for work in works:
            if (text := work.task.calibration) is not None:
                found = cls(text.windows(work.folder, checkpoint.decoder.context), text.by)
                first = str(team.told({"by": np.array([found.by.told])})["by"][0])
                if first != found.by.told:
                    raise EdgeError(
                        f"this process would round by {found.by.told}, and the first by {first}",
                        fix="give --calibrate-on what all of them have, in one version",
                    )
                return found
        return cls([], targets.calibrator("numpy"))


def _weigh(
    checkpoint: Checkpoint,
    works: Sequence[Work],
    text: _Text,
    progress: Progress,
    team: Team,
) -> None:
    """Put an importance matrix where a library wants one."""
    files = [
        work.folder / vectors.IMPORTANCE
        for work in works
        if work.task.calibration is not None and work.task.recipe.mixture is not None
    ]
    lacking = [file for file in files if not file.is_file()]
    if team.told({"wanted": np.array([bool(lacking)])})["wanted"][0]:
        table = measure(checkpoint, text.windows, progress, team, text.by)
        for file in lacking:
            vectors.write(file, table)


def _alike(works: Sequence[Work]) -> list[list[Work]]:
    """Those that are of the same weights: a recipe that balances them has its own."""
    found: dict[str, list[Work]] = {}
    for work in works:
        recipe = work.task.recipe
        found.setdefault(str(recipe) if recipe.balanced else "", []).append(work)
    return list(found.values())


def _balanced(checkpoint: Checkpoint, works: Sequence[Work], reading: Reading) -> Checkpoint:
    """The weights that a recipe rounds; what they are balanced by is kept in each artifact."""
    recipe = works[0].task.recipe
    if not recipe.balanced:
        return checkpoint
    files = [work.folder / vectors.BALANCE for work in works]
    known = next((file for file in files if file.is_file()), None)
    found = reading.team.told({} if known is None else vectors.read(known))
    table = dict(found) or balance_of(checkpoint, recipe, reading)
    for file in files:
        vectors.write(file, table)
    return checkpoint.balanced(table)


def _write(
    checkpoint: Checkpoint,
    works: Sequence[Work],
    text: _Text,
    progress: Progress,
    team: Team,
) -> None:
    tasks = [work.task for work in works]
    name, total = checkpoint.folder.resolve().name, sum(task.layout.nbytes for task in tasks)
    what = ", ".join(f"{task.target} {task.recipe.brief}" for task in tasks)

    def reading(work: Work, to: Pass) -> Reading:
        key = work.task.reading(to)
        return Reading(text.windows, work.folder, key, progress, text.by, team)

    checkpoint = _balanced(checkpoint, works, reading(works[0], "balance"))
    with ExitStack() as stack:
        jobs = []
        for work in works if team.first else ():
            journal = Journal.open(work.folder, work.task.key)
            about = About(checkpoint.family, name, work.ids)
            left = work.task.begun(work.folder)  # perhaps before any weight was put
            mode: Mode = "resume" if left else "write"
            layout = work.task.layout
            writer = stack.enter_context(closing(layout.open(work.folder, about, mode)))
            jobs.append(Job(writer, journal))
        for recipe in dict.fromkeys(str(task.recipe) for task in tasks if task.recipe.by_inputs):
            some = [i for i, task in enumerate(tasks) if str(task.recipe) == recipe]
            own = [jobs[i] for i in some] if team.first else []
            alike = Alike([tasks[i].recipe for i in some], own)
            by_inputs(checkpoint, alike, reading(works[some[0]], "round"))
        if not team.first:
            return
        with progress(what, total) as advance:
            one_pass(checkpoint, jobs, advance)
    for job, work in zip(jobs, works, strict=True):
        if job.journal is not None:
            job.journal.close()
        drop(work.folder)


def _key(
    subject: Subject,
    target: str,
    recipe: Recipe,
    converter: Converter,
    calibration: Calibration | None,
) -> str:
    """Changes with whatever the artifact's bytes depend on; reads no weights."""
    checkpoint = subject.checkpoint
    files = [checkpoint.folder / "config.json", *checkpoint.files, *checkpoint.adapter]
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    known = versions(tools(converter, recipe))
    text = None
    if calibration is not None:
        text = [calibration.sha256, calibration.tokens, calibration.on, calibration.by.told]
    vision = None if subject.vision is None else asdict(subject.vision)
    facts = [target, repr(recipe), asdict(checkpoint.spec), stats, known, text, vision]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _room(tasks: Sequence[Task]) -> None:
    """Refuse a disk that is too full before it is."""
    needed: dict[Path, int] = {}
    for task in tasks:
        parent = check_place(task.out).resolve()
        needed[parent] = needed.get(parent, 0) + task.layout.nbytes - _there(task)
    for parent, nbytes in needed.items():
        free = shutil.disk_usage(parent).free
        if free < nbytes + (64 << 20):
            raise EdgeError(
                f"the artifact takes {size(nbytes)}, and {size(free)} are free at {parent}",
                fix="make room, or give -o on another disk",
            )


def _there(task: Task) -> int:
    """Bytes on the disk of a conversion that will be gone on with; its files have holes."""
    partial = partial_of(task.out)
    files = partial.rglob("*") if task.begun(partial) else ()
    return sum(512 * file.stat().st_blocks for file in files)


def _hashes(paths: Sequence[Path], progress: Progress) -> Mapping[Path, str]:
    total = sum(path.stat().st_size for path in paths)
    with progress("sha256", total) as advance, ThreadPoolExecutor(processors.threads(None)) as pool:
        return dict(zip(paths, pool.map(partial(sha256, progress=advance), paths), strict=True))
