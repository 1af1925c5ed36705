"""Where the labels of boxes go: within the picture, at their boxes, and not over each other where that can be.

Places and sizes are whole pixels.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from edge.typing import I64
from edge.vision.boxes import Box

Size = tuple[int, int]  # width, height
Place = tuple[int, int]  # left, top


def place(
    boxes: Sequence[Box], sizes: Sequence[Size], width: int, height: int
) -> list[Place | None]:
    """Of each box's label of this size its upper left corner; None where it is larger than the picture.

    Earlier ones have the choice: above the box, inside, below, then anywhere near that is free. Only where nothing
    is does a label cover others, or boxes so small that it hides them, and as little of both as it can at its box.
    """
    within = np.array(boxes, np.float64).reshape(-1, 4).round().astype(np.int64)
    taken = np.zeros((0, 4), np.int64)
    out: list[Place | None] = []
    for box, (wide, high) in zip(boxes, sizes, strict=True):
        if wide > width or high > height:
            out.append(None)
            continue
        room = (width - wide, height - high)
        small = (within[:, 2:] - within[:, :2] <= (wide, high)).all(axis=1)
        at = _free(box, (wide, high), room, np.concatenate([taken, within[small]]))
        out.append(at)
        taken = np.concatenate([taken, [[*at, at[0] + wide, at[1] + high]]])
    return out


def _free(box: Box, size: Size, room: Place, taken: I64) -> Place:
    """The first free one of the usual places, else the nearest that is free at all."""
    usual = np.array(list(_usual(box, size, room)), np.int64)
    across, down = (_common(usual[:, i], size[i], taken[:, i::2]) for i in (0, 1))
    covered = (across * down).sum(axis=1)
    if covered.min() > 0:
        # A free place can be moved left and up until it touches something: none is missed among these.
        left, top = (_edges(usual[:, i], size[i], taken[:, i::2], room[i]) for i in (0, 1))
        # As floats, which are exact up to 2^53: sums of integers take twenty times as long.
        covers = [
            _common(at, size[i], taken[:, i::2]).astype(np.float64)
            for i, at in enumerate((left, top))
        ]
        free = np.argwhere(covers[0] @ covers[1].T == 0)
        if len(free):
            usual = np.stack([left[free[:, 0]], top[free[:, 1]]], axis=1)
            covered = np.abs(usual - [box[0], box[1]]).sum(axis=1)
    x, y = usual[covered.argmin()].tolist()
    return x, y


def _edges(usual: I64, size: int, taken: I64, room: int) -> I64:
    """Along an axis, places that touch what is taken or the picture's edge, and the usual ones."""
    return np.unique(np.concatenate([usual, taken[:, 1], taken[:, 0] - size, [0]]).clip(0, room))


def _usual(box: Box, size: Size, room: Place) -> Iterator[Place]:
    """Above, inside, below and at the foot, each at the left and at the right; beside, within the picture."""
    left, top, right, bottom = (round(side) for side in box)
    wide, high = size
    columns, rows = (left, right - wide), (top - high, top, bottom, bottom - high)
    places = [(x, y) for y in rows for x in columns]
    for x, y in [*places, (right, top), (left - wide, top)]:
        yield min(max(x, 0), room[0]), min(max(y, 0), room[1])


def _common(at: I64, size: int, taken: I64) -> I64:
    """Pixels of an axis that something of this size has at each place [N] in common with what is taken, from here to
    there [M, 2] -> [N, M].
    """
    low = np.maximum(at[:, None], taken[:, 0])
    high = np.minimum(at[:, None] + size, taken[:, 1])
    return np.maximum(high - low, 0)
