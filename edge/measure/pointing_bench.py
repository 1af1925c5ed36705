"""What a user of a model that points waits for here: a picture seen, regions of it, the first token of an answer, and
tokens after it; median and spread, and memory.
"""

from dataclasses import asdict, dataclass
from statistics import median
from time import perf_counter

from edge.artifact.pipeline import PipelineArtifact
from edge.decode.generate import Generation
from edge.errors import EdgeError
from edge.measure.bench import machine, peak_rss_mb
from edge.pipelines.groma import Groma, Shown
from edge.run.model import Wish
from edge.run.strategy import PLAIN, Strategy
from edge.system import processors
from edge.text.chat import Message
from edge.vision.tiles import Grid, noise

QUESTIONS = ("[grounding] Describe the picture.", "And what colour has it?")
_WARM_UP = 2  # tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class PointingTiming:
    """Medians of the rounds, and the rounds, each of another picture of noise."""

    artifact: str
    regions: int  # of the picture with the most of them
    prompt: int  # tokens of its first question, rows of the picture and of regions among them
    new: int
    threads: int
    rounds: int
    seeing_seconds: float  # of what looks at a picture once, and finds regions
    regions_seconds: float  # of the rows of regions
    first_seconds: float  # until an answer about a picture that was never seen begins
    second_seconds: float  # the same of another question about it, in the same chat
    again_seconds: (
        float  # the same of the first question in a new chat: what was seen is remembered
    )
    decode_tps: float  # tokens a second, after the first one of the first answer
    seeing_all: tuple[float, ...]
    regions_all: tuple[float, ...]
    first_all: tuple[float, ...]
    second_all: tuple[float, ...]
    again_all: tuple[float, ...]
    decode_all: tuple[float, ...]
    load_seconds: float
    peak_rss_mb: float
    artifact_mb: float
    machine: str

    def json(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Waits:
    """Of one round: seconds, tokens a second, and how many regions and tokens there were."""

    seeing: float
    regions: float
    first: float
    second: float
    again: float
    decode_tps: float
    count: int
    prompt: int


def bench(
    artifact: PipelineArtifact,
    *,
    new: int,
    threads: int | None = None,
    rounds: int = 3,
    strategy: Strategy = PLAIN,
) -> list[PointingTiming]:
    """Ask `rounds` times about another picture, and decode `new` tokens; after one short answer to warm up."""
    start = perf_counter()
    model = Groma(artifact, threads=threads, strategy=strategy)
    loaded = perf_counter() - start
    model.model.stop_ids = frozenset()  # answers are as long as was asked for
    _round(model, 0, _WARM_UP)
    waits = [_round(model, 1 + number, new) for number in range(rounds)]
    names = ("seeing", "regions", "first", "second", "again", "decode_tps")
    seeing, regions, first, second, again, speed = (
        tuple(float(getattr(wait, name)) for wait in waits) for name in names
    )
    most = max(waits, key=lambda wait: wait.count)
    return [
        PointingTiming(
            artifact=artifact.folder.name,
            regions=most.count,
            prompt=most.prompt,
            new=new,
            threads=processors.threads(threads),
            rounds=rounds,
            seeing_seconds=median(seeing),
            regions_seconds=median(regions),
            first_seconds=median(first),
            second_seconds=median(second),
            again_seconds=median(again),
            decode_tps=median(speed),
            seeing_all=seeing,
            regions_all=regions,
            first_all=first,
            second_all=second,
            again_all=again,
            decode_all=speed,
            load_seconds=loaded,
            peak_rss_mb=peak_rss_mb(),
            artifact_mb=artifact.nbytes / 1e6,
            machine=machine(),
        )
    ]


def _round(model: Groma, seed: int, new: int) -> _Waits:
    """A chat of both questions about a picture that was never seen, and a chat that begins as that one did."""
    picture = noise(Grid(1, 1), side=model.side, seed=seed)
    model.model.forget()
    start = perf_counter()
    model.seen(picture)
    seeing = perf_counter() - start
    about = model.look(picture)
    regions = perf_counter() - start - seeing
    ids, more = _questions(model, about, new)
    first, answer = _asked(model, about, ids, new + 1)
    for _ in answer:
        pass
    second, _ = _asked(model, about, [*answer.cached, *more], 1)
    model.model.forget()
    again, _ = _asked(model, model.look(picture), ids, 1)
    count = len(about.regions)
    waits = seeing, regions, seeing + regions + first, second, again, answer.decode_tps
    return _Waits(*waits, count, len(ids))


def _questions(model: Groma, about: Shown, new: int) -> tuple[list[int], list[int]]:
    """Ids of the first one with all before it, and what follows its answer; refuses what does not fit the context."""
    one, other = QUESTIONS
    chat = model.chat([about])
    user, _, ids = chat.prompt(one)
    chat.messages = [*chat.messages, user, Message("assistant", "")]
    more = chat.prompt(other)[2][len(ids) :]
    context = model.decoder.spec.context
    if len(ids) + new + len(more) >= context:
        raise EdgeError(
            f"two questions of {len(ids)} and {len(more)} tokens, and an answer of {new} do not fit the context of "
            f"{context}",
            fix="give a smaller -n",
        )
    return ids, more


def _asked(model: Groma, about: Shown, ids: list[int], tokens: int) -> tuple[float, Generation]:
    """Seconds until the first token is there, and the answer from there on."""
    start = perf_counter()
    model.show(about, ())
    answer = model.model.reply(ids, Wish(max_tokens=tokens)).generation
    next(answer)
    return perf_counter() - start, answer
