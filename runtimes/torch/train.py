"""The training loop: the model definition, run on torch, on rows that are made or read as they are
needed, by one process or by several.

A run folder holds `run.safetensors` (weights, optimizer, position; replaced as a whole) and `log.jsonl`. What a step
trains on depends on the recipe, its number and the position alone, so that a run that was stopped goes on as if it had
not been, also with another number of processes.
"""

import json
import math
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from edge.data.corpus import StreamPosition
from edge.errors import EdgeError
from edge.source.checkpoint import Checkpoint
from edge.source.finite import whole
from edge.train import recipe as recipes
from edge.train.curriculum import dropout, exit_weights
from edge.train.origin import Origin, origin
from edge.train.recipe import TrainingRecipe
from edge_runtimes.torch import export, layerskip, state
from edge_runtimes.torch.batches import SkipsAndExits
from edge_runtimes.torch.initial import initial
from edge_runtimes.torch.optim import Optimizer, Tensors
from edge_runtimes.torch.passes import Passes
from edge_runtimes.torch.ranks import Ranks
from edge_runtimes.torch.sources import Drawn, source

STATE = "run.safetensors"
SAVE_EVERY = 90.0  # seconds, and no more than a twentieth of the time
LOG_EVERY = 20.0
MEMORY = 0.97  # of the running mean of right answers


def train(
    recipe: Path,
    out: Path,
    *,
    find: Callable[[str], Path] = Path,
    start: str | None = None,
    texts: Sequence[str] = (),
    resume: bool = False,
) -> Path | None:
    """Train, or go on training, in `out`; returns the checkpoint folder that was written there, by the
    first process alone. `find` knows the folders of checkpoints; `start` and `texts` are instead of
    the recipe's.
    """
    made = recipes.changed(recipes.read(recipe), start=start, texts=texts)
    if (out / STATE).exists() and not resume:
        raise EdgeError(f"{out} already holds a run", fix="resume it, or name another folder")
    with Ranks() as ranks:
        run = Run(made, out, ranks=ranks, find=find)
        if _begun(out, ranks):
            run.restore()
        run.go()
        return run.export()


