"""How far what an artifact stores is from its source's own floats, matrix by matrix.

Bytes may be those that a recipe makes, and logits those of an oracle that reads the recipe's codes: if
both read them wrongly, they agree. Here the artifact's files are decoded by their runtime, which shares
no code with what packed them, and compared with the checkpoint. An error is the root of the mean square,
relative to the weights' own; its bound is the recipe's (`edge.quant.bounds`). N rows, K columns.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock

import numpy as np

from edge.contracts import Rows
from edge.names import Spec, tied
from edge.nn.tracing import matrices, tables
from edge.prove.logits import LARGEST
from edge.quant.bounds import FULL, most, squares
from edge.quant.recipe import Recipe
from edge.typing import F32


@dataclass(frozen=True, slots=True)
class Distance:
    """Of one matrix."""

    name: str
    error: float
    bound: float

    @property
    def near(self) -> bool:
        return self.error <= self.bound


def farthest(matrices: Sequence[Distance]) -> Distance:
    """The one that is nearest to its bound, or the farthest past it; fp32 has none to spare."""
    return max(matrices, key=lambda matrix: matrix.error / max(matrix.bound, 1e-30))


@dataclass(slots=True)
class _Sums:
    """Squares of weights, of errors, and of what these may be."""

    weights: float = 0.0
    errors: float = 0.0
    bounds: float = 0.0

    def add(self, weights: float, errors: float, bounds: float) -> None:
        self.weights += weights
        self.errors += errors
        self.bounds += bounds

    def distance(self, name: str) -> Distance:
        """Of a matrix of zeros an error is as large as can be, or none."""
        if not math.isfinite(self.errors):
            return Distance(name, LARGEST, 0.0)
        if self.weights == 0:
            return Distance(name, LARGEST if self.errors else 0.0, 0.0)
        error, bound = (math.sqrt(part / self.weights) for part in (self.errors, self.bounds))
        return Distance(name, error, min(bound, FULL))


@dataclass(frozen=True, slots=True)
class Distances:
    """`edge.contracts.Writer` that writes nothing: it hears of every block of the checkpoint."""

    stored: Rows
    spec: Spec
    recipe: Recipe
    differing: int = 0
    _sums: dict[str, _Sums] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def put(self, name: str, row: int, block: F32) -> int:
        if name in matrices(self.spec):
            for label, by_row in self._uses(name).items():
                self._add(label, name, row, block, by_row=by_row)
        return 0

    def sync(self) -> None: ...

    def finish(self) -> None: ...

    def close(self) -> None:
        self.stored.close()

    def every(self) -> tuple[Distance, ...]:
        """All matrices, in the order of their names."""
        return tuple(self._sums[name].distance(name) for name in sorted(self._sums))

    def _uses(self, name: str) -> Mapping[str, bool]:
        """What a matrix is stored as, and whether that is looked up by row: a tied table is two."""
        if tied(self.spec, name):
            return {"embed": True, "head": False}
        return {name: name in tables(self.spec)}

    def _add(self, label: str, name: str, row: int, block: F32, *, by_row: bool) -> None:
        got = self.stored.rows(name, row, row + len(block), by_row=by_row)
        bound = most(block, self.recipe.scheme(name, by_row=by_row))
        with np.errstate(invalid="ignore", over="ignore"):  # what is stored may be anything
            errors = squares(got - block)
        with self._lock:
            self._sums.setdefault(label, _Sums()).add(squares(block), errors, bound)
