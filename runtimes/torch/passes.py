"""Forward and backward passes of the splits of a batch, on one device.

On a CPU, each worker takes some sequences on one core: they wait for each other once a split and not
in every operation, which counts where cores are shared. The path of CUDA was written and not run.
"""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch

from edge.spec import DecoderSpec
from edge.system import processors
from edge.train.origin import fitting
from edge_runtimes.torch import layerskip
from edge_runtimes.torch.batches import Batch, SkipsAndExits
from edge_runtimes.torch.costs import Cost, answers
from edge_runtimes.torch.held import Held, Weights
from edge_runtimes.torch.narrow import Precision, narrow
from edge_runtimes.torch.ops import TorchOps


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """Of some sequences: their part of the loss, a tensor that need not be there yet; answers."""

    loss: torch.Tensor
    right: int
    answers: int


class Passes:
    """`held`: the weights; where they come and go, one worker takes a whole split. `shared`: how many processes there
    are on this machine. `compiled`: operations are fused; if not said, as `EDGE_COMPILE` says, or else on a CPU with a
    compiler.
    """

    def __init__(
        self,
        spec: DecoderSpec,
        held: Held,
        *,
        cost: Cost,
        precision: Precision,
        recompute: bool,
        shared: int,
        compiled: bool | None,
    ) -> None:
        self._spec, self._held = spec, held
        self._device = next(iter(held.own.values())).device
        self._cost, self._precision, self._recompute = cost, precision, recompute
        on_cpu = self._device.type == "cpu"
        threads = max(1, processors.threads(None) // shared) if on_cpu else 1
        self._workers = threads if held.side_by_side else 1
        self._compiled = fused(on_cpu) if compiled is None else compiled
        self._pool = ThreadPoolExecutor(self._workers)
        if on_cpu:
            torch.set_num_threads(threads // self._workers)

    def add(self, batch: Batch, skips: SkipsAndExits, total: float) -> Score:
        """Add a split's gradients to those of the weights, where `total` is what the whole batch counts."""
        workers = min(self._workers, len(batch.tokens))
        if workers == 1:
            loss, score = self._forward(batch, skips, total)
            if loss.requires_grad:  # unless every layer that learns was skipped
                torch.autograd.backward(loss)
            return score
        both = batch.split(workers), skips.split(workers), [total] * workers
        done = list(self._pool.map(self._share, *both))
        gradients = zip(*(made for made, _ in done), strict=True)
        for weight, parts in zip(self._held.own.values(), gradients, strict=True):
            added = torch.stack(parts).sum(0)
            weight.grad = added if weight.grad is None else weight.grad + added
        return Score(
            loss=torch.stack([score.loss for _, score in done]).sum(),
            right=sum(score.right for _, score in done),
            answers=sum(score.answers for _, score in done),
        )

    def _share(
        self, batch: Batch, skips: SkipsAndExits, total: float
    ) -> tuple[tuple[torch.Tensor, ...], Score]:
        """A worker's gradients, zero where every sequence skipped a layer."""
        loss, score = self._forward(batch, skips, total)
        weights = list(self._held.own.values())
        if not loss.requires_grad:
            return tuple(torch.zeros_like(weight) for weight in weights), score
        return torch.autograd.grad(loss, weights, materialize_grads=True), score

    @torch.no_grad()
    def told(self, batch: Batch) -> torch.Tensor:
        """The log-probability of what counts of each row, [B, R], by the weights as they are, on their device."""
        last = len(self._spec.layers) - 1
        kept = torch.ones(last + 1, len(batch.tokens), dtype=torch.bool)
        seeds = torch.zeros(len(batch.tokens), dtype=torch.long)
        skips = SkipsAndExits(kept=kept, exits={last: 1.0}, seeds=seeds)

        def share(batch: Batch, skips: SkipsAndExits) -> torch.Tensor:
            moved = batch.moved(self._moved)
            with torch.no_grad():  # a thread of the pool has its own mind
                weights = self._held.weights  # in which nothing is random
                return self._through(weights, moved, skips, lambda all_: answers(all_, moved))[0]

        workers = min(self._workers, len(batch.tokens))
        return torch.cat(list(self._pool.map(share, batch.split(workers), skips.split(workers))))

    def _forward(
        self, batch: Batch, skips: SkipsAndExits, total: float
    ) -> tuple[torch.Tensor, Score]:
        batch = batch.moved(self._moved)
        weights = self._held.seen(skips.seeds.repeat_interleave(batch.each))
        loss, logits = self._through(
            weights, batch, skips, lambda logits: self._cost.of(logits, batch, total)
        )
        right, asked = self._cost.judge(logits, batch)
        return loss, Score(loss=loss.detach(), right=right, answers=asked)

    def _through(
        self, weights: Weights, batch: Batch, skips: SkipsAndExits, measure: layerskip.Loss
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What a batch that is on the device comes to by `measure`, and its last logits."""
        rows = batch.tokens[..., :-1].flatten(0, -2)
        kept = skips.kept.repeat_interleave(batch.each, dim=1)

        def measured() -> tuple[torch.Tensor, torch.Tensor]:
            return layerskip.loss(
                TorchOps(weights, compiled=self._compiled),
                fitting(self._spec, rows.shape[1]),
                rows,
                kept=kept,
                exits=skips.exits,
                measure=measure,
                recompute=self._recompute,
                through=self._held.through,
            )

        with narrow(self._device.type, self._precision):
            return self._held.through(None, measured)

    def _moved(self, tensor: torch.Tensor) -> torch.Tensor:
        """On the device; to CUDA without waiting for it."""
        if self._device.type == "cpu":
            return tensor
        return tensor.contiguous().pin_memory().to(self._device, non_blocking=True)


def fused(on_cpu: bool) -> bool:
    """Whether operations are fused, if nobody says."""
    wished = os.environ.get("EDGE_COMPILE")
    return wished == "1" if wished else on_cpu and shutil.which("g++") is not None
