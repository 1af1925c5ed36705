"""Rows of pairs, each beside what the start says of its answers."""

from collections.abc import Sequence

import numpy as np

from edge.data.talks import Talks
from edge.spec import DecoderSpec
from edge.train.batches import Compared
from edge.train.costs import Preference
from edge.train.recipe import TrainingRecipe
from edge.train.rows import Pairs
from edge.train.sources.talks import TalkSource


class PairSource(TalkSource):
    """`reference`: log-probabilities of both answers of every pair, [N, 2], by the weights that training starts from. A
    run computes them once, and keeps them in its folder.
    """

    def __init__(
        self, recipe: TrainingRecipe, rows: Pairs, spec: DecoderSpec, talks: Talks
    ) -> None:
        super().__init__(recipe, spec, talks)
        self.cost = Preference(rows.loss, rows.beta)
        self.reference = np.zeros((len(talks.items), 2), np.float32)

    def batch(self, numbers: Sequence[int]) -> Compared:
        """The rows of some pairs, as long as the longest of them: [B, 2, T + 1]."""
        rows = [row for number in numbers for row in self.talks.items[number]]
        tokens, parts = (made.reshape(len(numbers), 2, -1) for made in self.padded(rows))
        return Compared(tokens=tokens, parts=parts, reference=self.reference[list(numbers)])
