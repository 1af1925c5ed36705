"""Benchmarks as everybody runs them: tasks of lm-evaluation-harness, by name, on a model of edge's.

What a task is, its code included, comes with that package; its data come from a folder of the user's
(`edge.measure.task_data`). Nothing is fetched: what lacks is refused by name before the model is opened.
"""

import io
import logging
import math
import os
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from importlib.metadata import version
from typing import Any

import datasets
import evaluate
import numpy as np
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate as run
from lm_eval.tasks import TaskManager

from edge.errors import EdgeError, Unsupported
from edge.measure.answering import How
from edge.measure.asked import SEED, Asked
from edge.measure.harness_model import HarnessModel, Mute, how
from edge.measure.task_data import TaskData, Wanted
from edge.system.alone import alone

_BOOTSTRAPS = 1000  # samples of a standard error that has no formula: within some 2 % of it
_ALONE = "DISABLE_MULTIPROC"  # else it forks for standard errors, whatever threads a runtime has


@dataclass(kw_only=True, slots=True)
class Watch:
    """`task`: the one that is made ready, by the name that was asked for; what it would have had fetched: `judges`,
    metrics whose code the library evaluate downloads, and `asked`, other machines.
    """

    task: str = ""
    judges: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def refuse(self) -> None:
        if self.judges:
            judges = ", ".join(dict.fromkeys(self.judges))
            raise Unsupported(
                f"{self.task} is judged by {judges}, whose code the library evaluate would fetch",
                fix="leave the task out",
            )
        if self.asked:
            raise Unsupported(
                f"{self.task} asks {', '.join(dict.fromkeys(self.asked))} for something, and edge asks nobody",
                fix="get what it needs beforehand, or leave the task out",
            )


@dataclass(frozen=True, slots=True)
class Loaded:
    """Tasks by name, and groups whose figures are made of theirs."""

    tasks: dict[str, Any] = field(default_factory=dict)
    groups: dict[str, Any] = field(default_factory=dict)


def measure(asked: Asked, opened: Callable[[], HarnessModel]) -> dict[str, Any]:
    """Every task's metrics, of the model that `opened` gives once the tasks were found to be whole."""
    index, data = known(), TaskData(asked.data)
    for name in asked.tasks:
        if name not in index.task_index:
            raise _unknown(name, index)
    with _quiet(), _settled(), alone("a task") as others:
        watch = Watch(asked=others)
        with _data_of(data, asked.shots, watch):
            loaded = _loaded(asked, index, watch)
            for watch.task, task in loaded.tasks.items():
                _prepare(task, asked)
                _rehearse(task, asked, watch)
            model = opened()
            for task in loaded.tasks.values():
                _check_answers(task, model.answering.room)
            found = _run(model, loaded, asked)
    return {
        "harness": f"lm_eval {version('lm_eval')}",
        "tasks": {name: _task(found, name) for name in loaded.tasks},
        "groups": {
            name: {"tasks": list(found["group_subtasks"][name]), **_metrics(row)}
            for name, row in found.get("groups", {}).items()
        },
        "limit": asked.limit,
        "chat": asked.chat,
        "seed": asked.seed,
        "counts": model.answering.counts.json(),
        "data": dict(sorted(data.used.items())),
    }


@cache
def known() -> TaskManager:
    """The tasks that come with the package: 14,000 files are read, which takes seconds."""
    with _quiet():
        return TaskManager()


def _unknown(name: str, index: TaskManager) -> EdgeError:
    close = get_close_matches(name, index.all_tasks, n=3)
    like = f", but {', '.join(close)}" if close else ""
    return EdgeError(
        f"lm-evaluation-harness has no task {name!r}{like}",
        fix="name a task, a group or a tag that comes with it: `lm-eval ls tasks`",
    )


def _loaded(asked: Asked, index: TaskManager, watch: Watch) -> Loaded:
    """The tasks with their data."""
    out = Loaded()
    for watch.task in dict.fromkeys(asked.tasks):
        try:
            made = index.load([watch.task])
            watch.refuse()
        except Exception as error:  # of whatever a task's code does
            watch.refuse()
            raise _broken(watch.task, error) from error
        out.tasks.update(made["tasks"])
        out.groups.update(made.get("groups", {}))
    return out


def _prepare(task: Any, asked: Asked) -> None:
    """Set a task's examples; refuse what it would do that edge does not."""
    name = task.task_name
    if getattr(task, "UNSAFE_CODE", False):
        raise Unsupported(f"{name} runs code that the model writes", fix="leave the task out")
    if getattr(task, "MULTIMODAL", False):
        raise Unsupported(f"{name} shows pictures or sound", fix="leave the task out")
    own = task.get_config("num_fewshot")
    if asked.shots is not None and own == 0 and asked.shots > 0:
        raise EdgeError(
            f"{name} is a task without examples", fix="leave out --fewshot, or the task"
        )
    _check_answers(task, lambda _: None)
    task.set_config(key="num_fewshot", value=(own or 0) if asked.shots is None else asked.shots)
    task.set_fewshot_seed(seed=asked.seed)


def _check_answers(task: Any, check: Callable[[How], object]) -> None:
    """Refuse a task whose answers cannot be made, before any other's are."""
    if task.OUTPUT_TYPE == "generate_until":
        try:
            check(how(task.get_config("generation_kwargs") or {}, SEED))
        except EdgeError as error:
            error.say(f"{task.task_name}: {error.problem}", fix=error.fix)
            raise


