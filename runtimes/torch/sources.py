"""Where the rows of a step come from: the stories of the small world, or texts.

What is drawn depends on the recipe, the number of the step and the position alone.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import tokenizers
import torch

from edge.data import vocabulary
from edge.data.corpus import Corpus, Stream, StreamPosition
from edge.data.rows import Writer
from edge.spec import DecoderSpec
from edge.text.tokenizer import Tokenizer
from edge.train.origin import Origin
from edge.train.recipe import TrainingRecipe
from edge_runtimes.torch.batches import Batch, make_batch
from edge_runtimes.torch.state import Position


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """Some splits of a step's batch, and what holds for all of them. `places`: of these splits, once
    their rows were taken.
    """

    batches: Sequence[Batch]
    seed: int  # of layer dropout
    tokens: int  # of the whole batch
    stage: int = 0  # that is practised
    places: Sequence[StreamPosition] = ()


class Source(Protocol):
    """`weights`: what a token of each part counts. `judged`: whether its answers are right or wrong."""

    weights: tuple[float, ...]
    judged: bool

    def start(self) -> Position:
        """The position of a run that begins."""
        ...

    def draw(self, at: Position, mine: range) -> Drawn: ...


class Stories:
    """Every process makes all rows of a batch, which takes no time, and keeps its own."""

    judged = True

    def __init__(self, recipe: TrainingRecipe) -> None:
        assert recipe.weights is not None
        by = recipe.weights
        self.weights: tuple[float, ...] = (by.scaffold, by.story, by.answer, by.echo)
        self._recipe = recipe
        library = tokenizers.Tokenizer.from_str(json.dumps(vocabulary.tokenizer()))
        self._writer = Writer(lambda text: list(library.encode(text).ids))

    def start(self) -> Position:
        return Position()

    def draw(self, at: Position, mine: range) -> Drawn:
        rng = random.Random(f"{self._recipe.seed}/{at.step}")
        number, stage = at.stage, self._recipe.stages[at.stage]
        if at.stage and rng.random() < self._recipe.review:
            number = rng.randrange(at.stage)
            stage = self._recipe.stages[number].reviewed()
        batch = make_batch(self._writer, rng, stage)
        splits = batch.split(self._recipe.splits)
        return Drawn(
            batches=[splits[split] for split in mine],
            seed=rng.getrandbits(62),
            tokens=batch.parts[:, 1:].numel(),
            stage=number,
        )


class Texts:
    """Every split has a stream of its own, which only the process that computes it reads."""

    weights: tuple[float, ...] = (0.0, 1.0)  # of what may not be predicted, and of the rest
    judged = False

    def __init__(self, recipe: TrainingRecipe, spec: DecoderSpec, tokenizer: Tokenizer) -> None:
        assert recipe.text is not None
        self._recipe, self._text, self._tokenizer = recipe, recipe.text, tokenizer
        self._forbidden = torch.tensor(spec.forbidden, dtype=torch.long)
        self._corpus = Corpus(self._text.files, recipe.seed)
        self._streams: dict[int, Stream] = {}

    def start(self) -> Position:
        places = [StreamPosition(split) for split in range(self._recipe.splits)]
        return Position(places=places, texts=self._corpus.digest)

    def draw(self, at: Position, mine: range) -> Drawn:
        streams = [self._stream(split, at.places[split]) for split in mine]
        return Drawn(
            batches=[self._batch(stream) for stream in streams],
            seed=random.Random(f"{self._recipe.seed}/{at.step}").getrandbits(62),
            tokens=self._text.length * self._text.batch,
            places=[stream.place for stream in streams],
        )

    def _stream(self, split: int, place: StreamPosition) -> Stream:
        """One that stands elsewhere belongs to a position that was left."""
        stream = self._streams.get(split)
        if stream is None or stream.place != place:
            every = self._recipe.splits
            stream = Stream(self._corpus, self._encode, self._text.length, place, every=every)
            self._streams[split] = stream
        return stream

    def _batch(self, stream: Stream) -> Batch:
        rows = [stream.row() for _ in range(self._text.batch // self._recipe.splits)]
        tokens = torch.tensor(rows)
        return Batch(tokens=tokens, parts=(~torch.isin(tokens, self._forbidden)).long())

    def _encode(self, text: str, begins: bool) -> list[int]:
        ids = self._tokenizer.encode(text, special=False)
        bos = self._tokenizer.bos_id
        return [bos, *ids] if begins and self._tokenizer.adds_bos and bos is not None else ids


def source(recipe: TrainingRecipe, origin: Origin) -> Source:
    if recipe.text is None:
        return Stories(recipe)
    assert origin.folder is not None
    return Texts(recipe, origin.spec, Tokenizer.load(origin.folder))
