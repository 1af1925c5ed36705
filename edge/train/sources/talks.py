"""Rows of conversations, one a row."""

import random
import sys
import time
from collections.abc import Iterable, Sequence

import numpy as np

from edge.data.examples import Shuffled
from edge.data.talks import Row, Talks
from edge.spec import DecoderSpec
from edge.train.batches import Batch
from edge.train.costs import Likelihood
from edge.train.course import Position
from edge.train.recipe import TrainingRecipe
from edge.train.sources.source import Drawn, Source
from edge.typing import I64

SAY_EVERY = 20.0  # seconds


class TalkSource(Source):
    """Every process has all rows, in an order that the seed fixes for every epoch. Those of a step lie by their length,
    so that a split is no longer than it must be.
    """

    def __init__(self, recipe: TrainingRecipe, spec: DecoderSpec, talks: Talks) -> None:
        self.cost = Likelihood((0.0, 1.0))  # of what is not learned, and of the rest
        ((_, self._batch),) = recipe.rows.sizes()
        self.each = self._batch // recipe.splits  # items of a split
        self.talks = talks
        self.tokens = sum(map(_size, talks.items))
        self._seed, self._forbidden = recipe.seed, np.array(spec.forbidden, np.int64)
        self._shuffled = Shuffled(len(talks.items), recipe.seed)

    def start(self) -> Position:
        return Position(texts=self.talks.digest)

    def draw(self, at: Position, mine: range) -> Drawn:
        numbers = self._by_length(self._numbers(at.step))
        parts = [numbers[split * self.each : (split + 1) * self.each] for split in mine]
        return Drawn(
            batches=[self.batch(part) for part in parts],
            seed=random.Random(f"{self._seed}/{at.step}").getrandbits(62),
            tokens=sum(_size(self.talks.items[number]) for number in numbers),
        )

    def batch(self, numbers: Sequence[int]) -> Batch:
        """The rows of some items, as long as the longest of them."""
        tokens, parts = self.padded([self.talks.items[number][0] for number in numbers])
        return Batch(tokens=tokens, parts=parts)

    def padded(self, rows: Sequence[Row]) -> tuple[I64, I64]:
        """Ids and what of them counts: [B, T + 1] each. Nothing sees what is put behind a row."""
        shape = len(rows), max(len(row.ids) for row in rows)
        tokens, parts = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for number, row in enumerate(rows):
            tokens[number, : len(row.ids)] = row.ids
            parts[number, : len(row.ids)] = row.counted & ~np.isin(row.ids, self._forbidden)
        return tokens, parts

    def by_length(self, each: int) -> list[list[int]]:
        """All items, so many at once that are alike in length."""
        numbers = self._by_length(range(len(self.talks.items)))
        return [numbers[first : first + each] for first in range(0, len(numbers), each)]

    def _by_length(self, numbers: Iterable[int]) -> list[int]:
        return sorted(numbers, key=lambda number: _size(self.talks.items[number]))

    def _numbers(self, step: int) -> list[int]:
        """Of the items of a step."""
        return self._shuffled.rows(range(step * self._batch, (step + 1) * self._batch))


class Progress:
    """Says now and then how far something is that takes long."""

    def __init__(self, what: str) -> None:
        self._what, self._said = what, time.monotonic()

    def __call__(self, done: int) -> None:
        if time.monotonic() - self._said > SAY_EVERY:
            self._said = time.monotonic()
            print(f"{done:,} {self._what}", file=sys.stderr, flush=True)


def report(talks: Talks, length: int) -> None:
    """Say what was too long."""
    if long := talks.cut + talks.left:
        print(
            f"{long} of {talks.lines} lines have more than {length} tokens: {talks.cut} cut, {talks.left} left out",
            file=sys.stderr,
            flush=True,
        )


def _size(item: Sequence[Row]) -> int:
    """Tokens that are predicted, or given as such."""
    return sum(len(row.ids) - 1 for row in item)
