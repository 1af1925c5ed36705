"""Boxes drawn on a picture with what they are: colours that stay apart, lines and labels that are legible whatever lies
under them.
"""

import io
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge.errors import EdgeError, Unsupported
from edge.typing import U8
from edge.vision.boxes import Box
from edge.vision.palette import BLACK, WHITE, Colour, colours, ink
from edge.vision.pictures import Picture, need_pillow
from edge.vision.placing import place

if TYPE_CHECKING:
    from PIL import ImageDraw, ImageFont

MOST = 256  # boxes that are drawn, and numbers that have a colour
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
_LETTERS = 80  # of a phrase, before its width is looked at
_LEFTWARD = frozenset({"R", "AL", "AN"})
_NO_GLYPH = "\uffff"  # of no script: fonts draw for it what they draw for all they lack


@dataclass(frozen=True, slots=True)
class Mark:
    """A box in pixels, and what it is: a number, and a phrase or none. Boxes of one number have one colour."""

    box: Box
    number: int
    phrase: str = ""


def marks_of(named: Sequence[tuple[str, Box]]) -> list[Mark]:
    """Phrases and boxes in the order of an answer -> each box once, by the first phrase that has it. Boxes of one
    phrase have one number, from 1 on; one without a phrase has its own.
    """
    numbers: dict[object, int] = {}
    found: dict[Box, Mark] = {}
    for phrase, box in named:
        if box not in found:
            number = numbers.setdefault(phrase or box, len(numbers) + 1)
            found[box] = Mark(box, number, phrase)
    return list(found.values())


def numbered(boxes: Sequence[Box]) -> list[Mark]:
    """Set-of-mark (arXiv 2310.11441): boxes by number alone, from 1 on, for whoever is asked about them by it."""
    return [Mark(box, number) for number, box in enumerate(boxes, 1)]


def save(file: Path, picture: Picture, marks: Sequence[Mark], *, font: Path | None = None) -> None:
    """The picture with its boxes as a PNG or a JPEG, by the file's ending; whole, or not at all."""
    form = format_of(file)
    content = encoded(marked(picture, marks, font=font), form)
    partial = file.with_name(f".{file.name}")
    partial.write_bytes(content)
    partial.replace(file)


