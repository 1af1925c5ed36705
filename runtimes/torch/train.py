"""The training loop: the model definition, run on torch, on rows that are made as they are needed.

A run folder holds `run.safetensors` (weights, optimizer, position; replaced as a whole) and `log.jsonl`. What a step
trains on depends on the seed and its number alone, so that a run that was stopped goes on as if it had not been.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer

from edge.errors import EdgeError
from edge.train import recipe as recipes
from edge.train import vocabulary
from edge.train.recipe import Recipe
from edge.train.rows import Writer
from runtimes.torch import export, layerskip
from runtimes.torch.batches import Batch, Plan, Share, judge, make_batch, weighted
from runtimes.torch.initial import initial
from runtimes.torch.ops import TorchOps
from runtimes.torch.optim import Optimizer, Tensors

STATE = "run.safetensors"
SAVE_EVERY = 90.0  # seconds
LOG_EVERY = 20.0
MEMORY = 0.97  # of the running mean of right answers


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


def train(recipe: Path | str, out: Path, *, resume: bool = False) -> Path:
    """Train, or go on training, in `out`; returns the checkpoint folder that was written there."""
    made = recipes.read(Path(recipe))
    if (out / STATE).exists() and not resume:
        raise EdgeError(f"{out} already holds a run", fix="resume it, or name another folder")
    out.mkdir(parents=True, exist_ok=True)
    run = Run(made, out)
    if resume and (out / STATE).exists():
        run.restore()
    run.go()
    return run.export()


class Run:
    """One run and its state."""

    def __init__(self, recipe: Recipe, out: Path) -> None:
        self.recipe, self.out = recipe, out
        vocabulary.write(out / "model")
        tokenizer = Tokenizer.from_file(str(out / "model" / "tokenizer.json"))
        self.writer = Writer(lambda text: list(tokenizer.encode(text).ids))
        self.spec = recipe.shape.spec(vocabulary.rows(vocabulary.tokenizer()))
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        weights = initial(self.spec, recipe.seed)
        self.weights = {name: w.to(self.device).requires_grad_() for name, w in weights.items()}
        self.optimizer = Optimizer(self.weights)
        self.at = Position()
        self.stopped = False
        on_cpu = self.device.type == "cpu"
        self.workers = (os.cpu_count() or 1) if on_cpu else 1
        self.compiled = on_cpu and shutil.which("g++") is not None
        self._pool = ThreadPoolExecutor(self.workers)
        if on_cpu:
            torch.set_num_threads(1)

    def go(self) -> None:
        """Train to the recipe's last token, or until asked to stop: either way the state is saved."""
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "stopped", True))
        logged = saved = started = time.monotonic()
        before = self.at.seconds
        while self.at.tokens < self.recipe.tokens and not self.stopped:
            self.step()
            now = time.monotonic()
            self.at.seconds = before + now - started
            if now - logged > LOG_EVERY:
                logged = now
                self._log()
            if now - saved > SAVE_EVERY:
                saved = now
                self.save()
        self._log()
        self.save()

    def step(self) -> None:
        """One batch, one update, and a look at whether the stage is done."""
        at, skip = self.at, self.recipe.skip
        rng = random.Random(f"{self.recipe.seed}/{at.step}")
        number, stage = at.stage, self.recipe.stages[at.stage]
        if at.stage and rng.random() < self.recipe.review:
            number = rng.randrange(at.stage)
            stage = self.recipe.stages[number].reviewed()
        batch = make_batch(self.writer, rng, stage)
        count = len(self.spec.layers)
        seeded = torch.Generator().manual_seed(rng.getrandbits(62))
        progress = min(1.0, at.tokens / self.recipe.tokens)
        plan = Plan(
            kept=layerskip.keep(count, len(batch.tokens), progress, skip.dropout, seeded),
            exits=layerskip.exit_weights(
                count, skip.exit_scale * progress, step=at.step, every=skip.exit_every
            ),
        )
        loss, share = self._gradients(batch, plan)
        rate = self._rate()
        at.step += 1
        rates = self.recipe.rates
        self.optimizer.step(
            at.step, matrix=rate * rates.matrix, other=rate * rates.other, shrink=rates.shrink
        )
        at.tokens += batch.parts[:, 1:].numel()
        at.loss += (loss - at.loss) * 0.02
        self._judge(number, share)

    def save(self) -> None:
        """Replace the state as a whole: a killed run leaves the one before."""
        tensors = {f"weight/{name}": w.detach() for name, w in self.weights.items()}
        tensors |= self.optimizer.state
        save_file(tensors, self.out / "new", metadata={"position": json.dumps(asdict(self.at))})
        (self.out / "new").rename(self.out / STATE)

    def restore(self) -> None:
        """Go back to what `save` wrote."""
        with safe_open(self.out / STATE, "pt") as file:
            raw = json.loads((file.metadata() or {})["position"])
            raw["right"] = {int(stage): share for stage, share in raw["right"].items()}
            self.at = Position(**raw)
            state: Tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(state.pop(f"weight/{name}"))
        self.optimizer.load(state)

    def export(self) -> Path:
        """Write the checkpoint as its ecosystem has it."""
        export.write(self.out / "model", self.spec, self.weights)
        return self.out / "model"

    def _gradients(self, batch: Batch, plan: Plan) -> tuple[float, float]:
        """Add the batch's gradients to the weights; its loss, and its share of right answers.

        On a CPU, each worker takes some sequences on one core: they wait for each other once a
        step and not in every operation, which counts where cores are shared.
        """
        workers = min(self.workers, len(batch.tokens))
        total = float(self._weigh(batch.parts[:, 1:]).sum())
        shares = zip(batch.split(workers), plan.split(workers), strict=True)
        done = list(self._pool.map(lambda share: self._share(share[0], share[1], total), shares))
        for weight, *gradients in zip(
            self.weights.values(), *(part.gradients for part in done), strict=True
        ):
            weight.grad = torch.stack(gradients).sum(0) if workers > 1 else gradients[0]
        answers = max(1, sum(part.answers for part in done))
        return sum(part.loss for part in done), sum(part.right for part in done) / answers

    def _share(self, batch: Batch, plan: Plan, total: float) -> Share:
        """Gradients of a part of the batch, whose loss weights are `total` in all."""
        tokens, parts = batch.tokens.to(self.device), batch.parts[:, 1:].to(self.device)
        targets, weight = tokens[:, 1:], self._weigh(parts) / total
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            loss, logits = layerskip.loss(
                TorchOps(self.weights, compiled=self.compiled),
                self.spec,
                tokens[:, :-1],
                kept=plan.kept,
                exits=plan.exits,
                measure=lambda logits: weighted(logits, targets, weight),
            )
        gradients = torch.autograd.grad(loss, list(self.weights.values()))
        right, answers = judge(logits, targets, parts)
        return Share(gradients=gradients, loss=float(loss.detach()), right=right, answers=answers)

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
        left = (self.recipe.tokens - at.tokens) / (rates.decay * self.recipe.tokens)
        return max(0.0, min(1.0, (at.tokens + 1) / rates.warmup, left))

    def _weigh(self, parts: torch.Tensor) -> torch.Tensor:
        by = self.recipe.weights
        table = torch.tensor([by.scaffold, by.story, by.answer, by.echo], device=parts.device)
        return table[parts]

    def _log(self) -> None:
        line = asdict(self.at) | {"speed": round(self.at.tokens / max(1.0, self.at.seconds))}
        line["right"] = {stage: round(share, 3) for stage, share in self.at.right.items()}
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        print(
            f"step {self.at.step}  {self.at.tokens / 1e6:.2f} M tokens  {self.at.seconds:.0f} s  "
            f"loss {self.at.loss:.3f}  stage {self.at.stage}  right {line['right']}",
            file=sys.stderr,
            flush=True,
        )
