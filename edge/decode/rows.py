"""How many rows of a sequence each layer's cache holds, where layers may forget some. G kv heads, C kept
rows.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Self

from edge.typing import I64


class CountedRows:
    """A layer that forgot rows holds fewer than `length`, which stays the position of the next token."""

    def __init__(self, layers: int) -> None:
        self.length = 0  # tokens
        self.forgotten = [0] * layers  # rows

    @property
    def rows(self) -> tuple[int, ...]:
        """How many each layer holds."""
        return tuple(self.length - gone for gone in self.forgotten)

    def rewind(self, length: int) -> None:
        gone = self.length - length
        assert length == 0 or 0 <= gone <= min(self.rows), f"rewind to {length} of {self.length}"
        if length == 0:
            self.forgotten = [0] * len(self.forgotten)
        self.length = length

    @contextmanager
    def ahead(self, count: int) -> Iterator[None]:
        """For what runs ahead of the sequence: as if so many more tokens were in it."""
        self.length += count
        try:
            yield
        finally:
            self.length -= count

    def _counting(self, rows: Sequence[I64]) -> Self:
        """A copy of the same sequence that counts only these rows of each layer: [G, C]."""
        other = copy(self)
        other.forgotten = [self.length - places.shape[1] for places in rows]
        return other
