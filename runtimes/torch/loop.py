"""What runs of any kind share on torch: the course of them, with weights over one process or several.

What a step trains on depends on the recipe, its number and the position alone, so that a run that was stopped goes on
as if it had not been, also with another number of processes.
"""

from collections.abc import Collection
from pathlib import Path

from edge.errors import EdgeError
from edge.train.course import STATE, Course
from edge.train.recipe import Average, Rates
from edge_runtimes.torch import state
from edge_runtimes.torch.averaging import Averaging
from edge_runtimes.torch.held import Held
from edge_runtimes.torch.optim import Optimizer, Tensors
from edge_runtimes.torch.ranks import Ranks


class Loop(Course):
    """A course whose weights, gradients and updates are torch's."""

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
        super().__init__(out, rates=rates, total=total)
        self.ranks, self.held = ranks, held
        self.speaks = ranks.first
        self.weights = held.own
        self.optimizer = Optimizer(held, rates.optimizer)
        self.averaging = Averaging(average, held.own, total)

    def update(
        self,
        loss: float,
        *,
        times: float = 1.0,
        still: Collection[str] = frozenset(),
        count: int | None = None,
    ) -> None:
        """One update from the gradients of all processes, at the rate of this position, so many times. `still`: the
        weights that this step has nothing to do with, the same in every process; `count`: of how many updates this is
        the last for the others, where that is not every step's.
        """
        self.check(loss)
        self.held.collect(still)
        rate = self.rate() * times
        self.count(loss)
        self.optimizer.step(
            self.at.step if count is None else count,
            matrix=rate * self.rates.matrix,
            other=rate * self.rates.other,
            shrink=self.rates.shrink,
            still=still,
        )

    def oppose(self, loss: float, *, count: int, rate: float, still: Collection[str]) -> None:
        """An update within a step, the `count`-th of weights that work against the others, which stay `still`."""
        self.check(loss)
        self.held.collect(still)
        rate *= self.rate()
        self.optimizer.step(count, matrix=rate, other=rate, shrink=0.0, still=still)

    def advance(self, tokens: int) -> None:
        """So many more were trained on."""
        self.averaging.advance(self.at.tokens, self.at.tokens + tokens)
        self.at.tokens += tokens

    def save(self) -> None:
        state.write(self.out / STATE, self.at, self._tensors(), self.held, self.ranks)

    def restore(self) -> None:
        """Go back to what `save` wrote."""
        self.arrive(state.read(self.out / STATE, self._tensors(), self.held))

    def due(self, wanted: bool) -> bool:
        """Those that hold shards save together."""
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
