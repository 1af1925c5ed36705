"""Words that mean exactly one thing of a scene: what it looks like, that it is the most of something among its likes,
or how it lies to another.

Where two people might disagree, neither would be right: of two things of nearly one size none is the largest, and what
lies a little to the left is not left of it, but not surely not either.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from edge.data.regions.things import Look
from edge.vision.boxes import Box

_LARGER = 1.3  # times as much, of a box's area
_FARTHER = 0.04  # of the larger side of all that is there


@dataclass(frozen=True, slots=True)
class Noun:
    """What a thing is called: a kind, what it is one of, or just a thing; and some of what it looks like."""

    noun: str
    colour: str = ""
    texture: str = ""
    size: str = ""

    @property
    def words(self) -> str:
        return " ".join(filter(None, (self.size, self.texture, self.colour, self.noun)))

    def fits(self, look: Look) -> bool:
        return (
            self.noun in (look.kind, look.group, "thing")
            and self.colour in ("", look.colour)
            and self.texture in ("", look.texture)
            and self.size in ("", look.size)
        )

    def of(self, looks: Sequence[Look]) -> list[int]:
        """All things that it may mean."""
        return [number for number, look in enumerate(looks) if self.fits(look)]


@dataclass(frozen=True, slots=True)
class Relation:
    """`surely`: for everyone; `perhaps`: for someone. Of a box and the one that it lies to."""

    words: str
    surely: Callable[[Box, Box], bool]
    perhaps: Callable[[Box, Box], bool]


def _before(axis: int) -> Callable[[Box, Box], bool]:
    return lambda a, b: a[axis + 2] <= b[axis]


def _sooner(axis: int) -> Callable[[Box, Box], bool]:
    return lambda a, b: a[axis] + a[axis + 2] < b[axis] + b[axis + 2]


def _turned(relation: Callable[[Box, Box], bool]) -> Callable[[Box, Box], bool]:
    return lambda a, b: relation(b, a)


def _within(a: Box, b: Box) -> bool:
    return b[0] <= a[0] and b[1] <= a[1] and a[2] <= b[2] and a[3] <= b[3]


def _meets(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


RELATIONS = (
    Relation("left of", _before(0), _sooner(0)),
    Relation("right of", _turned(_before(0)), _turned(_sooner(0))),
    Relation("above", _before(1), _sooner(1)),
    Relation("below", _turned(_before(1)), _turned(_sooner(1))),
    Relation("inside", _within, _meets),
)
# What is the most of which number.
MOST: Mapping[str, Callable[[Box], float]] = {
    "largest": lambda b: (b[2] - b[0]) * (b[3] - b[1]),
    "smallest": lambda b: -(b[2] - b[0]) * (b[3] - b[1]),
    "leftmost": lambda b: -(b[0] + b[2]) / 2,
    "rightmost": lambda b: (b[0] + b[2]) / 2,
    "topmost": lambda b: -(b[1] + b[3]) / 2,
    "lowest": lambda b: (b[1] + b[3]) / 2,
}


def nouns(look: Look) -> Iterator[Noun]:
    """All that it may be called, with the fewest words first."""
    parts = (("", look.colour), ("", look.texture), ("", look.size))
    every = [
        Noun(noun, colour, texture, size)
        for colour, texture, size in itertools.product(*parts)
        for noun in dict.fromkeys((look.kind, look.group, "thing"))
    ]
    yield from sorted(every, key=lambda noun: len(noun.words.split()))


def alone(looks: Sequence[Look], target: int) -> list[Noun]:
    """Nouns that mean this thing and no other."""
    return [noun for noun in nouns(looks[target]) if noun.of(looks) == [target]]


def expressions(looks: Sequence[Look], boxes: Sequence[Box], target: int) -> dict[str, list[str]]:
    """Phrases, without an article, that mean this thing and no other, by how they do."""
    return {
        "look": [noun.words for noun in alone(looks, target)],
        "most": list(_extremes(looks, boxes, target)),
        "place": list(_related(looks, boxes, target)),
    }


def _extremes(looks: Sequence[Look], boxes: Sequence[Box], target: int) -> Iterator[str]:
    for noun in nouns(looks[target]):
        others = [boxes[number] for number in noun.of(looks) if number != target]
        if others:
            for word in MOST:
                if _most(word, boxes[target], others):
                    yield f"{word} {noun.words}"


def _most(word: str, box: Box, others: Sequence[Box]) -> bool:
    """Whether a box is surely the most of others."""
    number, next_ = MOST[word](box), max(map(MOST[word], others))
    if word == "largest":
        return number >= _LARGER * next_
    if word == "smallest":
        return number * _LARGER >= next_
    far = _FARTHER * max(max(one[2:]) for one in (box, *others))
    return number >= next_ + far


def _related(looks: Sequence[Look], boxes: Sequence[Box], target: int) -> Iterator[str]:
    """By the shortest noun of what it lies to, where several things are called alike."""
    for anchor in range(len(looks)):
        known = alone(looks, anchor)
        if anchor == target or not known:
            continue
        for noun in nouns(looks[target]):
            others = [n for n in noun.of(looks) if n not in (target, anchor)]
            for relation in RELATIONS if others else ():
                if relation.surely(boxes[target], boxes[anchor]) and not any(
                    relation.perhaps(boxes[n], boxes[anchor]) for n in others
                ):
                    yield f"{noun.words} {relation.words} the {known[0].words}"
