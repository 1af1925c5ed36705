"""How many things of a picture are found by boxes, and how many boxes find one.

K boxes that were found, T that are there: corners.
"""

from dataclasses import dataclass

import numpy as np

from edge.typing import Bools
from edge.vision.boxes import Floats, overlaps

OVERLAP = 0.5  # with which a thing is found


@dataclass(frozen=True, slots=True)
class Found:
    """`hits` of `there` things, by `boxes`."""

    hits: int = 0
    there: int = 0
    boxes: int = 0

    def __add__(self, other: "Found") -> "Found":
        return Found(self.hits + other.hits, self.there + other.there, self.boxes + other.boxes)

    @property
    def recall(self) -> float:
        """Of what is there; of nothing all."""
        return self.hits / self.there if self.there else 1.0

    @property
    def precision(self) -> float:
        return self.hits / self.boxes if self.boxes else 1.0


def found(
    boxes: Floats, there: Floats, overlap: float = OVERLAP, counted: Bools | None = None
) -> Found:
    """Boxes [K, 4], the best first, beside those that are there [T, 4]: each finds the free one that it overlaps most,
    if it does by `overlap`. Of those that do not count [T] it finds one only where it finds none that does, and is
    then not counted itself.
    """
    counts = np.ones(len(there), bool) if counted is None else counted
    shares = overlaps(boxes, there).astype(np.float64)
    hits, ours = 0, len(boxes)
    for row in shares:
        fit = row >= overlap
        which = fit & counts if (fit & counts).any() else fit
        if which.any():
            at = int(np.where(which, row, -1).argmax())
            shares[:, at] = -1
            hits += bool(counts[at])
            ours -= not counts[at]
    return Found(hits, int(counts.sum()), ours)
