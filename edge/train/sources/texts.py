"""Rows of texts, packed."""

import random
from functools import partial

import numpy as np

from edge.data.corpus import Corpus, Stream, StreamPosition
from edge.data.steps.tokens import digest, document
from edge.spec import DecoderSpec
from edge.text.tokenizer import Tokenizer
from edge.train.batches import Batch
from edge.train.costs import Likelihood
from edge.train.course import Position
from edge.train.recipe import TrainingRecipe
from edge.train.rows import Text
from edge.train.sources.source import Drawn, Source


class TextSource(Source):
    """Every split has a stream of its own, which only the process that computes it reads."""

    def __init__(
        self, recipe: TrainingRecipe, rows: Text, spec: DecoderSpec, tokenizer: Tokenizer
    ) -> None:
        self.cost = Likelihood((0.0, 1.0))  # of what may not be predicted, and of the rest
        self._seed, self._splits, self._rows = recipe.seed, recipe.splits, rows
        self._encode = partial(document, tokenizer)
        self._forbidden = np.array(spec.forbidden, np.int64)
        self._corpus = Corpus(rows.files, recipe.seed, lambda: digest(tokenizer))
        self._streams: dict[int, Stream] = {}

    def start(self) -> Position:
        places = [StreamPosition(split) for split in range(self._splits)]
        return Position(places=places, texts=self._corpus.digest)

    def draw(self, at: Position, mine: range) -> Drawn:
        streams = [self._stream(split, at.places[split]) for split in mine]
        return Drawn(
            batches=[self._batch(stream) for stream in streams],
            seed=random.Random(f"{self._seed}/{at.step}").getrandbits(62),
            tokens=self._rows.length * self._rows.batch,
            places=[stream.place for stream in streams],
        )

    def _stream(self, split: int, place: StreamPosition) -> Stream:
        """One that stands elsewhere belongs to a position that was left."""
        stream = self._streams.get(split)
        if stream is None or stream.place != place:
            length, every = self._rows.length, self._splits
            stream = Stream(self._corpus, self._encode, length, place, every=every)
            self._streams[split] = stream
        return stream

    def _batch(self, stream: Stream) -> Batch:
        rows = [stream.row() for _ in range(self._rows.batch // self._splits)]
        tokens = np.array(rows, np.int64)
        return Batch(tokens=tokens, parts=(~np.isin(tokens, self._forbidden)).astype(np.int64))
