"""What rounding by a text computes with large matrices: sums of products, factors, and what errors cost. In numpy
here; a runtime may offer its own, on a device (`edge.contracts.Calibrator`). What goes in and comes out are numpy's
arrays.

N rows of weights, K inputs.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol

import numpy as np

from edge.quant.inputs import Inputs, Sums
from edge.system import processors
from edge.typing import F32

_PANEL = 512  # columns that are factored together

Costs = Callable[
    [F32], F32
]  # errors [N, K] -> the mean square of what each row's product is off by, [N]


class Arithmetic(Protocol):
    def sums(self, columns: int) -> Sums:
        """To add to."""
        ...

    def factor(self, matrix: F32) -> None:
        """U of U U' = matrix, upper triangular, in the matrix's own place; raises LinAlgError where there is none."""
        ...

    def costs(self, products: F32) -> Costs:
        """By the means of products of two inputs, [K, K]."""
        ...


class Numpy:
    """`Arithmetic` by numpy."""

    def sums(self, columns: int) -> Sums:
        return Inputs.none(columns)

    def factor(self, matrix: F32) -> None:
        """One of 14,336 columns takes 0.8 GB, and no second."""
        for stop in range(len(matrix), 0, -_PANEL):
            start = max(0, stop - _PANEL)
            square = matrix[start:stop, start:stop]
            # The lower factor of all of it turned round is the upper one of it as it is.
            square[:] = np.linalg.cholesky(square[::-1, ::-1])[::-1, ::-1]
            matrix[start:stop, :start] = 0
            above = matrix[:start, start:stop]
            above[:] = np.linalg.solve(square, above.T).T
            _each(partial(_take_off, matrix, above, start), range(0, start, _PANEL))

    def costs(self, products: F32) -> Costs:
        def of(off: F32) -> F32:
            found: F32 = np.einsum("nk,nk->n", off @ products, off)
            return found

        return of


NUMPY = Numpy()


def _take_off(matrix: F32, above: F32, start: int, at: int) -> None:
    """A panel's share of what columns behind it explain."""
    end = min(at + _PANEL, start)
    matrix[at:end, at:start] -= above[at:end] @ above[at:].T


def _each(do: Callable[[int], None], places: Iterable[int]) -> None:
    """Side by side: each panel is computed alike, whatever the number of threads."""
    with ThreadPoolExecutor(processors.threads(None)) as pool:
        list(pool.map(do, places))
