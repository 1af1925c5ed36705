"""What a matrix multiplies while a model reads a text. K inputs, T rows."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edge.typing import F32

PANEL = 256  # columns of products that are added up at once
# What is kept of products of two inputs: a text of a few thousand tokens tells less of pairs than of each, and others'
# texts pair them otherwise. Half was best of 1, 0.9, 0.7, 0.5, 0.3 and 0.1 for a text of another kind than was read.
PAIRS = 0.5

Run = Callable[[Callable[[int], None], Iterable[int]], None]


def in_turn(do: Callable[[int], None], items: Iterable[int]) -> None:
    for item in items:
        do(item)


def panels(columns: int) -> int:
    """How many parts products of so many inputs fall into."""
    return -(-columns // PANEL)


class Sums(Protocol):
    """What is added up to be `Inputs`, wherever it lies."""

    @property
    def panels(self) -> int:
        """How many parts its products fall into."""
        ...

    def panel(self, number: int) -> F32:
        """One of them, [PANEL or the rest, K]."""
        ...

    def add(self, x: F32, own: Sequence[int] | None = None, run: Run = in_turn) -> None:
        """x [T, K]. `own`: the panels of products that are added to, if not all; `run`: who does them."""
        ...

    def means(self, every: Iterable[F32]) -> "Inputs":
        """Of what was added, by all panels in their order, whoever has added them up; no more can be."""
        ...


@dataclass(slots=True)
class Inputs:
    """`products`: means of products of two inputs, those of unlike ones drawn to zero, [K, K] (Ledoit and Wolf 2004,
    with a fixed share, to the diagonal); `sizes` and `largest`: the mean and the most of what
    they are without their sign, [K].
    """

    products: F32
    sizes: F32
    largest: F32
    rows: int = 0

    @classmethod
    def none(cls, columns: int) -> "Inputs":
        """To add to."""
        empty = np.zeros(columns, np.float32)
        return cls(np.zeros((columns, columns), np.float32), empty, empty.copy())

    @property
    def panels(self) -> int:
        """How many parts `products` falls into."""
        return panels(len(self.products))

    def panel(self, number: int) -> F32:
        """One of them, of this very array."""
        return self.products[number * PANEL : (number + 1) * PANEL]

    def add(self, x: F32, own: Sequence[int] | None = None, run: Run = in_turn) -> None:
        """`Sums.add`: means become sums, until `mean`."""

        def one(number: int) -> None:
            at = number * PANEL
            part = self.panel(number)
            part += x[:, at : at + PANEL].T @ x

        run(one, range(self.panels) if own is None else own)
        size = np.abs(x)
        self.sizes += size.sum(axis=0)
        np.maximum(self.largest, size.max(axis=0), out=self.largest)
        self.rows += len(x)

    def means(self, every: Iterable[F32]) -> "Inputs":
        """`Sums.means`."""
        for number, panel in enumerate(every):
            self.panel(number)[:] = panel
        return self.mean()

    def mean(self) -> "Inputs":
        """Means of what was added; no more can be."""
        each = np.diagonal(self.products) / np.float32(self.rows)
        self.products *= np.float32(PAIRS / self.rows)
        np.fill_diagonal(self.products, each)
        self.sizes /= self.rows
        return self
