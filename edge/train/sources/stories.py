"""Rows of the small world's stories, by stages."""

import json
import random

import tokenizers

from edge.data import vocabulary
from edge.data.rows import Writer
from edge.train.batches import make_batch
from edge.train.costs import Likelihood
from edge.train.course import Position
from edge.train.recipe import TrainingRecipe
from edge.train.rows import Stories
from edge.train.sources.source import Drawn, Source


class StorySource(Source):
    """Every process makes all rows of a batch, which takes no time, and keeps its own."""

    def __init__(self, recipe: TrainingRecipe, rows: Stories) -> None:
        by = rows.weights
        self.cost = Likelihood((by.scaffold, by.story, by.answer, by.echo), judged=True)
        self._seed, self._splits, self._rows = recipe.seed, recipe.splits, rows
        library = tokenizers.Tokenizer.from_str(json.dumps(vocabulary.tokenizer()))
        self._writer = Writer(lambda text: list(library.encode(text).ids))

    def start(self) -> Position:
        return Position()

    def draw(self, at: Position, mine: range) -> Drawn:
        rng = random.Random(f"{self._seed}/{at.step}")
        number, stage = at.stage, self._rows.stages[at.stage]
        if at.stage and rng.random() < self._rows.review:
            number = rng.randrange(at.stage)
            stage = self._rows.stages[number].reviewed()
        batch = make_batch(self._writer, rng, stage)
        splits = batch.split(self._splits)
        return Drawn(
            batches=[splits[split] for split in mine],
            seed=rng.getrandbits(62),
            tokens=batch.parts[:, 1:].size,
            stage=number,
        )

    def done(self, at: Position) -> bool:
        """When answers at this stage are right often enough."""
        stages = self._rows.stages
        return at.stage + 1 < len(stages) and at.right.get(at.stage, 0.0) >= stages[at.stage].until
