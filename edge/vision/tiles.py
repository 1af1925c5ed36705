"""Tiles of a picture as InternVL 1.5 cuts it (arXiv 2404.16821, 3.2): a grid whose shape is nearest to the
picture's, tiles row by row, and the whole picture once more, small, where there is more than one tile.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import inf

import numpy as np

from edge.errors import EdgeError
from edge.typing import U8
from edge.vision.pictures import Picture
from edge.vision.preparation import Filter, resized

MOST = 40  # tiles, that a user may ask for: the paper's own largest


@dataclass(frozen=True, slots=True)
class Grid:
    columns: int
    rows: int

    @property
    def cells(self) -> int:
        return self.columns * self.rows

    @property
    def tiles(self) -> int:
        """Of the grid, and the small picture after them."""
        return self.cells + 1 if self.cells > 1 else 1


def grid_of(width: int, height: int, *, side: int, most: int) -> Grid:
    """The grid of at most so many tiles of `side` pixels whose shape is nearest to the picture's. Of two
    grids of one shape the larger is taken if the picture has more than half of its pixels.
    """
    if not 1 <= most <= MOST:
        raise EdgeError(f"at most {most} tiles", fix=f"give 1 to {MOST}")
    # Floats, as the reference compares them: what is near in them decides.
    shape, area = width / height, width * height
    best, nearest = Grid(1, 1), inf
    for grid in grids(most):
        apart = abs(shape - grid.columns / grid.rows)
        if apart < nearest:
            best, nearest = grid, apart
        elif apart == nearest and area > 0.5 * side * side * grid.cells:
            best = grid
    return best


@cache
def grids(most: int) -> tuple[Grid, ...]:
    """Every grid of 1 to so many tiles, the fewest tiles first."""
    every = itertools.product(range(1, most + 1), repeat=2)
    found = [Grid(columns, rows) for columns, rows in every if columns * rows <= most]
    return tuple(sorted(found, key=lambda grid: grid.cells))


def grid_with(count: int) -> Grid:
    """Of the grids of exactly so many tiles, the small picture among them, the one nearest to a square."""
    every = [grid for grid in grids(MOST) if grid.tiles == count]
    if not every:
        raise EdgeError(
            f"no picture is cut into {count} tiles",
            fix=f"give 1, or 3 to {MOST + 1}: the small picture is one of them",
        )
    return min(every, key=lambda grid: abs(grid.columns - grid.rows))


def noise(grid: Grid, *, side: int, seed: int) -> Picture:
    """A picture that is cut into just this grid of tiles of `side` pixels, if at most so many are allowed."""
    size = (grid.rows * side, grid.columns * side, 3)
    return Picture(rgb=np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8))


def tiles(picture: Picture, grid: Grid, *, side: int, how: Filter = "bicubic") -> Iterator[U8]:
    """Each tile [side, side, 3], row by row, the small picture last; the picture is stretched to the grid."""
    whole = resized(picture.rgb, (grid.rows * side, grid.columns * side), how)
    for row, column in itertools.product(range(grid.rows), range(grid.columns)):
        part = whole[row * side : (row + 1) * side, column * side : (column + 1) * side]
        yield np.ascontiguousarray(part)
    if grid.tiles > 1:
        yield resized(picture.rgb, (side, side), how)
