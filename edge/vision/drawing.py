"""Pictures that are drawn: texts in a font, boxes and shapes on a canvas, and where each letter came to lie."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from edge.typing import U8
from edge.vision.boxes import Box
from edge.vision.palette import Colour
from edge.vision.pictures import need_pillow

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

Shape = Literal["circle", "square", "triangle"]
_NO_INK = (None, 0, 0)
_LARGE = 512  # pixels, of which the parts are whole enough


@dataclass(frozen=True, slots=True)
class Glyph:
    """A letter, a blank among them, or the name of something that was drawn, and where."""

    what: str
    box: Box


class Canvas:
    """Something to draw on, of one colour at first. `glyphs`: what was drawn so far; `blind`: they alone are
    made, and no pixel of them, which takes most of the time.
    """

    def __init__(self, width: int, height: int, colour: Colour, *, blind: bool = False) -> None:
        need_pillow()
        from PIL import Image, ImageDraw

        self._image = Image.new("RGB", (width, height), colour)
        self._draw = None if blind else ImageDraw.Draw(self._image)
        self.width, self.height = width, height
        self.glyphs: list[Glyph] = []

    def text(self, at: tuple[float, float], text: str, font: Path, size: int, ink: Colour) -> None:
        """A line of text whose upper left corner is there, letter by letter."""
        left, top = at
        high = line_height(font, size)
        for letter in text:
            mask, x, y = _NO_INK if self._draw is None else _inked(font, size, letter)
            if mask is not None:
                self._image.paste(ink, (round(left) + x, round(top) + y), mask)
            advance = _advance(font, letter) * size
            self.glyphs.append(Glyph(letter, (left, top, left + advance, top + high)))
            left += advance

    def box(self, box: Box, ink: Colour, name: str | None = None) -> None:
        """A filled box; a named one is remembered."""
        if self._draw is not None:
            self._draw.rectangle(box, fill=ink)
        self._named(name, box)

    def shape(self, shape: Shape, box: Box, ink: Colour, name: str) -> None:
        if self._draw is not None:
            _fill(self._draw, shape, box, ink)
        self._named(name, box)

    def rgb(self) -> U8:
        """[H, W, 3]"""
        return np.asarray(self._image)

    def _named(self, name: str | None, box: Box) -> None:
        if name is not None:
            self.glyphs.append(Glyph(name, box))


def _fill(draw: "ImageDraw.ImageDraw", shape: Shape, box: Box, ink: Colour) -> None:
    left, top, right, bottom = box
    if shape == "circle":
        draw.ellipse(box, fill=ink)
    elif shape == "square":
        draw.rectangle(box, fill=ink)
    else:
        draw.polygon([((left + right) / 2, top), (right, bottom), (left, bottom)], fill=ink)


def width_of(text: str, font: Path, size: int) -> float:
    """Pixels that a line takes, letters by themselves: what kerning moves is less than one."""
    return size * sum(_advance(font, letter) for letter in text)


def line_height(font: Path, size: int) -> int:
    """Pixels from the top of a line to the next."""
    ascent, descent = _face(font, size).getmetrics()
    return ascent + descent


@lru_cache(maxsize=1 << 18)
def _advance(font: Path, letter: str) -> float:
    """From a letter to the next, in parts of the font's size."""
    return _face(font, _LARGE).getlength(letter) / _LARGE


@lru_cache(maxsize=1 << 19)  # drawing one takes fifty times as long as copying it
def _inked(font: Path, size: int, letter: str) -> "tuple[Image.Image | None, int, int]":
    """Where a letter has ink, if anywhere, and how far that lies from its line's corner: right and down."""
    from PIL import Image, ImageDraw

    # Asking for its box first would draw it twice.
    around = Image.new("L", (4 * size, 4 * size))
    ImageDraw.Draw(around).text((size, size), letter, 255, font=_face(font, size))
    box = around.getbbox()
    return _NO_INK if box is None else (around.crop(box), box[0] - size, box[1] - size)


@lru_cache(maxsize=1024)
def _face(font: Path, size: int) -> "ImageFont.FreeTypeFont":
    need_pillow()
    from PIL import ImageFont

    return ImageFont.truetype(str(font), size, layout_engine=ImageFont.Layout.BASIC)
