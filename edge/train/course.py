"""The course of a run, whatever it runs on: how far it is, at which rate it learns, what it logs, when it saves.

A run folder holds `run.safetensors` (what learns, the optimizer's state, the position; replaced as a whole) and
`log.jsonl`. What a step trains on depends on the recipe, its number and the position alone, so that a run that was
stopped goes on as if it had not been.
"""

import json
import math
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from edge.data.corpus import StreamPosition
from edge.errors import Damaged, EdgeError
from edge.train.recipe import Rates

STATE = "run.safetensors"
LOG = "log.jsonl"
SAVE_EVERY = 90.0  # seconds, and no more than a twentieth of the time
LOG_EVERY = 20.0
MEMORY = 0.97  # of the running mean of right answers
STEADY = (
    0.98  # of that of losses, which begins at zero: what is said of it is by how far it has come
)


@dataclass(kw_only=True)
class Position:
    """How far a run is."""

    step: int = 0
    tokens: int = 0
    stage: int = 0
    since: int = 0  # the step at which this stage began
    seconds: float = 0.0
    loss: float = 0.0
    right: dict[int, float] = field(default_factory=dict)  # by stage: share of right answers
    places: list[StreamPosition] = field(default_factory=list)  # in the texts, of every split
    texts: str = ""  # their digest

    def json(self) -> str:
        return json.dumps(asdict(self))


class Course(ABC):
    """A run of `total` tokens, or whatever its position counts as such, which `unit` names. `judged`: whether
    answers are right or wrong. `speaks`: whether this process logs.
    """

    unit = "tokens"
    judged = False
    speaks = True

    def __init__(self, out: Path, *, rates: Rates, total: int) -> None:
        self.out, self.rates, self.total = out, rates, total
        self.at = self.start()
        self.told: dict[str, float] = {}
        self.asked = self.stopped = False

    @abstractmethod
    def start(self) -> Position:
        """The position of a run that begins."""

    @abstractmethod
    def step(self) -> None:
        """One batch, one update."""

    def begin(self) -> None:
        """What is done once, before the first step of all: nothing, for most."""
        return

    def sample(self) -> None:
        """Write something to look at, ten times in a run: nothing, for most."""
        return

    @abstractmethod
    def save(self) -> None:
        """Replace the state as a whole: a killed run leaves the one before."""

    @abstractmethod
    def export(self) -> Path | None:
        """Write what was learned as its ecosystem has it."""

    def go(self) -> None:
        """Train to the recipe's end, or until asked to stop: either way the state is saved."""
        kept = signal.signal(signal.SIGTERM, lambda *_: setattr(self, "asked", True))
        logged = saved = started = time.monotonic()
        before, pause = self.at.seconds, SAVE_EVERY
        while self.at.tokens < self.total and not self.stopped:
            tenth = 10 * self.at.tokens // self.total
            self.step()
            if self.speaks and 10 * self.at.tokens // self.total > tenth:
                self.sample()
            now = time.monotonic()
            self.at.seconds = before + now - started
            if now - logged > LOG_EVERY:
                logged = now
                self.log()
            if self.due(now - saved > pause):
                self.save()
                saved = time.monotonic()
                pause = max(SAVE_EVERY, 20 * (saved - now))
        self.log()
        self.save()
        signal.signal(signal.SIGTERM, kept)  # which else holds the run

    def due(self, wanted: bool) -> bool:
        """Whether this process saves."""
        return wanted

    def check(self, loss: float) -> None:
        """Refuse a loss from which nothing can be learned."""
        if not math.isfinite(loss):
            raise EdgeError(
                f"the loss is {loss} at step {self.at.step}: training diverged",
                fix="lower the recipe's rates; what was last saved is still in the run's folder",
            )

    def count(self, loss: float) -> None:
        """A step more."""
        self.at.step += 1
        self.at.loss += (loss - self.at.loss) * (1 - STEADY)

    def tell(self, costs: Mapping[str, float]) -> None:
        """What the loss is made of, for the log: means over the last steps, and of this process since it began."""
        for name, cost in costs.items():
            self.told[name] = self.told.get(name, cost) * STEADY + cost * (1 - STEADY)

    def arrive(self, at: Position) -> None:
        """Go on from a position that was saved; refuses one in other texts."""
        fresh = self.start()
        if (at.texts, len(at.places)) != (fresh.texts, len(fresh.places)):
            raise EdgeError(
                f"{self.out} is a run on other texts, or in other splits",
                fix="resume it by its own recipe on the same texts, or name another folder",
            )
        self.at = at

    def remember(self, number: int, share: float) -> None:
        """The share of right answers at a stage."""
        self.at.right[number] = self.at.right.get(number, 0.0) * MEMORY + share * (1 - MEMORY)

    def rate(self) -> float:
        """Up over the warm-up, level, then down to nothing over the last share of the tokens."""
        rates, at = self.rates, self.at
        left = (self.total - at.tokens) / max(1.0, rates.decay * self.total)
        warmup = rates.warmup * (1 if rates.warmup >= 1 else self.total)
        return max(0.0, min(1.0, (at.tokens + 1) / max(1, warmup), left))

    def log(self) -> None:
        if not self.speaks:
            return
        loss = self.at.loss / (1 - STEADY ** max(1, self.at.step))
        line = asdict(self.at) | {
            "loss": loss,
            "speed": round(self.at.tokens / max(1.0, self.at.seconds)),
        }
        if self.told:
            line["costs"] = {name: round(cost, 4) for name, cost in self.told.items()}
        line["right"] = {stage: round(share, 3) for stage, share in self._right()}
        self.out.mkdir(parents=True, exist_ok=True)
        with (self.out / LOG).open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        practised = f"  stage {self.at.stage}  right {line['right']}" if self.judged else ""
        practised += "".join(f"  {name} {cost:.3f}" for name, cost in self.told.items())
        print(
            f"step {self.at.step}  {self.at.tokens / 1e6:.2f} M {self.unit}  {self.at.seconds:.0f} s  "
            f"loss {loss:.3f}{practised}",
            file=sys.stderr,
            flush=True,
        )

    def _right(self) -> Iterator[tuple[int, float]]:
        """The mean begins at zero, too: where there was one stage alone, it is known how far it has come."""
        alone = len(self.at.right) == 1
        come = 1 - MEMORY ** max(1, self.at.step) if alone else 1.0
        return ((stage, share / come) for stage, share in self.at.right.items())


def is_matrix(name: str, dimensions: int) -> bool:
    """Projections of patches and inside the layers of a network, not embedding, head, norms or biases."""
    own = name.rpartition("/")[2]
    return (own == "patch" or own.startswith("layers.")) and dimensions == 2


def position(file: Path, text: str) -> Position:
    """What `Position.json` wrote into a state's file."""
    try:
        raw = json.loads(text)
        raw["right"] = {int(stage): share for stage, share in raw["right"].items()}
        raw["places"] = [StreamPosition(**place) for place in raw.get("places", [])]
        return Position(**raw)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Damaged(
            f"{file} does not say how far the run is: {error}", fix="name another folder"
        ) from None
