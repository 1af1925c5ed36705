"""Where a detector's pictures come from: made scenes, each once, or a user's, over and over. Of each it is known which
head of scores it teaches: that of things with a name, or that of all that has an outline.

S pixels of a side, T things of a picture.
"""

import random
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edge.data.examples import Shuffled
from edge.data.regions import files
from edge.data.regions.examples import Example
from edge.data.regions.pixels import Mask
from edge.data.regions.scenes import Page, Scene, scene
from edge.errors import EdgeError
from edge.train.regions.detection import HEADS, DetectionRecipe, Scenes
from edge.typing import F32
from edge.vision.boxes import in_parts
from edge.vision.preparation import DINOV2, prepare

NAMED, OUTLINED = range(HEADS)
LEAST = 1.0  # pixels of a side that a thing must have, as the tower sees it
_RATIO = 1.5  # of a made scene's sides, at most


class Source(ABC):
    """`digest`: of all that says which pictures these are."""

    digest: str

    def __init__(self, side: int) -> None:
        self.side = side
        # Stretched to a square, as Groma's pictures are: a crop would leave boxes behind.
        self._preparation = replace(DINOV2, resize=(side, side), crop=None)

    @abstractmethod
    def example(self, number: int) -> tuple[Example, int]:
        """The picture that a run takes in this place, and the head that it teaches."""

    @abstractmethod
    def asked(self, count: int) -> list[Example]:
        """Pictures to look at while a run goes on: none of its lessons, where there are such."""

    def shown(self, example: Example, head: int) -> tuple[F32, F32]:
        """What the tower sees [S, S, 3], and the boxes of its things [T, 4], middles and sizes as parts of the picture:
        those that this head is to find and that are large enough to be seen.
        """
        picture = example.picture()
        parts = in_parts(example.boxes, picture.width, picture.height)
        seen = parts[:, 2:].min(axis=1, initial=1.0) * self.side >= LEAST
        return prepare(picture, self._preparation), parts[seen & self.taught(example, head)]

    def taught(self, example: Example, head: int) -> Mask:
        """Which of its boxes are of things that this head is to find: [T]."""
        return np.ones(len(example.boxes), bool)


class Drawn(Source):
    """Made scenes, larger than the tower sees them by up to as much as the recipe says, and of other sides."""

    def __init__(self, side: int, scenes: Scenes, seed: int) -> None:
        super().__init__(side)
        self._scenes, self._seed = scenes, seed
        self.digest = ""  # the recipe says all

    def example(self, number: int) -> tuple[Scene, int]:
        return self.scene(number), number % HEADS

    def asked(self, count: int) -> list[Example]:
        return [self.scene(number, held=True) for number in range(count)]

    def taught(self, example: Example, head: int) -> Mask:
        """Marks have no name."""
        return np.array([head == OUTLINED or name != "" for name in example.names], bool)

    def scene(self, number: int, *, held: bool = False) -> Scene:
        table, seed = self._scenes, self._seed
        rng = random.Random(f"sides {seed} {number} {held}")
        wide = rng.uniform(1.0, table.larger) * self.side
        high = wide * rng.uniform(1 / _RATIO, _RATIO)
        page = Page(
            width=round(wide),
            height=round(min(max(high, self.side), table.larger * self.side)),
            most=table.most,
            marks=table.marks,
        )
        return scene(number, page, seed=seed, held=held)


class Given(Source):
    """A user's pictures, in epochs, each of which has its own order. Where all are of one kind, each teaches both
    heads, one after the other: a head that learned nothing would hide what the other finds.
    """

    def __init__(self, recipe: DetectionRecipe, names: Sequence[str]) -> None:
        super().__init__(recipe.tower.side)
        read = files.read(names)
        self._marked, self.digest = read.marked, read.digest
        for why, count in sorted(read.left_out.items()):
            print(f"{count} boxes are left out: {why}", file=sys.stderr)
        queries = recipe.proposer.queries
        for one in self._marked:
            if len(one.boxes) > queries:
                raise EdgeError(
                    f"{one.where} has {len(one.boxes)} boxes, and the recipe {queries} queries",
                    fix="give the proposer more queries, or leave the picture out",
                )
        if not any(one.boxes for one in self._marked):
            raise EdgeError(f"{', '.join(names)} mark nothing", fix="give pictures with boxes")
        self._alike = len({one.outlined for one in self._marked}) == 1
        self._shuffled = Shuffled(len(self._marked), recipe.seed)

    def example(self, number: int) -> tuple[Example, int]:
        (row,) = self._shuffled.rows([number])
        one = self._marked[row]
        if self._alike:
            return one, (row + number // len(self._marked)) % HEADS
        return one, OUTLINED if one.outlined else NAMED

    def asked(self, count: int) -> list[Example]:
        return list(self._marked[:count])