class Run:
    """One run and its state. `compiled`: fuse operations, where a compiler is found if not said."""

    def __init__(
        self,
        recipe: TrainingRecipe,
        out: Path,
        *,
        ranks: Ranks | None = None,
        find: Callable[[str], Path] = Path,
        compiled: bool | None = None,
    ) -> None:
        self.recipe, self.out = recipe, out
        self.ranks = ranks or Ranks()
        self.mine = self.ranks.mine(recipe.splits)
        self.origin = origin(recipe, find)
        self.source = source(recipe, self.origin)
        self.spec = self.origin.spec
        self.weights = {
            name: weight.to(self.ranks.device).requires_grad_()
            for name, weight in _first(self.origin, recipe.seed).items()
        }
        self.optimizer = Optimizer(self.weights, recipe.rates.optimizer)
        self.passes = Passes(
            self.spec,
            self.weights,
            table=self.source.weights,
            judged=self.source.judged,
            precision=recipe.precision,
            recompute=recipe.recompute,
            shared=self.ranks.here,
            compiled=compiled,
        )
        self.at = self.source.start()
        self.asked = self.stopped = False

    def go(self) -> None:
        """Train to the recipe's last token, or until asked to stop: either way the state is saved."""
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "asked", True))
        logged = saved = started = time.monotonic()
        before, pause = self.at.seconds, SAVE_EVERY
        while self.at.tokens < self.recipe.tokens and not self.stopped:
            self.step()
            now = time.monotonic()
            self.at.seconds = before + now - started
            if now - logged > LOG_EVERY:
                logged = now
                self._log()
            if now - saved > pause:
                self.save()
                saved = time.monotonic()
                pause = max(SAVE_EVERY, 20 * (saved - now))
        self._log()
        self.save()

    def step(self) -> None:
        """One batch, one update, and a look at whether the stage is done."""
        at, rates = self.at, self.recipe.rates
        drawn = self.source.draw(at, self.mine)
        skips = self.skips(drawn)
        counts = sum(self.passes.weight(batch) for batch in drawn.batches)
        total, asked, *places = self.ranks.total(counts, self.asked, *self._spread(drawn))
        scores = [self.passes.add(batch, skips, total) for batch in drawn.batches]
        loss, right, answers = self.ranks.total(
            float(torch.stack([score.loss for score in scores]).sum()),
            sum(score.right for score in scores),
            sum(score.answers for score in scores),
        )
        if not math.isfinite(loss):
            raise EdgeError(
                f"the loss is {loss} at step {at.step}: training diverged",
                fix="lower the recipe's rates; what was last saved is still in the run's folder",
            )
        self.ranks.add_up(_gradient(weight) for weight in self.weights.values())
        rate = self._rate()
        at.step += 1
        self.optimizer.step(
            at.step, matrix=rate * rates.matrix, other=rate * rates.other, shrink=rates.shrink
        )
        at.tokens += drawn.tokens
        at.loss += (loss - at.loss) * 0.02
        at.places = [
            StreamPosition(int(b), int(t)) for b, t in zip(places[::2], places[1::2], strict=True)
        ]
        self.stopped = asked > 0
        if self.source.judged:
            self._judge(drawn.stage, right / max(1, answers))

    def skips(self, drawn: Drawn) -> SkipsAndExits:
        """The same for every split, and in every process: each skips as much as any other."""
        at, skip, count = self.at, self.recipe.skip, len(self.spec.layers)
        progress = min(1.0, at.tokens / self.recipe.tokens)
        seeded = torch.Generator().manual_seed(drawn.seed)
        chances = [dropout(skip, layer, count, progress) for layer in range(count)]
        return SkipsAndExits(
            kept=layerskip.keep(chances, len(drawn.batches[0].tokens), seeded),
            exits=exit_weights(skip, count, step=at.step, progress=progress),
        )

    def save(self) -> None:
        """Replace the state as a whole: a killed run leaves the one before."""
        if self.ranks.first:
            self.out.mkdir(parents=True, exist_ok=True)
            state.write(self.out / STATE, self.at, self._tensors())

    def restore(self) -> None:
        """Go back to what `save` wrote."""
        fresh = self.source.start()
        at = state.read(self.out / STATE, self._tensors())
        if (at.texts, len(at.places)) != (fresh.texts, len(fresh.places)):
            raise EdgeError(
                f"{self.out} is a run on other texts, or in other splits",
                fix="resume it by its own recipe on the same texts, or name another folder",
            )
        self.at = at

    def export(self) -> Path | None:
        """Write the checkpoint as its ecosystem has it."""
        if not self.ranks.first:
            return None
        export.write(self.out / "model", self.origin, self.weights)
        return self.out / "model"

    def _tensors(self) -> Tensors:
        weights = {f"weight/{name}": weight.detach() for name, weight in self.weights.items()}
        return weights | self.optimizer.state

    def _spread(self, drawn: Drawn) -> list[float]:
        """The new places of this process's splits among zeros for the others': added up, all places."""
        spread = [0.0] * (2 * len(self.at.places))
        for split, place in zip(self.mine, drawn.places, strict=False):
            spread[2 * split : 2 * split + 2] = place.block, place.tokens
        return spread

    def _judge(self, number: int, share: float) -> None:
        """Move on when answers at this stage are right often enough."""
        at = self.at
        at.right[number] = at.right.get(number, 0.0) * MEMORY + share * (1 - MEMORY)
        done = at.right.get(at.stage, 0.0) >= self.recipe.stages[at.stage].until
        if done and at.stage + 1 < len(self.recipe.stages):
            at.stage, at.since = at.stage + 1, at.step
            self._log()

    def _rate(self) -> float:
        """Up over the warm-up, level, then down to nothing over the last share of the tokens."""
        rates, at = self.recipe.rates, self.at
        left = (self.recipe.tokens - at.tokens) / max(1.0, rates.decay * self.recipe.tokens)
        return max(0.0, min(1.0, (at.tokens + 1) / max(1, rates.warmup), left))

    def _log(self) -> None:
        if not self.ranks.first:
            return
        line = asdict(self.at) | {"speed": round(self.at.tokens / max(1.0, self.at.seconds))}
        line["right"] = {stage: round(share, 3) for stage, share in self.at.right.items()}
        self.out.mkdir(parents=True, exist_ok=True)
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        practised = f"  stage {self.at.stage}  right {line['right']}" if self.source.judged else ""
        print(
            f"step {self.at.step}  {self.at.tokens / 1e6:.2f} M tokens  {self.at.seconds:.0f} s  "
            f"loss {self.at.loss:.3f}{practised}",
            file=sys.stderr,
            flush=True,
        )


def _begun(out: Path, ranks: Ranks) -> bool:
    """Whether there is a run to go on with: on several machines, all must see it."""
    found = (out / STATE).exists()
    (count,) = ranks.total(found)
    if count not in (0, ranks.count):
        raise EdgeError(
            f"{count:g} of {ranks.count} processes see the run in {out}",
            fix="name a folder on a disk that all machines share",
        )
    return found


def _first(origin: Origin, seed: int) -> Tensors:
    """The weights that training starts from, in float32."""
    if origin.start is None:
        return initial(origin.spec, seed)
    with Checkpoint.open(origin.start) as checkpoint:
        return {name: torch.from_numpy(whole(checkpoint, name)) for name in checkpoint.places}


def _gradient(weight: torch.Tensor) -> torch.Tensor:
    """Nothing passed through a layer that every sequence skipped: its gradient is zero."""
    if weight.grad is None:
        weight.grad = torch.zeros_like(weight)
    return weight.grad
