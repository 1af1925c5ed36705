"""What products of inputs tell a method that rounds column after column (`edge.quant.gptq`): which columns come first,
and how each makes good the errors of those before it. K inputs.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from threading import Lock

import numpy as np

from edge.quant.rotation import rotated
from edge.system import processors
from edge.typing import F32, I64

DAMPING = 0.01  # of the mean square: inputs that a text left out count a little
_PANEL = 512  # columns that are factored together


@dataclass(slots=True)
class Moments:
    """`products` [K, K]: means of the products of two inputs. What follows from them is computed once, though many
    parts of matrices are rounded by them, and some at once.
    """

    products: F32
    _factors: dict[bool, tuple[I64, F32]] = field(default_factory=dict)
    _rotated: "Moments | None" = None
    _lock: Lock = field(default_factory=Lock)

    @classmethod
    def of(cls, given: "F32 | Moments") -> "Moments":
        return given if isinstance(given, Moments) else cls(given)

    def feedback(self, *, by_size: bool) -> tuple[I64, F32]:
        """The order of columns, those of the largest inputs first or as they are: [K]; and `feedback` in it."""
        with self._lock:
            if by_size not in self._factors:
                order = np.arange(len(self.products))
                if by_size:
                    order = np.argsort(-np.diagonal(self.products), kind="stable")
                self._factors[by_size] = order, feedback(self.products, order)
            return self._factors[by_size]

    def rotated(self) -> "Moments":
        """Of inputs that `edge.quant.rotation` turned."""
        with self._lock:
            if self._rotated is None:
                turned = rotated(rotated(self.products).T)
                self._rotated = Moments((turned + turned.T) / np.float32(2))
            return self._rotated


def feedback(moments: F32, order: I64) -> F32:
    """What an error in column j adds to a later column k, in units of it: [K, K] above the diagonal, columns in
    this order.
    """
    diagonal = np.diagonal(moments)[order]
    mean = max(float(np.mean(diagonal, dtype=np.float64)), float(np.finfo(np.float32).tiny))
    # A few inputs that are far larger than all others leave these less than float32 rounds those by: then more.
    for more in (1, 10, 100, 1000):
        factor = moments[np.ix_(order, order)]
        factor[np.diag_indices_from(factor)] = diagonal + np.float32(DAMPING * mean * more)
        try:
            upper_factor(factor)
        except np.linalg.LinAlgError:
            continue
        factor /= np.diagonal(factor).copy()
        return factor
    return np.eye(len(moments), dtype=np.float32)  # no column makes good another's error


def upper_factor(matrix: F32) -> None:
    """U of U U' = matrix, upper triangular, in the matrix's own place: one of 14,336 columns takes 0.8 GB. Raises
    LinAlgError where there is none.
    """
    for stop in range(len(matrix), 0, -_PANEL):
        start = max(0, stop - _PANEL)
        square = matrix[start:stop, start:stop]
        # The lower factor of all of it turned round is the upper one of it as it is.
        square[:] = np.linalg.cholesky(square[::-1, ::-1])[::-1, ::-1]
        matrix[start:stop, :start] = 0
        above = matrix[:start, start:stop]
        above[:] = np.linalg.solve(square, above.T).T
        _each(partial(_take_off, matrix, above, start), range(0, start, _PANEL))


def _take_off(matrix: F32, above: F32, start: int, at: int) -> None:
    """A panel's share of what columns behind it explain."""
    end = min(at + _PANEL, start)
    matrix[at:end, at:start] -= above[at:end] @ above[at:].T


def _each(do: Callable[[int], None], places: Iterable[int]) -> None:
    """Side by side: each panel is computed alike, whatever the number of threads."""
    with ThreadPoolExecutor(processors.threads(None)) as pool:
        list(pool.map(do, places))
