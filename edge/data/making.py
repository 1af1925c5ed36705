"""A data engine on what the user named: what decides the rows is told apart from who computes them."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edge.artifact.publishing import check_place
from edge.data import engines
from edge.data.asking import identity, is_address
from edge.data.frame import run, settings, sources
from edge.data.frame.crew import Alone, Crew, Processes
from edge.data.frame.on_ray import Cluster
from edge.data.frame.step import Means
from edge.data.frame.work import Job
from edge.data.steps.tokens import digest
from edge.errors import EdgeError
from edge.system import processors
from edge.system.progress import Progress, silent
from edge.text.tokenizer import Tokenizer

LONGEST = 16 << 20  # bytes of a record
_ASKED = 64 << 10  # bytes of a part where a model is asked: what a killed run asks again


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What decides the rows: an engine, its sources and settings by their names, a seed, and what else it needs."""

    engine: str
    sources: tuple[str, ...]
    options: Mapping[str, str] = field(default_factory=dict)
    means: Means = field(default_factory=Means)
    seed: int = 0


def make(
    order: Order, out: Path, hire: Callable[[], Crew], *, resume: bool, progress: Progress = silent
) -> dict[str, Any]:
    """Make the folder `out` -> its report. `hire`: who does the work."""
    check_place(out)
    engine, means = engines.find(order.engine), order.means
    chosen = settings.read(engine.settings, order.options, engine.name)
    engine.check(frozenset(map(settings.named, order.options)), chosen, means)
    told = {
        "engine": engine.name,
        "version": engine.version,
        "seed": order.seed,
        "settings": asdict(chosen),
        "model": None if means.model is None else identity(means.model),
        "tokenizer": _digest(means.tokenizer),
    }
    settled = asdict(chosen)
    job = Job(engine=engine.name, seed=order.seed, longest=LONGEST, settings=settled, means=means)
    wanted = run.Wanted(
        job=job,
        form=engine.form(chosen, means),
        told=json.loads(json.dumps(told)),
        part=job.reading().part or (sources.PART if means.model is None else _ASKED),
    )
    report = run.run(wanted, order.sources, out, hire, resume=resume, progress=progress)
    return {"path": str(out), "engine": engine.name, **report}


def crew(processes: int | None, ray: str | None, means: Means) -> Crew:
    """Of a cluster, of so many processes, or of as many as run here at once: of one, where each would hold a model."""
    if ray is not None:
        if processes is not None:
            raise EdgeError("a cluster has its own processes", fix="leave out --processes or --ray")
        return Cluster(ray)
    if processes is None and means.model is not None and not is_address(means.model):
        return Alone()
    count = processors.threads(processes)
    return Alone() if count == 1 else Processes(count)


def _digest(tokenizer: str | None) -> str | None:
    return None if tokenizer is None else digest(Tokenizer.load(Path(tokenizer)))
