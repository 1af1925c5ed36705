"""How well a model that sees reads: exact match of whole answers about generated sheets, by what is asked.

Lines of text are ones that no lesson had (`edge.data.writing.held_out`); all other sheets are drawn anew.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.data import lessons
from edge.data.lessons import Setting
from edge.data.sheets import KINDS, Asked, Kind, Topic
from edge.data.writing import Language
from edge.typing import U8
from edge.vision.tiles import Grid, grids

Answer = Callable[[U8, str], str]  # a picture [H, W, 3] and a question -> an answer
SIZES: Mapping[Language, tuple[int, int]] = {"en": (22, 36), "zh": (28, 40)}
_DRAWN: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind != "page")


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One question about a picture of this grid."""

    language: Language
    grid: Grid
    rgb: U8
    asked: Asked


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """Exact answers to what is asked in one language, of pictures of one tile or of several."""

    topic: Topic
    language: Language
    tiles: str
    right: int
    asked: int


def cases(
    fonts: Mapping[Language, Sequence[Path]],
    *,
    side: int,
    most: int,
    seed: int,
    sheets: int,
) -> Iterator[Case]:
    """Every question about so many sheets of each kind in each language; half of the pictures are one tile."""
    setting = Setting(fonts=fonts, sizes=SIZES, side=side, patch=side, most=most, held=True)
    one, *several = grids(most)
    for kind in _DRAWN:
        for language in SIZES:
            for number in range(sheets):
                rng = random.Random(f"{seed}/{kind}/{language}/{number}")
                grid = several[number // 2 % len(several)] if number % 2 and several else one
                lesson = lessons.drawn(rng, kind, language, grid, setting)
                for asked in lesson.asked:
                    yield Case(language=language, grid=grid, rgb=lesson.rgb, asked=asked)


def scores(answer: Answer, some: Iterator[Case]) -> list[Score]:
    """Ask them all."""
    counts: dict[tuple[Topic, Language, str], tuple[int, int]] = {}
    for case in some:
        tiles = "one" if case.grid.tiles == 1 else "several"
        key = case.asked.topic, case.language, tiles
        right, count = counts.get(key, (0, 0))
        exact = answer(case.rgb, case.asked.question).strip() == case.asked.answer
        counts[key] = right + exact, count + 1
    return [
        Score(topic=topic, language=language, tiles=tiles, right=right, asked=count)
        for (topic, language, tiles), (right, count) in counts.items()
    ]
