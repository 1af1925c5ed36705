"""A picture of a user's in which boxes are marked: what may be said of it, by whatever file."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.data.examples import picture_below
from edge.data.regions.examples import Talk
from edge.errors import Damaged, EdgeError
from edge.text.pointing import BOX, TOKENS
from edge.vision.boxes import Box
from edge.vision.pictures import Picture, measured, open_picture

LONGEST = 4096  # letters of a text
_SLACK = 1.0  # pixels that a box may leave its picture by: tools round
_MARKS = re.compile("|".join(map(re.escape, (*TOKENS, BOX, "</s>", "<s>", "<unk>"))))
_FORM = "give left, top, right and bottom in pixels: [40, 30, 220, 180]"


@dataclass(frozen=True, slots=True)
class Marked:
    """`outlined`: its boxes are of all that has an outline, named or not; else of what has a name. `width`, `height`:
    upright.
    """

    file: Path
    where: str
    width: int
    height: int
    boxes: tuple[Box, ...]
    names: tuple[str, ...]
    talks: tuple[Talk, ...] = ()
    outlined: bool = False

    def picture(self) -> Picture:
        found = open_picture(self.file)
        if (found.width, found.height) != (self.width, self.height):
            raise EdgeError(
                f"{self.file} was {self.width} x {self.height} and is {found.width} x {found.height}",
                fix="leave pictures as they are while a run reads them",
            )
        return found


def opened(source: Path, name: Any, where: str) -> tuple[Path, int, int]:
    """A picture that lies with `source`, or below, and its size; of a line or an entry of it."""
    if not isinstance(name, str) or not name:
        raise Damaged(f"{where} names no picture", fix='give its file: "street/1.jpg"')
    try:
        file = picture_below(source, name, where)
    except OSError as error:  # a name that no disk takes
        raise Damaged(f"{where}: {name!r:.80}: {error.strerror}", fix="correct its name") from None
    return file, *measured(file)


def text(value: Any, what: str, where: str) -> str:
    """What someone says of a picture; refuses marks of a model's own."""
    if not isinstance(value, str) or not value.strip():
        raise Damaged(f"{where}: {what} is no text", fix="correct the line, or remove it")
    if len(value) > LONGEST:
        raise Damaged(f"{where}: {what} has {len(value)} letters", fix=f"give {LONGEST} at most")
    mark = _MARKS.search(value)
    if mark:
        raise Damaged(
            f"{where}: {what} holds {mark[0]}, which stands for something else", fix="leave it out"
        )
    return value


def box(value: Any, size: tuple[int, int], where: str) -> Box:
    """Corners in pixels, within a picture of this width and height; refuses what is none, or has no area."""
    if not isinstance(value, list) or len(value) != 4 or not all(map(_number, value)):
        raise Damaged(f"{where}: {value!r:.80} is no box", fix=_FORM)
    left, top, right, bottom = map(float, value)
    if left >= right or top >= bottom:
        raise Damaged(f"{where}: {value!r:.80} ends before it begins", fix=_FORM)
    return within((left, top, right, bottom), size, where)


def within(found: Box, size: tuple[int, int], where: str) -> Box:
    """A box whose sides lie in a picture, but for what rounding makes."""
    (left, top, right, bottom), (width, height) = found, size
    if min(left, top) < -_SLACK or right > width + _SLACK or bottom > height + _SLACK:
        raise Damaged(
            f"{where}: the box {left:g}, {top:g}, {right:g}, {bottom:g} leaves its picture of {width} x {height}",
            fix="give pixels of the picture as it is seen, upright and whole",
        )
    return max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height))


def numbers(value: Any, where: str) -> Sequence[Any]:
    """A list that is not empty."""
    if not isinstance(value, list) or not value:
        raise Damaged(f"{where} is no list", fix="correct the line, or remove it")
    return value


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