def marked(picture: Picture, marks: Sequence[Mark], *, font: Path | None = None) -> U8:
    """The picture with its boxes and labels: [H, W, 3], of the same size. `font`: for letters that Pillow's own font
    lacks; a phrase that has some it cannot draw is its number alone, as is one of a script that runs from right to left
    or whose letters join.

    EdgeError for more than `MOST` boxes, other numbers than 1 to `MOST`, and sides that are not finite.
    """
    _check(marks)
    need_pillow()
    from PIL import Image, ImageDraw

    image = Image.fromarray(np.ascontiguousarray(picture.rgb))
    draw, short = ImageDraw.Draw(image), min(image.size)
    pens = colours(max((mark.number for mark in marks), default=1))
    line = min(max(short // 200, 2), 8)
    seen = [_seen(mark.box, image.size, 2 * line + 5) for mark in marks]
    # Of two boxes one in the other, the small one is seen.
    for box, mark in sorted(zip(seen, marks, strict=True), key=lambda one: -_area(one[0])):
        _outline(draw, box, pens[mark.number - 1], line)
    writing = _Writing(draw, _face(font, min(max(short // 30, 11), 64)), image.width)
    labels = [writing.label(mark) for mark in marks]
    sizes = [writing.size(label) for label in labels]
    places = place(seen, sizes, *image.size)
    for mark, label, size, at in zip(marks, labels, sizes, places, strict=True):
        if at is not None:
            writing.write(label, at, size, pens[mark.number - 1])
    return np.asarray(image)


def _check(marks: Sequence[Mark]) -> None:
    if len(marks) > MOST:
        raise EdgeError(f"{len(marks)} boxes are too many to draw", fix=f"draw {MOST} at most")
    for mark in marks:
        if not 1 <= mark.number <= MOST:
            raise EdgeError(f"a box has the number {mark.number}", fix=f"count from 1 to {MOST}")
        if not np.isfinite(mark.box).all():
            raise EdgeError(f"the box {mark.box} is nowhere", fix="give its sides in pixels")


def format_of(file: Path) -> str:
    """By its suffix; EdgeError for one that is not written, before anything was computed."""
    if file.suffix.lower() not in FORMATS:
        raise EdgeError(
            f"{file.name!r:.80} names no picture that can be written",
            fix=f"end it in {', '.join(FORMATS)}",
        )
    return FORMATS[file.suffix.lower()]


def encoded(rgb: U8, form: str) -> bytes:
    """A picture [H, W, 3] as a file of this format; nothing of the file that it was drawn on comes along."""
    need_pillow()
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(rgb).save(out, form, quality=92)
    return out.getvalue()


@dataclass(frozen=True, slots=True)
class _Writing:
    """Labels in a font, and how wide a picture is."""

    draw: "ImageDraw.ImageDraw"
    font: "ImageFont.FreeTypeFont"
    width: int

    def label(self, mark: Mark) -> str:
        """What is written: as much of the phrase as fits the box or a third of the picture."""
        number = str(mark.number)
        phrase = self._written(" ".join(mark.phrase.split())[:_LETTERS])
        most = min(max(mark.box[2] - mark.box[0], self.width / 3), self.width)
        for end in range(len(phrase), 0, -1):
            text = f"{number} {phrase[:end].rstrip()}{'…' if end < len(phrase) else ''}"
            if self.size(text)[0] <= most:
                return text
        return number

    def _written(self, phrase: str) -> str:
        """With all its accents, else without, else not at all."""
        whole = unicodedata.normalize("NFC", phrase)
        plain = unicodedata.normalize("NFKD", phrase)
        bare = "".join(letter for letter in plain if not unicodedata.combining(letter))
        return next((text for text in (whole, bare) if all(map(self._has, text))), "")

    def size(self, label: str) -> tuple[int, int]:
        ascent, descent = self.font.getmetrics()
        return int(np.ceil(self.font.getlength(label))) + 2 * self._edge, ascent + descent

    def write(self, label: str, at: tuple[int, int], size: tuple[int, int], ground: Colour) -> None:
        left, top = at
        self.draw.rectangle((left, top, left + size[0] - 1, top + size[1] - 1), fill=ground)
        self.draw.text((left + self._edge, top), label, fill=ink(ground), font=self.font)

    @property
    def _edge(self) -> int:
        return max(int(self.font.size) // 5, 2)

    def _has(self, letter: str) -> bool:
        """Whether the font draws it, and not a square for all that it lacks. Letters are set one by one from left to
        right: what stands otherwise is not drawn at all, rather than wrongly.
        """
        if letter == " " or not letter.isprintable():
            return letter == " "
        if unicodedata.category(letter)[0] == "M" or unicodedata.bidirectional(letter) in _LEFTWARD:
            return False
        drawn, lacking = self.font.getmask(letter), self.font.getmask(_NO_GLYPH)
        return drawn.size != lacking.size or bytes(drawn) != bytes(lacking)


def _outline(
    draw: "ImageDraw.ImageDraw", box: tuple[int, int, int, int], colour: Colour, line: int
) -> None:
    """Black, the colour, white, from the outside in: on any ground one of them is seen."""
    left, top, right, bottom = box
    for at, pen in enumerate([BLACK, *[colour] * line, WHITE]):
        ring = (left + at, top + at, right - at - 1, bottom - at - 1)
        if ring[0] <= ring[2] and ring[1] <= ring[3]:
            draw.rectangle(ring, outline=pen)


def _seen(box: Box, size: tuple[int, int], least: int) -> tuple[int, int, int, int]:
    """In whole pixels within the picture; each side of at least so many, if the picture has them."""
    left, right = _side(box[0], box[2], size[0], least)
    top, bottom = _side(box[1], box[3], size[1], least)
    return left, top, right, bottom


def _side(low: float, high: float, size: int, least: int) -> tuple[int, int]:
    first, last = sorted(min(max(round(end), 0), size) for end in (low, high))
    lacking = max(least - (last - first), 0)
    first = max(min(first - lacking // 2, size - least), 0)
    return first, min(max(last, first + least), size)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _face(font: Path | None, size: int) -> "ImageFont.FreeTypeFont":
    from PIL import ImageFont

    try:
        if font is not None:
            return ImageFont.truetype(str(font), size, layout_engine=ImageFont.Layout.BASIC)
        found = ImageFont.load_default(size)
    except ImportError:
        raise Unsupported(
            "labels need a Pillow that was built with FreeType", fix="pip install '.[vision]'"
        ) from None
    except OSError:
        raise EdgeError(f"{font} is no font", fix="give a .ttf or .otf file") from None
    assert isinstance(found, ImageFont.FreeTypeFont), "of a size that was asked for"
    return found
