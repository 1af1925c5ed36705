"""What every source of rows is to a run.

What is drawn depends on the recipe, the number of the step and the position alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from edge.data.corpus import StreamPosition
from edge_runtimes.torch.batches import Batch
from edge_runtimes.torch.costs import Cost
from edge_runtimes.torch.state import Position


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """Some splits of a step's batch, and what holds for all of them. `places`: of these splits, once
    their rows were taken.
    """

    batches: Sequence[Batch]
    seed: int  # of layer dropout
    tokens: int  # of the whole batch
    stage: int = 0  # that is practised
    places: Sequence[StreamPosition] = ()


class Source(Protocol):
    """`cost`: what its rows cost."""

    cost: Cost

    def start(self) -> Position:
        """The position of a run that begins."""
        ...

    def draw(self, at: Position, mine: range) -> Drawn: ...

    def done(self, at: Position) -> bool:
        """Whether the stage that a run is at is done, and another one follows."""
        ...
