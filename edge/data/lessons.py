"""Lessons of the reader: sheets as a vision-language model is shown them, tiles and token ids, and what each patch
of a tile shows.

N tiles, P patches of a side.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import floor
from pathlib import Path

import numpy as np

from edge.data import sheets
from edge.data.sheets import Asked, Kind, Page, Sheet
from edge.data.writing import Language
from edge.text.conversations import form_of
from edge.typing import I32, U8
from edge.vision.drawing import Glyph
from edge.vision.pictures import Picture
from edge.vision.tiles import Grid, grid_of, tiles

FORM = form_of("phi3-chat")
_SCALES = (1.0, 1.0, 1.5, 2.0)  # of a picture, to the tiles that it is cut into
SLOTS = 4  # letters whose middle lies in one patch, from left to right
NOTHING, UNSEEN = 0, -1
_BARE = 0.15  # of a letter's box, at each of its sides: without ink
_SMALLEST = 11  # pixels of a letter's line in a tile, below which nobody must know it


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What all lessons have in common. `sizes`: of letters, in pixels of a tile, and `least` where much is to be
    told; `side`: of a tile, `patch`: of a patch, in pixels; `most`: tiles of a picture; a text is `lines` of at most
    so many letters (`longest`); `blind`: no pixel is
    made, only what lies where.
    """

    fonts: Mapping[Language, Sequence[Path]]
    sizes: Mapping[Language, tuple[int, int]]
    side: int
    patch: int
    most: int
    least: int = 20
    lines: int = 2
    longest: int = 40
    held: bool = False
    blind: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Lesson:
    """rgb: the picture; tiles [N, side, side, 3]; shown [N, P P, slots]: ids of what lies in each patch; and the
    questions, with their answers.
    """

    rgb: U8
    tiles: U8
    shown: I32
    asked: tuple[Asked, ...]


@cache
def ids() -> Mapping[str, int]:
    """Of letters, the blank first, and of what else is drawn."""
    every = (" ", *sheets.alphabet(), *sheets.names())
    return {what: i for i, what in enumerate(every, start=1)}


def drawn(
    rng: random.Random, kind: Kind, language: Language, grid: Grid, setting: Setting
) -> Lesson:
    """A lesson whose picture is cut into this grid."""
    while True:
        scale = rng.choice(_SCALES)
        stretch = [rng.uniform(0.93, 1.07) for _ in range(2)]
        page = Page(
            fonts=setting.fonts,
            width=round(grid.columns * setting.side * scale * stretch[0]),
            height=round(grid.rows * setting.side * scale * stretch[1]),
            size=round(rng.randint(*setting.sizes[language]) * scale),
            least=round(setting.least * scale),
            lines=setting.lines,
            longest=setting.longest,
            held=setting.held,
            blind=setting.blind,
        )
        if grid_of(page.width, page.height, side=setting.side, most=setting.most) != grid:
            continue
        sheet = sheets.sheet(rng, kind, language, page)
        if sheet is not None:
            break
    return Lesson(
        rgb=sheet.rgb,
        tiles=_cut(sheet, grid, setting),
        shown=shown(sheet, grid, setting),
        asked=sheet.asked,
    )


def _cut(sheet: Sheet, grid: Grid, setting: Setting) -> U8:
    if setting.blind:
        return np.zeros((grid.tiles, setting.side, setting.side, 0), np.uint8)
    return np.stack(list(tiles(Picture(rgb=sheet.rgb), grid, side=setting.side)))


def shown(sheet: Sheet, grid: Grid, setting: Setting) -> I32:
    """What lies in each patch: [N, P P, slots], `UNSEEN` where that is too small or too much to say."""
    side = setting.side // setting.patch
    height, width = sheet.rgb.shape[:2]
    whole = _placed(sheet.glyphs, (height, width), (grid.rows * side, grid.columns * side), setting)
    parts = whole.reshape(grid.rows, side, grid.columns, side, SLOTS).transpose(0, 2, 1, 3, 4)
    found = parts.reshape(-1, side * side, SLOTS)
    if grid.tiles == 1:
        return found
    small = _placed(sheet.glyphs, (height, width), (side, side), setting)
    return np.concatenate([found, small.reshape(1, side * side, SLOTS)])


def _placed(
    glyphs: Sequence[Glyph],
    size: tuple[int, int],
    patches: tuple[int, int],
    setting: Setting,
) -> I32:
    """[rows, columns, slots] of patches."""
    out = np.full((*patches, SLOTS), NOTHING, np.int32)
    counts = np.zeros(patches, np.int32)
    down, across = (
        count * setting.patch / length for count, length in zip(patches, size, strict=True)
    )
    for glyph in sorted(glyphs, key=lambda one: one.box[0]):
        left, top, right, bottom = glyph.box
        row = floor((top + bottom) / 2 * down / setting.patch)
        column = floor((left + right) / 2 * across / setting.patch)
        if not (0 <= row < patches[0] and 0 <= column < patches[1]):
            continue
        slot = counts[row, column]
        counts[row, column] += 1
        if slot >= SLOTS or (bottom - top) * down < _SMALLEST or _cut_off(glyph, size):
            out[row, column] = UNSEEN
        elif out[row, column, 0] != UNSEEN:
            out[row, column, slot] = ids()[glyph.what]
    return out


def _cut_off(glyph: Glyph, size: tuple[int, int]) -> bool:
    """Whether more of a letter lies outside the picture than what has no ink."""
    left, top, right, bottom = glyph.box
    aside, above = (right - left) * _BARE, (bottom - top) * _BARE
    height, width = size
    return left < -aside or right > width + aside or top < -above or bottom > height + above


def conversation(
    asked: Sequence[Asked],
    rows: int,
    encode: Callable[[str], list[int]],
    place: Callable[[str, Sequence[int]], str],
) -> tuple[list[int], list[bool]]:
    """Ids of all turns about a picture of so many rows, and which of them are answers."""
    ids: list[int] = []
    answers: list[bool] = []
    for i, one in enumerate(asked):
        turn = FORM.user.format(place(one.question, [] if i else [rows])) + FORM.answer
        before, said = encode(turn), encode(one.answer + FORM.stop)
        ids += before + said
        answers += [False] * len(before) + [True] * len(said)
    return ids, answers
