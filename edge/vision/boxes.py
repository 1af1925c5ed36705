"""Boxes in a picture: what a user writes, what networks compute, and what both mean in pixels.

A `Box` is x1, y1, x2, y2 in pixels of the upright picture, whose corner is 0, 0 and whose far corner is its width and
height. Networks take and give the middle, width and height as parts of the picture's: [N, 4].
"""

import re
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from edge.errors import EdgeError
from edge.typing import F32, F64

Floats = TypeVar("Floats", F32, F64)
Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels
LEAST = 2  # pixels of a side of a user's box; by it 0,0,1,1 is none, which means a whole picture elsewhere
_NUMBER = re.compile(
    r"-?[0-9]{1,9}(\.[0-9]{1,9})?"
)  # no nan, no exponent, no digits of other scripts
_FORM = "write left, top, right and bottom in pixels, as --box 40,30,220,180"


def read_box(text: str) -> Box:
    """A box that a user wrote as `x1,y1,x2,y2`; EdgeError for one of another form, inverted or of no area. Whether a
    picture has room for it is `fit`'s.
    """
    words = [word.strip() for word in text.split(",")]
    if len(words) != 4 or not all(_NUMBER.fullmatch(word) for word in words):
        raise EdgeError(f"--box {text!r:.80} is no box", fix=_FORM)
    left, top, right, bottom = map(float, words)
    if left > right or top > bottom:
        raise EdgeError(f"--box {text!r:.80} ends before it begins", fix=_FORM)
    if min(right - left, bottom - top) < LEAST:
        parts = max(right, bottom) <= 1 and min(left, top) >= 0
        why = "they are pixels, not parts of the picture; " if parts else ""
        raise EdgeError(
            f"--box {text!r:.80} has a side of less than {LEAST} pixels", fix=why + _FORM
        )
    return left, top, right, bottom


def fit(boxes: Sequence[Box], width: int, height: int, *, most: int) -> None:
    """Refuse boxes of a user that are none, or that a picture of this size has no room for, and more than `most` of
    them.
    """
    if len(boxes) > most:
        raise EdgeError(f"{len(boxes)} boxes are given", fix=f"give {most} at most")
    for left, top, right, bottom in boxes:
        if not (right - left >= LEAST and bottom - top >= LEAST):  # so is none of what is no number
            raise EdgeError(
                f"the box {left:g},{top:g},{right:g},{bottom:g} has a side of less than {LEAST} pixels",
                fix=_FORM,
            )
        if min(left, top) < 0 or right > width or bottom > height:
            raise EdgeError(
                f"the box {left:g},{top:g},{right:g},{bottom:g} leaves the picture, which is {width} x {height}",
                fix=f"stay within 0,0,{width},{height}, counted as the picture is seen, upright",
            )


def corners(boxes: F32) -> F32:
    """Middles and sizes [N, 4] -> left, top, right, bottom."""
    middle, half = boxes[:, :2], boxes[:, 2:] * np.float32(0.5)
    return np.concatenate([middle - half, middle + half], axis=1)


def in_parts(boxes: Sequence[Box], width: int, height: int) -> F32:
    """Pixels -> middles and sizes [N, 4] as parts of the picture."""
    given = np.array(boxes, np.float64).reshape(-1, 4) / (width, height, width, height)
    low, high = given[:, :2], given[:, 2:]
    return np.concatenate([(low + high) / 2, high - low], axis=1).astype(np.float32)


def in_pixels(boxes: F32, width: int, height: int) -> list[Box]:
    """Middles and sizes [N, 4] as parts of the picture -> pixels, cut where they leave the picture, as boxes of a
    network may.
    """
    sides = np.array((width, height, width, height), np.float64)
    cut = np.clip(corners(boxes), 0, 1) * sides
    return [(left, top, right, bottom) for left, top, right, bottom in cut.tolist()]


def overlaps(some: Floats, others: Floats) -> Floats:
    """Corners [N, 4] and [M, 4] -> the shares [N, M] of their unions that they have in common; of two without area
    it is 0.
    """
    low = np.maximum(some[:, None, :2], others[None, :, :2])
    high = np.minimum(some[:, None, 2:], others[None, :, 2:])
    common = np.prod(np.maximum(high - low, 0), axis=2)
    first, second = (np.prod(b[:, 2:] - b[:, :2], axis=1) for b in (some, others))
    union = first[:, None] + second[None, :] - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)
