"""What a user of a model of several networks waits for here: pictures seen, the first token of an answer about
one, and tokens after it; median and spread, and memory.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from time import perf_counter

from edge.artifact.pipeline import PipelineArtifact
from edge.decode.generate import Generation
from edge.errors import EdgeError
from edge.measure.bench import machine, peak_rss_mb
from edge.pipelines.internvl import InternVL
from edge.run.model import Wish
from edge.run.strategy import PLAIN, Strategy
from edge.system import processors
from edge.text.chat import Message
from edge.vision.pictures import Picture
from edge.vision.tiles import Grid, grid_with, noise

QUESTIONS = ("What is it?", "And what colour has it?")
TILES = (1, 5)  # of the pictures, if none are asked for
_WARM_UP = 2  # tokens, after one tile


@dataclass(frozen=True, kw_only=True, slots=True)
class PipelineTiming:
    """Medians of the rounds, and the rounds, of pictures of so many tiles."""

    artifact: str
    tiles: int
    prompt: int  # tokens of the first question, a picture's rows among them
    new: int
    threads: int
    rounds: int
    tiles_per_second: float  # of all networks before the decoder
    first_seconds: float  # until an answer about a picture that was never seen begins
    second_seconds: float  # the same of another question about it, in the same chat
    again_seconds: (
        float  # the same of the first question in a new chat: the picture's rows are remembered
    )
    decode_tps: float  # tokens a second, after the first one of the first answer
    tiles_all: tuple[float, ...]
    first_all: tuple[float, ...]
    second_all: tuple[float, ...]
    again_all: tuple[float, ...]
    decode_all: tuple[float, ...]
    load_seconds: float
    peak_rss_mb: float  # up to here: of fewer tiles, too
    artifact_mb: float
    machine: str

    def json(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Case:
    """Two questions about a picture that is cut so: ids of the first, and what follows its answer in a chat."""

    grid: Grid
    ids: list[int]
    more: list[int]


@dataclass(frozen=True, slots=True)
class _Waits:
    """Seconds of one round, and tokens a second."""

    seeing: float
    first: float
    second: float
    again: float
    decode_tps: float


def bench(
    artifact: PipelineArtifact,
    *,
    tiles: Sequence[int],
    new: int,
    threads: int | None = None,
    rounds: int = 3,
    strategy: Strategy = PLAIN,
) -> list[PipelineTiming]:
    """For each number of tiles, the fewest first: ask `rounds` times about another picture of noise, and decode
    `new` tokens; after one short answer to warm up.
    """
    grids = [grid_with(count) for count in sorted(set(tiles))]
    start = perf_counter()
    model = InternVL(artifact, threads=threads, strategy=strategy)
    loaded = perf_counter() - start
    model.model.stop_ids = frozenset()  # answers are as long as was asked for
    cases = [_case(model, grid, new) for grid in grids]
    _round(model, _case(model, Grid(1, 1), _WARM_UP), 0, _WARM_UP)
    found = []
    for case in cases:
        waits = [_round(model, case, 1 + number, new) for number in range(rounds)]
        speeds = tuple(case.grid.tiles / wait.seeing for wait in waits)
        found.append(
            PipelineTiming(
                artifact=artifact.folder.name,
                tiles=case.grid.tiles,
                prompt=len(case.ids),
                new=new,
                threads=processors.threads(threads),
                rounds=rounds,
                tiles_per_second=median(speeds),
                first_seconds=median(wait.first for wait in waits),
                second_seconds=median(wait.second for wait in waits),
                again_seconds=median(wait.again for wait in waits),
                decode_tps=median(wait.decode_tps for wait in waits),
                tiles_all=speeds,
                first_all=tuple(wait.first for wait in waits),
                second_all=tuple(wait.second for wait in waits),
                again_all=tuple(wait.again for wait in waits),
                decode_all=tuple(wait.decode_tps for wait in waits),
                load_seconds=loaded,
                peak_rss_mb=peak_rss_mb(),
                artifact_mb=artifact.nbytes / 1e6,
                machine=machine(),
            )
        )
    return found


def _case(model: InternVL, grid: Grid, new: int) -> _Case:
    """Refuses what does not fit the context, with an answer of so many tokens between the questions."""
    one, other = QUESTIONS
    rows = model.count(noise(grid, side=model.side, seed=0), grid.cells)
    asked = Message("user", model.placed(one, [rows]))
    ids = model.model.encode([asked])
    more = model.model.encode([asked, Message("assistant", ""), Message("user", other)])[len(ids) :]
    context = model.decoder.spec.context
    if len(ids) + new + len(more) >= context:
        raise EdgeError(
            f"two questions about {grid.tiles} tiles, of {len(ids)} and {len(more)} tokens, and an answer of {new} "
            f"do not fit the context of {context}",
            fix="give fewer --tiles, or a smaller -n",
        )
    return _Case(grid, ids, more)


def _round(model: InternVL, case: _Case, seed: int, new: int) -> _Waits:
    """A chat of both questions about a picture that was never seen, and a chat that begins as that one did."""
    picture = noise(case.grid, side=model.side, seed=seed)
    most = case.grid.cells
    model.model.forget()
    seeing, first, answer = _asked(model, picture, most, case.ids, new + 1)
    for _ in answer:
        pass
    _, second, _ = _asked(model, picture, most, [*answer.cached, *case.more], 1)
    model.model.forget()
    _, again, _ = _asked(model, picture, most, case.ids, 1)
    return _Waits(seeing, first, second, again, answer.decode_tps)


def _asked(
    model: InternVL, picture: Picture, most: int, ids: Sequence[int], tokens: int
) -> tuple[float, float, Generation]:
    """Seconds until the picture's rows are there and until the first token is, and the answer from there on."""
    start = perf_counter()
    rows = model.look(picture, most=most).rows
    seeing = perf_counter() - start
    model.show_rows([rows])
    answer = model.model.reply(ids, Wish(max_tokens=tokens)).generation
    next(answer)
    return seeing, perf_counter() - start, answer
