"""Benchmarks as everybody runs them: tasks of lm-evaluation-harness, by name, on a model of edge's.

What a task is, its code included, comes with that package; its data come from a folder of the user's
(`edge.measure.task_data`). Nothing is fetched: what lacks is refused by name before the model is opened.
"""

import io
import logging
import math
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from importlib.metadata import version
from typing import Any

import datasets
import evaluate
import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate as run
from lm_eval.tasks import TaskManager

from edge.decode.sampling import Sampling
from edge.errors import EdgeError, Unsupported
from edge.measure.answering import Answering, How, Likelihood
from edge.measure.asked import SEED, Asked
from edge.measure.task_data import TaskData, Wanted
from edge.system.alone import alone
from edge.system.progress import Progress, silent
from edge.text.chat import Message, Template

_BOOTSTRAPS = 1000  # samples of a standard error that has no formula: within some 2 % of it
_ALONE = "DISABLE_MULTIPROC"  # else it forks for standard errors, whatever threads a runtime has
_TOKENS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")  # all mean one
_CHOICE = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")


@dataclass(frozen=True, slots=True)
class Loaded:
    """Tasks by name, and groups whose figures are made of theirs."""

    tasks: dict[str, Any] = field(default_factory=dict)
    groups: dict[str, Any] = field(default_factory=dict)


