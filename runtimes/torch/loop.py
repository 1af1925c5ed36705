"""What runs of any kind share: their course, their state, their log.

A run folder holds `run.safetensors` (weights, optimizer, position; replaced as a whole) and `log.jsonl`. What a step
trains on depends on the recipe, its number and the position alone, so that a run that was stopped goes on as if it had
not been, also with another number of processes.
"""

import json
import math
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path

from edge.errors import EdgeError
from edge.train.recipe import Average, Rates
from edge_runtimes.torch import state
from edge_runtimes.torch.averaging import Averaging
from edge_runtimes.torch.held import Held
from edge_runtimes.torch.optim import Optimizer, Tensors
from edge_runtimes.torch.ranks import Ranks

STATE = "run.safetensors"
SAVE_EVERY = 90.0  # seconds, and no more than a twentieth of the time
LOG_EVERY = 20.0
MEMORY = 0.97  # of the running mean of right answers
STEADY = (
    0.98  # of that of losses, which begins at zero: what is said of it is by how far it has come
)


class Loop(ABC):
    """A run of `total` tokens, or whatever its position counts as such, which `unit` names. `judged`: whether
    answers are right or wrong.
    """

    unit = "tokens"
    judged = False

    def __init__(
        self,
        out: Path,
        *,
        ranks: Ranks,
        held: Held,
        rates: Rates,
        total: int,
        average: Average | None = None,
    ) -> None:
        self.out, self.ranks, self.rates, self.total = out, ranks, rates, total
        self.held = held
        self.weights = held.own
        self.optimizer = Optimizer(held, rates.optimizer)
        self.averaging = Averaging(average, held.own, total)
        self.at = self.start()
        self.asked = self.stopped = False

    @abstractmethod
    def start(self) -> state.Position:
        """The position of a run that begins."""

    @abstractmethod
    def step(self) -> None:
        """One batch, one update."""

    def begin(self) -> None:
        """What is done once, before the first step of all: nothing, for most."""
        return

    @abstractmethod
    def export(self) -> Path | None:
        """Write the checkpoint as its ecosystem has it."""

    def go(self) -> None:
        """Train to the recipe's end, or until asked to stop: either way the state is saved."""
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "asked", True))
        logged = saved = started = time.monotonic()
        before, pause = self.at.seconds, SAVE_EVERY
        while self.at.tokens < self.total and not self.stopped:
            self.step()
            now = time.monotonic()
            self.at.seconds = before + now - started
            if now - logged > LOG_EVERY:
                logged = now
                self.log()
            if self._due(now - saved > pause):
                self.save()
                saved = time.monotonic()
                pause = max(SAVE_EVERY, 20 * (saved - now))
        self.log()
        self.save()

    def update(
        self, loss: float, *, times: float = 1.0, still: Collection[str] = frozenset()
    ) -> None:
        """One update from the gradients of all processes, at the rate of this position, so many times. `still`: the
        weights that this step has nothing to do with, the same in every process.
        """
        at, rates = self.at, self.rates
        if not math.isfinite(loss):
            raise EdgeError(
                f"the loss is {loss} at step {at.step}: training diverged",
                fix="lower the recipe's rates; what was last saved is still in the run's folder",
            )
        self.held.collect(still)
        rate = self.rate() * times
        at.step += 1
        self.optimizer.step(
            at.step,
            matrix=rate * rates.matrix,
            other=rate * rates.other,
            shrink=rates.shrink,
            still=still,
        )
        at.loss += (loss - at.loss) * (1 - STEADY)

    def advance(self, tokens: int) -> None:
        """So many more were trained on."""
        self.averaging.advance(self.at.tokens, self.at.tokens + tokens)
        self.at.tokens += tokens

    def remember(self, number: int, share: float) -> None:
        """The share of right answers at a stage."""
        self.at.right[number] = self.at.right.get(number, 0.0) * MEMORY + share * (1 - MEMORY)

    def save(self) -> None:
        """Replace the state as a whole: a killed run leaves the one before."""
        state.write(self.out / STATE, self.at, self._tensors(), self.held, self.ranks)

    def restore(self) -> None:
        """Go back to what `save` wrote."""
        fresh = self.start()
        at = state.read(self.out / STATE, self._tensors(), self.held)
        if (at.texts, len(at.places)) != (fresh.texts, len(fresh.places)):
            raise EdgeError(
                f"{self.out} is a run on other texts, or in other splits",
                fix="resume it by its own recipe on the same texts, or name another folder",
            )
        self.at = at

    def rate(self) -> float:
        """Up over the warm-up, level, then down to nothing over the last share of the tokens."""
        rates, at = self.rates, self.at
        left = (self.total - at.tokens) / max(1.0, rates.decay * self.total)
        warmup = rates.warmup * (1 if rates.warmup >= 1 else self.total)
        return max(0.0, min(1.0, (at.tokens + 1) / max(1, warmup), left))

    def log(self) -> None:
        if not self.ranks.first:
            return
        loss = self.at.loss / (1 - STEADY ** max(1, self.at.step))
        line = asdict(self.at) | {
            "loss": loss,
            "speed": round(self.at.tokens / max(1.0, self.at.seconds)),
        }
        line["right"] = {stage: round(share, 3) for stage, share in self.at.right.items()}
        self.out.mkdir(parents=True, exist_ok=True)
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        practised = f"  stage {self.at.stage}  right {line['right']}" if self.judged else ""
        print(
            f"step {self.at.step}  {self.at.tokens / 1e6:.2f} M {self.unit}  {self.at.seconds:.0f} s  "
            f"loss {loss:.3f}{practised}",
            file=sys.stderr,
            flush=True,
        )

    def _due(self, wanted: bool) -> bool:
        """Whether this process saves: those that hold shards do it together."""
        if self.held.shards == 1:
            return wanted
        (asked,) = self.ranks.total(wanted)
        return asked > 0

    def _tensors(self) -> Tensors:
        weights = {f"weight/{name}": weight.detach() for name, weight in self.held.own.items()}
        return weights | self.optimizer.state | self.averaging.state


def begun(out: Path, ranks: Ranks) -> bool:
    """Whether there is a run to go on with: on several machines, all must see it."""
    found = (out / STATE).exists()
    (count,) = ranks.total(found)
    if count not in (0, ranks.count):
        raise EdgeError(
            f"{count:g} of {ranks.count} processes see the run in {out}",
            fix="name a folder on a disk that all machines share",
        )
    return found
