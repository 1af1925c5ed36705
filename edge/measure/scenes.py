"""How well a model points: questions about made scenes that are held out, by what is asked. An answer is right if its
words are, and if it names as many regions as it should, each of which is the box that it should be.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge.data.regions.examples import Talk
from edge.data.regions.scenes import Page, Scene, scene
from edge.measure.found import OVERLAP
from edge.text.grounded import read
from edge.vision.boxes import Box, overlaps
from edge.vision.pictures import Picture

_LARGER = (1.0, 1.25, 1.5)  # of scenes, beside what a model sees


@dataclass(frozen=True, slots=True)
class Said:
    """An answer: its plain words, and of each region that it names the box, in pixels."""

    words: str
    boxes: tuple[Box, ...]


Answer = Callable[[Picture, str, Sequence[Box]], Said]  # of a question whose <box> are these


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """Of `asked` questions of a topic: whose `words` are right, whose `boxes` are, and which are wholly `right`."""

    topic: str
    asked: int = 0
    words: int = 0
    boxes: int = 0
    right: int = 0


def cases(side: int, *, scenes: int, seed: int) -> Iterator[tuple[Scene, Talk]]:
    """Every question about so many scenes, which no lesson had."""
    for number in range(scenes):
        larger = _LARGER[number % len(_LARGER)]
        page = Page(width=round(side * larger), height=side)
        made = scene(number, page, seed=seed, held=True)
        for talk in made.talks:
            yield made, talk


def scores(answer: Answer, some: Iterator[tuple[Scene, Talk]]) -> list[Score]:
    """Ask them all."""
    counts: dict[str, Score] = {}
    for made, talk in some:
        given = [made.boxes[number] for number in talk.referred]
        words, boxes = judged(answer(made.picture(), talk.asked, given), talk, made.boxes)
        one = counts.get(talk.topic, Score(topic=talk.topic))
        counts[talk.topic] = replace(
            one,
            asked=one.asked + 1,
            words=one.words + words,
            boxes=one.boxes + boxes,
            right=one.right + (words and boxes),
        )
    return list(counts.values())


def judged(said: Said, talk: Talk, boxes: Sequence[Box]) -> tuple[bool, bool]:
    """Whether its words are right, and its boxes."""
    wanted = read(talk.answer, len(boxes))
    there = [boxes[number] for number in dict.fromkeys(one.region for one in wanted.grounded)]
    return said.words.strip() == wanted.text.strip(), same(said.boxes, there)


def same(some: Sequence[Box], others: Sequence[Box]) -> bool:
    """Whether there are as many, and each of the one is the nearest of another that it overlaps."""
    if len(some) != len(others) or not some:
        return len(some) == len(others)
    shares = overlaps(np.array(some, np.float32), np.array(others, np.float32))
    best = shares.argmax(axis=1)
    return len(set(best.tolist())) == len(some) and bool((shares.max(axis=1) >= OVERLAP).all())
