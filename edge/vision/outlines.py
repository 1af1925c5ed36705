"""Boxes drawn on a picture, to look at."""

import io
from collections.abc import Sequence

import numpy as np

from edge.typing import U8
from edge.vision.boxes import Box
from edge.vision.drawing import Colour
from edge.vision.pictures import need_pillow

COLOURS: tuple[Colour, ...] = (
    (255, 60, 60),
    (60, 220, 90),
    (80, 130, 255),
    (255, 200, 40),
    (230, 90, 230),
)


def outlined(rgb: U8, boxes: Sequence[Box], *, thick: int = 1) -> U8:
    """A picture [H, W, 3] with the edges of boxes, `thick` pixels each, in colours one after another; what lies outside
    is left out.
    """
    out = np.array(rgb)
    height, width = out.shape[:2]
    for number, box in enumerate(boxes):
        left, top, right, bottom = (round(side) for side in box)
        inner = left + thick, top + thick, right - thick, bottom - thick
        edge = np.zeros((height, width), bool)
        edge[max(0, top) : max(0, bottom), max(0, left) : max(0, right)] = True
        edge[max(0, inner[1]) : max(0, inner[3]), max(0, inner[0]) : max(0, inner[2])] = False
        out[edge] = COLOURS[number % len(COLOURS)]
    return out


def png(rgb: U8) -> bytes:
    """A picture [H, W, 3] as a file."""
    need_pillow()
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "PNG")
    return out.getvalue()