def _rehearse(task: Any, asked: Asked, watch: Watch) -> None:
    """A task that has code of its own to judge by may find only there that it lacks something: it judges one answer,
    which is none.
    """
    metrics = task.get_config("metric_list") or []
    parts = [metric.get(part) for metric in metrics for part in ("metric", "aggregation")]
    if type(task) is ConfigurableTask and not any(
        map(callable, (*parts, task.get_config("process_results")))
    ):
        return
    drawn = random.getstate(), np.random.get_state()
    with suppress(Exception):  # it is no answer: what else is wrong, a true one says
        run(lm=Mute(), task_dict={"tasks": {watch.task: task}}, limit=1, bootstrap_iters=0)
    watch.refuse()
    random.setstate(drawn[0])
    np.random.set_state(drawn[1])
    task.set_fewshot_seed(seed=asked.seed)


def _run(model: HarnessModel, loaded: Loaded, asked: Asked) -> Any:
    try:
        return run(
            lm=model,
            task_dict={"tasks": loaded.tasks, "groups": loaded.groups},
            limit=asked.limit,
            bootstrap_iters=_BOOTSTRAPS,
            log_samples=False,
            apply_chat_template=asked.chat,
            fewshot_as_multiturn=asked.chat,
        )
    except Exception as error:
        if model.busy:  # it is no task that failed
            raise
        raise _broken(", ".join(asked.tasks), error) from error


def _broken(name: str, error: Exception) -> EdgeError:
    """What a task's code failed of, in words; an error of edge's own says it already."""
    if isinstance(error, EdgeError):
        return error
    said = str(error).splitlines()[0] if str(error) else ""
    if isinstance(error, ModuleNotFoundError) and error.name and "." not in error.name:
        return Unsupported(
            f"{name} needs the package {error.name}", fix=f"pip install {error.name}"
        )
    problem = f"{name} cannot be asked: {type(error).__name__}: {said}"[:400]
    if isinstance(error, ImportError):
        return Unsupported(problem, fix="install what it wants, or leave the task out")
    return EdgeError(
        problem,
        fix="give the data the columns of the data set whose name they have, and as many examples as are asked for; "
        "or leave the task out",
    )


@contextmanager
def _data_of(data: TaskData, shots: int | None, watch: Watch) -> Iterator[None]:
    """Data come from the user's folder, whoever asks for them, and nobody gets a metric's code."""

    def download(task: Any, dataset_kwargs: Mapping[str, Any] | None = None, **_: Any) -> None:
        if task.config.custom_dataset is not None:
            given = {**(task.config.metadata or {}), **(task.config.dataset_kwargs or {})}
            task.dataset = task.config.custom_dataset(**given)
            return
        task.dataset = data.splits(
            task.task_name or watch.task,
            task.DATASET_PATH,
            task.DATASET_NAME,
            dataset_kwargs or {},
            wanted(task, shots),
        )

    def fetched(path: str, *_: Any, **__: Any) -> None:
        watch.judges.append(path)
        raise Unsupported(f"{path} would be fetched", fix="leave the task out")

    with ExitStack() as stack:
        for owner, name, value in (
            (ConfigurableTask, "download", download),
            (datasets, "load_dataset", data.load),
            (evaluate, "load", fetched),
        ):
            stack.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, value)
        yield


def wanted(task: Any, shots: int | None) -> Wanted:
    """Which splits a task names; those of its questions, and of its examples if there are any, must be there."""
    config, examples = task.config, task.fewshot_cfg
    named = [config.test_split, config.validation_split, config.training_split, examples.split]
    if not any(named):  # of a task that is a class
        return Wanted(all=("test", "validation", "train"), must=())
    number = (config.num_fewshot or 0) if shots is None else shots
    must = [config.test_split or config.validation_split]
    if number > 0 and (examples.split or not examples.samples):
        must.append(examples.split or config.training_split or config.validation_split or must[0])
    return Wanted(
        all=tuple(dict.fromkeys(split for split in named if split)),
        must=tuple(dict.fromkeys(split for split in must if split)),
    )


@contextmanager
def _settled() -> Iterator[None]:
    """Randomness that tasks take from the process is what the harness sets, and this process stays one; afterwards
    all is as it was.
    """
    ours, numpys, processes = random.getstate(), np.random.get_state(), os.environ.get(_ALONE)
    random.seed(0)
    np.random.seed(SEED)
    os.environ[_ALONE] = "1"
    try:
        yield
    finally:
        if processes is None:
            del os.environ[_ALONE]
        else:
            os.environ[_ALONE] = processes
        random.setstate(ours)
        np.random.set_state(numpys)


@contextmanager
def _quiet() -> Iterator[None]:
    """stdout is for the result; what libraries say below an error is left unsaid."""
    loggers = [logging.getLogger(name) for name in ("lm_eval", "datasets", "evaluate")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _task(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {
        "version": found["versions"][name],
        "shots": found["n-shot"][name],
        "questions": found["n-samples"][name]["effective"],
        "of": found["n-samples"][name]["original"],
        **_metrics(found["results"][name]),
    }


def _metrics(row: Mapping[str, Any]) -> dict[str, Any]:
    """`acc`, and its standard error `acc_se`; of a task with several ways to read an answer `exact_match,strict-match`.
    None where a figure is none: an error of one question, or one that overflowed.
    """
    out: dict[str, float | None] = {}
    for key, value in row.items():
        metric, comma, way = key.partition(",")
        if not comma:
            continue
        name = metric.replace("_stderr", "_se")
        real = isinstance(value, int | float | np.number) and math.isfinite(value)
        out[name if way == "none" else f"{name},{way}"] = float(value) if real else None
    return {"metrics": out}
