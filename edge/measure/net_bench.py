"""How fast a network that is no decoder runs here: seconds of a call, median and spread, and memory."""

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from time import perf_counter

from edge.artifact.manifest import Artifact
from edge.measure.bench import machine, peak_rss_mb
from edge.nn.tracing import least, traced
from edge.prove.networks import seeded
from edge.run.opening import open_net
from edge.system import processors


@dataclass(frozen=True, kw_only=True, slots=True)
class NetTiming:
    """Medians of the rounds, and the rounds. `work_gflop`: products of one call, at two operations each."""

    artifact: str
    threads: int
    rounds: int
    seconds: float
    seconds_all: tuple[float, ...]
    calls_per_second: float
    work_gflop: float
    gflops: float  # a second
    load_seconds: float
    peak_rss_mb: float
    artifact_mb: float
    machine: str

    def json(self) -> dict[str, object]:
        return asdict(self)


def bench(
    artifact: Artifact,
    *,
    threads: int | None = None,
    rounds: int = 3,
    reference: bool = False,
    clock: Callable[[], float] = perf_counter,
) -> NetTiming:
    """Time calls of the smallest size, on seeded numbers, after one to warm up."""
    spec = artifact.manifest.network
    start = clock()
    net = open_net(artifact, threads=threads, reference=reference)
    loaded = clock() - start
    sizes = least(spec)
    inputs = seeded(spec, sizes, 0)
    net(**inputs)
    taken = []
    for _ in range(rounds):
        start = clock()
        net(**inputs)
        taken.append(clock() - start)
    median, work = statistics.median(taken), 2 * traced(spec, **sizes)[0].work / 1e9
    return NetTiming(
        artifact=artifact.folder.name,
        threads=processors.threads(threads),
        rounds=rounds,
        seconds=median,
        seconds_all=tuple(taken),
        calls_per_second=1 / median,
        work_gflop=work,
        gflops=work / median,
        load_seconds=loaded,
        peak_rss_mb=peak_rss_mb(),
        artifact_mb=artifact.nbytes / 1e6,
        machine=machine(),
    )
