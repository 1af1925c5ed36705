"""How fast an artifact runs here: prompt and decoding apart, median and spread, and what holds it.

A decoded token reads every weight once: bytes a second beside what the machine reads says how much
is left to gain.
"""

import os
import platform
import resource
import statistics
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter

import numpy as np

from edge.artifact.manifest import Artifact, recipe_of
from edge.decode.generate import generate
from edge.decode.rounding import cache_of
from edge.decode.speculate import Speculation
from edge.errors import EdgeError
from edge.names import shapes
from edge.protocols import Decoder
from edge.quant.recipe import Recipe
from edge.run.strategy import PLAIN, Strategy, opened
from edge.spec import DecoderSpec, cache_bytes
from edge.system import processors

_WARM_UP = 16  # tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """Medians of the rounds, and the rounds. Speeds are tokens a second, bandwidths GB a second."""

    artifact: str
    prompt: int
    new: int
    threads: int
    rounds: int
    prefill_tps: float
    decode_tps: float
    prefill_all: tuple[float, ...]
    decode_all: tuple[float, ...]
    load_seconds: float
    peak_rss_mb: float
    artifact_mb: float
    cache_rows: int  # at the end, of the layer with the most
    cache_mb: float  # of the rows that were in use at the end
    bytes_per_token: int
    read_gbs: float  # weights and cache that decoding read
    machine_gbs: float  # what this machine reads with the same threads
    machine: str
    drafted: int | None  # tokens of all rounds; None without drafts
    accepted: int | None

    def json(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Text:
    """A text's ids [T], pieces of which are prompts, each led by `bos`: for what drafts are worth."""

    ids: Sequence[int]
    bos: int | None

    def prompts(self, size: int, count: int) -> list[list[int]]:
        """One piece after another, and from the beginning again where the text ends: [count, size]."""
        lead = [] if self.bos is None else [self.bos]
        step = size - len(lead)
        if step < 1 or len(self.ids) < step:
            raise EdgeError(
                f"a text of {len(self.ids)} tokens has no prompt of {size}",
                fix="give a smaller -p, or a longer text",
            )
        starts = range(0, len(self.ids) - step + 1, step)
        return [[*lead, *self.ids[at : at + step]] for at in islice(cycle(starts), count)]


def bench(
    artifact: Artifact,
    *,
    prompt: int,
    new: int,
    threads: int | None = None,
    rounds: int = 3,
    strategy: Strategy = PLAIN,
    text: Text | None = None,
    clock: Callable[[], float] = perf_counter,
) -> Timing:
    """Run `rounds` times a prompt of `prompt` tokens and `new` more after it, greedily; compacting a cache
    is part of the prompt. `text`: what the prompts are pieces of; else they are ids that are no text.
    """
    manifest = artifact.manifest
    spec = manifest.decoder
    if prompt + new > spec.context:
        raise EdgeError(
            f"{prompt} + {new} tokens do not fit the context of {spec.context}",
            fix="give smaller -p and -n",
        )
    said = text or Text([(1000 + 7919 * i) % spec.vocab for i in range(prompt)], bos=None)
    prompts = said.prompts(prompt, rounds)
    count = processors.threads(threads)
    start = clock()
    source = opened(artifact, strategy, threads=threads)
    decoder = source.decoder if isinstance(source, Speculation) else source
    loaded = clock() - start
    decoder.prefill(prompts[0][:_WARM_UP])
    results = [_round(source, ids, new, clock) for ids in prompts]
    rss = peak_rss_mb()
    prefill, decode = ([pair[i] for pair in results] for i in (0, 1))
    recipe = recipe_of(manifest)
    rows, number = cache_of(decoder)
    half = [count - new // 2 for count in rows]
    read = bytes_per_token(spec, recipe) + cache_bytes(spec, half, number=number)
    return Timing(
        artifact=artifact.place.name,
        prompt=prompt,
        new=new,
        threads=count,
        rounds=rounds,
        prefill_tps=statistics.median(prefill),
        decode_tps=statistics.median(decode),
        prefill_all=tuple(prefill),
        decode_all=tuple(decode),
        load_seconds=loaded,
        peak_rss_mb=rss,
        artifact_mb=artifact.nbytes / 1e6,
        cache_rows=max(rows),
        cache_mb=cache_bytes(spec, rows, number=number) / 1e6,
        bytes_per_token=read,
        read_gbs=read * statistics.median(decode) / 1e9,
        machine_gbs=read_bandwidth(count, clock),
        machine=machine(),
        drafted=source.tally.drafted if isinstance(source, Speculation) else None,
        accepted=source.tally.accepted if isinstance(source, Speculation) else None,
    )


def _round(
    source: Decoder | Speculation,
    ids: Sequence[int],
    new: int,
    clock: Callable[[], float],
) -> tuple[float, float]:
    """Speeds of prompt and answer; drafts are of what the model itself would say."""
    decoder = source.decoder if isinstance(source, Speculation) else source
    decoder.rewind(0)
    if isinstance(source, Speculation):
        made = generate(source, ids, max_tokens=new + 1, clock=clock)
        for _ in made:
            pass
        return made.prefill_tps, made.decode_tps
    start = clock()
    decoder.prefill(ids)
    middle = clock()
    for i in range(new):
        decoder.step((1000 + i) % decoder.spec.vocab)
    return len(ids) / (middle - start), new / (clock() - middle)


def bytes_per_token(spec: DecoderSpec, recipe: Recipe) -> int:
    """Weights that one decoded token reads: all matrices but the embedding, of which it reads a
    row.
    """
    return sum(
        recipe.scheme(name).nbytes(*shape)
        for name, shape in shapes(spec).items()
        if len(shape) == 2 and (name != "embed" or spec.tied)
    )


def read_bandwidth(threads: int, clock: Callable[[], float] = perf_counter) -> float:
    """GB a second that `threads` threads read together, or as many of them as run at once: the best of
    five passes over 256 MB each.
    """
    count = min(threads, processors.here().count)
    parts = [np.ones(1 << 25, np.int64) for _ in range(count)]
    best = 0.0
    with ThreadPoolExecutor(count) as pool:
        for _ in range(5):
            start = clock()
            list(pool.map(np.max, parts))
            best = max(best, sum(part.nbytes for part in parts) / (clock() - start) / 1e9)
    return best


def peak_rss_mb() -> float:
    """The most memory that this process was resident with, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def machine() -> str:
    """Processor, cores and system, in words."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        name = lines[0].partition(":")[2].strip() if lines else name
    return f"{name}, {os.cpu_count()} cores, {platform.system()}"