class HarnessModel(LM):  # type: ignore[misc]  # the package has no types
    """A model of edge's as the harness asks one."""

    def __init__(
        self,
        answering: Answering,
        template: Template | None = None,
        *,
        seed: int = SEED,
        progress: Progress = silent,
    ) -> None:
        super().__init__()
        self.answering, self.template = answering, template
        self.busy = False  # for good, if a request failed
        self._seed, self._progress = seed, progress

    @property
    def tokenizer_name(self) -> str:
        """For caches of requests, which edge has none of."""
        return "edge"

    def loglikelihood(self, requests: Sequence[Instance]) -> list[Likelihood]:
        with self._at_work("options", requests) as advance:
            pairs = [(str(context), str(answer)) for context, answer in _given(requests)]
            return list(self.answering.likelihoods(pairs, advance))

    def loglikelihood_rolling(self, requests: Sequence[Instance]) -> list[float]:
        with self._at_work("texts", requests) as advance:
            return self.answering.rolling([text for (text,) in _given(requests)], advance)

    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        out = []
        with self._at_work("answers", requests) as advance:
            for number, (context, wish) in enumerate(_given(requests)):
                out.append(self.answering.continued(context, how(wish, self._seed + number)))
                advance(1)
        return out

    def apply_chat_template(
        self, chat_history: Sequence[Mapping[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Turns as one text; without a prompt for the next one, the last goes on."""
        if self.template is None:
            raise EdgeError("the model has no chat template", fix="leave out --chat")
        turns = [Message(turn["role"], turn["content"]) for turn in chat_history]
        text = self.template.render(turns, generate=add_generation_prompt)
        if add_generation_prompt:
            return text
        last = turns[-1].content.strip()
        return text[: text.rindex(last) + len(last)]

    @contextmanager
    def _at_work(self, what: str, requests: Sequence[Instance]) -> Iterator[Callable[[int], None]]:
        self.busy = True
        with self._progress(what, len(requests)) as advance:
            yield advance
        self.busy = False


def how(wish: Mapping[str, Any], seed: int) -> How:
    """What a task says of an answer; what edge would not honour is refused."""
    given = {key: value for key, value in wish.items() if value is not None}
    until = given.pop("until", [])
    tokens = [int(given.pop(key)) for key in _TOKENS if key in given]
    chosen = {key: given.pop(key) for key in _CHOICE if key in given}
    drawn = given.pop("do_sample", float(chosen.get("temperature", 0)) > 0)
    if given.pop("num_beams", 1) != 1 or given:
        names = ", ".join(sorted(given)) or "num_beams"
        raise Unsupported(f"a task asks for answers with {names}", fix="leave the task out")
    if drawn:
        sampling = Sampling(**{"temperature": 1.0, **chosen}, seed=seed)
    else:
        sampling = Sampling(repetition_penalty=float(chosen.get("repetition_penalty", 1)))
    stops = (until,) if isinstance(until, str) else tuple(until)
    return How(until=stops, max_tokens=tokens[0] if tokens else 256, sampling=sampling)


def measure(asked: Asked, opened: Callable[[], HarnessModel]) -> dict[str, Any]:
    """Every task's metrics, of the model that `opened` gives once the tasks were found to be whole."""
    index, data = known(), TaskData(asked.data)
    for name in asked.tasks:
        if name not in index.task_index:
            raise _unknown(name, index)
    with _quiet(), _settled(), alone("a task"), _data_of(data, asked.shots) as lacking:
        loaded = _loaded(asked, index, lacking)
        for task in loaded.tasks.values():
            _prepare(task, asked)
        model = opened()
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


def _loaded(asked: Asked, index: TaskManager, lacking: list[str]) -> Loaded:
    """The tasks with their data."""
    out = Loaded()
    for name in dict.fromkeys(asked.tasks):
        try:
            made = index.load([name])
            _refuse_fetched(name, lacking)
        except EdgeError:
            _refuse_fetched(name, lacking)
            raise
        except ModuleNotFoundError as error:
            raise Unsupported(
                f"{name} needs the package {error.name}", fix=f"pip install {error.name}"
            ) from error
        except Exception as error:  # of whatever a task's code does
            raise _broken(name, error) from error
        out.tasks.update(made["tasks"])
        out.groups.update(made.get("groups", {}))
    return out


def _refuse_fetched(name: str, lacking: Sequence[str]) -> None:
    if lacking:
        judges = ", ".join(dict.fromkeys(lacking))
        raise Unsupported(
            f"{name} is judged by {judges}, whose code the library evaluate would fetch",
            fix="leave the task out",
        )


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
    task.set_config(key="num_fewshot", value=(own or 0) if asked.shots is None else asked.shots)
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
    except EdgeError:
        raise
    except Exception as error:
        if model.busy:  # it is no task that failed
            raise
        raise _broken(", ".join(asked.tasks), error) from error


def _broken(name: str, error: Exception) -> EdgeError:
    said = str(error).splitlines()[0] if str(error) else ""
    return EdgeError(
        f"{name} cannot be asked: {type(error).__name__}: {said}"[:400],
        fix="give the data the columns of the data set whose name they have, and as many examples as are asked for; "
        "or leave the task out",
    )


@contextmanager
def _data_of(data: TaskData, shots: int | None) -> Iterator[list[str]]:
    """Data come from the user's folder, whoever asks for them; gives what would have had to be fetched besides."""
    lacking: list[str] = []

    def download(task: Any, dataset_kwargs: Mapping[str, Any] | None = None, **_: Any) -> None:
        if task.config.custom_dataset is not None:
            given = {**(task.config.metadata or {}), **(task.config.dataset_kwargs or {})}
            task.dataset = task.config.custom_dataset(**given)
            return
        task.dataset = data.splits(
            task.task_name,
            task.DATASET_PATH,
            task.DATASET_NAME,
            dataset_kwargs or {},
            wanted(task, shots),
        )

    def fetched(path: str, *_: Any, **__: Any) -> None:
        lacking.append(path)
        raise Unsupported(f"{path} would be fetched", fix="leave the task out")

    with ExitStack() as stack:
        for owner, name, value in (
            (ConfigurableTask, "download", download),
            (datasets, "load_dataset", data.load),
            (evaluate, "load", fetched),
        ):
            stack.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, value)
        yield lacking


def wanted(task: Any, shots: int | None) -> Wanted:
    """Which splits a task names; those of its questions, and of its examples if there are any, must be there."""
    config, examples = task.config, task.fewshot_cfg
    named = (config.test_split, config.validation_split, config.training_split, examples.split)
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


def _given(requests: Sequence[Instance]) -> list[tuple[Any, ...]]:
    return [request.args for request in requests]


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
