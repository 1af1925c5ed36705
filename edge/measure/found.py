"""How many things of a picture are found by boxes, and how many boxes find one.

K boxes that were found, T that are there: corners.
"""

from dataclasses import dataclass

import numpy as np

from edge.typing import F32
from edge.vision.boxes import overlaps

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


def found(boxes: F32, there: F32, overlap: float = OVERLAP) -> Found:
    """Boxes [K, 4], the best first, beside those that are there [T, 4]: each finds the free one that it overlaps most,
    if it does by `overlap`.
    """
    shares = overlaps(boxes, there).astype(np.float64)
    hits = 0
    for row in shares:
        if len(row) and row.max() >= overlap:
            shares[:, int(row.argmax())] = -1
            hits += 1
    return Found(hits, len(there), len(boxes))
