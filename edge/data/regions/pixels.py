"""Which pixels a thing has: shapes by their equations, letters and digits by a grid of five by seven, textures by where
a pixel is. True or false each, with nothing between: so that a box bounds exactly what was painted.

H and W are the height and width of what a thing is drawn in.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from edge.data.regions.things import Texture
from edge.typing import F64

Mask = NDArray[np.bool_]
COLUMNS, ROWS = 5, 7  # of a letter
_THICK = 0.36  # half the width of a cross's arms, in parts of half of its side
_HOLE = 0.62  # of a ring: how far its inside reaches
HOLE = _HOLE / math.sqrt(2)  # the half side of a square that fits in there
_POINTS, _INNER = 5, 0.45  # of a star: how far in it goes between two points

_GLYPHS: Mapping[str, str] = {
    "0": "01110 10001 10011 10101 11001 10001 01110",
    "1": "00100 01100 00100 00100 00100 00100 01110",
    "2": "01110 10001 00001 00010 00100 01000 11111",
    "3": "11110 00001 00001 01110 00001 00001 11110",
    "4": "00010 00110 01010 10010 11111 00010 00010",
    "5": "11111 10000 11110 00001 00001 10001 01110",
    "6": "00110 01000 10000 11110 10001 10001 01110",
    "7": "11111 00001 00010 00100 01000 01000 01000",
    "8": "01110 10001 10001 01110 10001 10001 01110",
    "9": "01110 10001 10001 01111 00001 00010 01100",
    "A": "01110 10001 10001 11111 10001 10001 10001",
    "C": "01111 10000 10000 10000 10000 10000 01111",
    "E": "11111 10000 10000 11110 10000 10000 11111",
    "F": "11111 10000 10000 11110 10000 10000 10000",
    "H": "10001 10001 10001 11111 10001 10001 10001",
    "K": "10001 10010 10100 11000 10100 10010 10001",
    "L": "10000 10000 10000 10000 10000 10000 11111",
    "P": "11110 10001 10001 11110 10000 10000 10000",
    "T": "11111 00100 00100 00100 00100 00100 00100",
    "U": "10001 10001 10001 10001 10001 10001 01110",
    "X": "10001 10001 01010 00100 01010 10001 10001",
    "Z": "11111 00001 00010 00100 01000 10000 11111",
}


def mask(kind: str, height: int, width: int) -> Mask:
    """The pixels of a kind of thing that is so large: [H, W]."""
    if kind in _SHAPES:
        v, u = np.meshgrid(_middles(height), _middles(width), indexing="ij")
        return _SHAPES[kind](u, v)
    rows = [[cell == "1" for cell in row] for row in _GLYPHS[kind.rpartition(" ")[2]].split()]
    down, across = (np.arange(n) * parts // n for n, parts in ((height, ROWS), (width, COLUMNS)))
    return np.array(rows)[down][:, across]


def marked(texture: Texture, height: int, width: int) -> Mask:
    """Where a texture has its second colour: [H, W]."""
    y, x = np.indices((height, width))
    step = max(2, min(height, width) // 8)  # of its smallest part
    return _TEXTURES[texture](x // step, y // step)


def blob(points: F64, height: int, width: int) -> Mask:
    """Some discs together, which no word is for: middles and radii [N, 3] in parts of half a side, and [H, W]."""
    v, u = np.meshgrid(_middles(height), _middles(width), indexing="ij")
    inside = [np.hypot(u - x, v - y) <= radius for x, y, radius in points]
    return np.logical_or.reduce(inside)


def bounds(pixels: Mask) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the pixels that are true: the least box that has them all."""
    rows, columns = (np.flatnonzero(pixels.any(axis)) for axis in (1, 0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _middles(count: int) -> F64:
    """Of pixels, from -1 to 1."""
    found: F64 = (np.arange(count) + 0.5) / count * 2 - 1
    return found


def _star(u: F64, v: F64) -> Mask:
    """Between two of its points a star's edge is a line from one radius to another."""
    turn = 2 * math.pi / _POINTS
    angle = np.arctan2(u, -v) % turn  # from a point to the next
    angle = np.minimum(angle, turn - angle)
    x, y = np.hypot(u, v) * np.cos(angle), np.hypot(u, v) * np.sin(angle)
    inner = _INNER * math.cos(turn / 2), _INNER * math.sin(turn / 2)
    return (x - 1) * inner[1] <= y * (inner[0] - 1)


_SHAPES: Mapping[str, Callable[[F64, F64], Mask]] = {
    "circle": lambda u, v: u**2 + v**2 <= 1,
    "square": lambda u, v: np.ones(u.shape, bool),
    "triangle": lambda u, v: 2 * np.abs(u) <= v + 1,
    "star": _star,
    "cross": lambda u, v: np.minimum(np.abs(u), np.abs(v)) <= _THICK,
    "diamond": lambda u, v: np.abs(u) + np.abs(v) <= 1,
    "ring": lambda u, v: (u**2 + v**2 <= 1) & (u**2 + v**2 >= _HOLE**2),
}
_TEXTURES: Mapping[Texture, Callable[[NDArray[np.int64], NDArray[np.int64]], Mask]] = {
    "plain": lambda x, y: np.zeros(x.shape, bool),
    "striped": lambda x, y: y % 3 == 1,
    "spotted": lambda x, y: (x % 3 == 1) & (y % 3 == 1),
    "checked": lambda x, y: (x + y) % 2 == 1,
}
