"""What every source of rows is to a run.

What is drawn depends on the recipe, the number of the step and the position alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from edge.data.corpus import StreamPosition
from edge.train.batches import Batch
from edge.train.costs import Cost
from edge.train.course import Position


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


class Source(ABC):
    """`cost`: what its rows cost. `tokens`: of all of them, if they have an end."""

    cost: Cost
    tokens: int | None = None

    @abstractmethod
    def start(self) -> Position:
        """The position of a run that begins."""

    @abstractmethod
    def draw(self, at: Position, mine: range) -> Drawn:
        """The splits of a step that this process computes."""

    def done(self, at: Position) -> bool:
        """Whether the stage that a run is at is done, and another one follows."""
        return False
