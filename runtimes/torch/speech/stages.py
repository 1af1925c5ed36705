"""The three stages: what each learns, and what one step of it adds to the gradients.

A stage is given the parts of a batch that this process has. All that several processes must agree on is added up over
them before it decides anything.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from edge.train.speech.batches import Examples
from edge.train.speech.model import LEARNED, REFINERS
from edge.train.speech.recipe import AdversarialTable, ConsistencyTable
from edge_runtimes.torch.narrow import Precision, narrow
from edge_runtimes.torch.ranks import Ranks
from edge_runtimes.torch.speech import adversarial
from edge_runtimes.torch.speech.adversarial import Discriminator, Listener, balance, told
from edge_runtimes.torch.speech.consistency import Learned, consistency, drawn, learned
from edge_runtimes.torch.speech.networks import Batch, Networks, Tensors, own

SUMMED = ("consistency", "duration", "pitch")
JUDGED, TOLD = "adversarial", "told apart"
LAST = ("denoiser/output", "denoiser/output.bias")  # where gradients are balanced


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Some of a step's examples, by number, which is `of` so many."""

    step: int
    numbers: range
    of: int
    batch: Batch

    def draw(self, examples: Examples, i: int) -> np.random.Generator:
        """The random numbers of the i-th one's noise."""
        return examples.rng(self.step, self.numbers[i], 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Means:
    """What all stages work with."""

    networks: Networks
    weights: Tensors
    examples: Examples
    ranks: Ranks
    precision: Precision

    def narrow(self) -> torch.autocast:
        return narrow(self.ranks.device.type, self.precision)


class Stage(Protocol):
    """`summed`: the costs that together are what is learned from."""

    @property
    def summed(self) -> Collection[str]: ...

    def learns(self, name: str, at: int) -> bool:
        """Whether its step of this number changes a weight."""
        ...

    def times(self, at: int) -> float:
        """Of the recipe's rates."""
        ...

    def count(self, at: int) -> int:
        """How many updates the weights that are changed have had, with this one, since they began."""
        ...

    def step(self, at: int, parts: Sequence[Part]) -> dict[str, float]:
        """Adds the gradients of these parts; their costs, in sum over examples by the batch's size."""
        ...


class Consistency:
    """Stage 1: all but the refiners, at once."""

    summed = SUMMED

    def __init__(self, means: Means, table: ConsistencyTable) -> None:
        self._means, self._table = means, table

    def learns(self, name: str, _at: int) -> bool:
        return name.partition("/")[0] in LEARNED

    def times(self, _at: int) -> float:
        return 1.0

    def count(self, at: int) -> int:
        return at + 1

    def step(self, at: int, parts: Sequence[Part]) -> dict[str, float]:
        sums: dict[str, float] = {}
        for part in parts:
            with self._means.narrow():
                found = of_part(self._means, self._table, at, part)
                costs = {name: cost.sum() / part.of for name, cost in found.costs.items()}
            torch.autograd.backward(torch.stack(list(costs.values())).sum())
            _add(sums, costs)
        return sums


class Adversarial:
    """Stage 2: the networks go on, and a discriminator beside them, in turn. The grid of noise stays at its finest."""

    summed = (*SUMMED, TOLD)

    def __init__(
        self, means: Means, table: AdversarialTable, before: ConsistencyTable, listener: Listener
    ) -> None:
        self._means, self._table, self._before, self._listener = means, table, before, listener
        weights = own(means.weights, adversarial.NAME)
        self._learning = Discriminator(table, listener.width, weights)
        still = {name: weight.detach() for name, weight in weights.items()}
        self._judging = Discriminator(table, listener.width, still)

    def learns(self, name: str, at: int) -> bool:
        network = name.partition("/")[0]
        return network == adversarial.NAME if at % 2 else network in LEARNED

    def times(self, at: int) -> float:
        return self._table.rate if at % 2 else 1.0

    def count(self, at: int) -> int:
        return at // 2 + 1 if at % 2 else self._before.steps + at // 2 + 1

    def step(self, at: int, parts: Sequence[Part]) -> dict[str, float]:
        return self._told_apart(parts) if at % 2 else self._made(parts)

    def _made(self, parts: Sequence[Part]) -> dict[str, float]:
        sums: dict[str, float] = {}
        losses = []
        for part in parts:
            with self._means.narrow():
                found = of_part(self._means, self._before, self._before.steps - 1, part)
                judged = self._judge(self._judging, part.batch, found.made)
                costs = {**found.costs, JUDGED: told(judged, part.batch.frame_mask, 1.0)}
                losses.append({name: cost.sum() / part.of for name, cost in costs.items()})
            _add(sums, losses[-1])
        factor = self._balance(losses)
        total = [
            cost * (factor if name == JUDGED else 1.0)
            for each in losses
            for name, cost in each.items()
        ]
        torch.autograd.backward(torch.stack(total).sum())
        return {**sums, "balance": factor / self._means.ranks.count}

    def _balance(self, losses: Sequence[Mapping[str, torch.Tensor]]) -> float:
        """The same in all processes: of the gradients of the whole batch."""
        last = [self._means.weights[name] for name in LAST]
        found = []
        for name in ("consistency", JUDGED):
            loss = torch.stack([each[name] for each in losses]).sum()
            gradients = [g.clone() for g in torch.autograd.grad(loss, last, retain_graph=True)]
            self._means.ranks.add_up(gradients)
            found.append(gradients)
        return balance(*found, share=self._table.share, most=self._table.most)

    def _told_apart(self, parts: Sequence[Part]) -> dict[str, float]:
        sums: dict[str, float] = {}
        for part in parts:
            batch = part.batch
            with self._means.narrow():
                with torch.no_grad():
                    made = of_part(self._means, self._before, self._before.steps - 1, part).made
                cost = sum(
                    told(self._judge(self._learning, batch, latent), batch.frame_mask, wanted)
                    for latent, wanted in ((batch.latent, 1.0), (made, 0.0))
                )
                costs = {TOLD: torch.as_tensor(cost).sum() / part.of}
            torch.autograd.backward(costs[TOLD])
            _add(sums, costs)
        return sums

    def _judge(self, judge: Discriminator, batch: Batch, latent: torch.Tensor) -> torch.Tensor:
        heard = self._listener.hear(latent, batch.frame_mask)
        with torch.no_grad():
            prompt = self._listener.hear(batch.prompt, batch.prompt_mask)
        return judge.judge(heard, batch.frame_mask, prompt, batch.prompt_mask).float()


class Refinement:
    """Stage 3: what durations and pitch have beyond what was predicted, each by a consistency model of its own. All
    other weights are still.
    """

    summed = REFINERS

    def __init__(self, means: Means, table: ConsistencyTable) -> None:
        self._means, self._table = means, table

    def learns(self, name: str, _at: int) -> bool:
        return name.partition("/")[0] in REFINERS

    def times(self, _at: int) -> float:
        return 1.0

    def count(self, at: int) -> int:
        return at + 1

    def step(self, at: int, parts: Sequence[Part]) -> dict[str, float]:
        sums: dict[str, float] = {}
        for part in parts:
            with self._means.narrow():
                costs = self._costs(at, part)
            torch.autograd.backward(torch.stack(list(costs.values())).sum())
            _add(sums, costs)
        return sums

    def _costs(self, at: int, part: Part) -> dict[str, torch.Tensor]:
        networks, batch = self._means.networks, part.batch
        with torch.no_grad():
            seen = networks.seen(batch)
        long = batch.durations.log1p() - seen.log_duration
        high = batch.log_pitch - seen.log_pitch
        given = {
            "duration_refiner": (long, seen.duration_features, batch.phoneme_mask),
            "pitch_refiner": (high, seen.pitch_features, batch.frame_mask),
        }
        out = {}
        for kind, (name, (residual, features, mask)) in enumerate(given.items(), 2):
            if name in networks.specs:
                x = (residual * mask).detach()
                cost = self._cost(at, part, kind, name, x, features, mask)
                out[name] = cost.sum() / part.of
        return out

    def _cost(
        self, at: int, part: Part, kind: int, name: str,
        x: torch.Tensor, features: torch.Tensor, mask: torch.Tensor,
    ) -> torch.Tensor:  # fmt: skip
        means = self._means

        def draw(i: int) -> np.random.Generator:
            return means.examples.rng(part.step, part.numbers[i], kind)

        noise = drawn(self._table, at, x.shape, draw, x.device)

        def clean(noisy: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
            return means.networks.residual(name, noisy, sigma, features, mask)

        return consistency(self._table, clean, x, mask, noise)[1]


def of_part(means: Means, table: ConsistencyTable, at: int, part: Part) -> Learned:
    """What stage 1 asks of it in its step of this number."""

    def draw(i: int) -> np.random.Generator:
        return part.draw(means.examples, i)

    noise = drawn(table, at, part.batch.latent.shape, draw, part.batch.latent.device)
    return learned(means.networks, table, part.batch, noise)


def _add(sums: dict[str, float], costs: Mapping[str, torch.Tensor]) -> None:
    for name, cost in costs.items():
        sums[name] = sums.get(name, 0.0) + float(cost.detach())
