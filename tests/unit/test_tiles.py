"""The grid of a picture against golden ones, a slow exact rule, and transformers; its tiles against Pillow."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

pytest.importorskip("PIL", reason="needs '.[vision]'")
from PIL import Image

from edge.errors import EdgeError
from edge.vision.pictures import Picture
from edge.vision.tiles import MOST, Grid, grid_of, grid_with, grids, noise, tiles

SIDE = 448
MAXIMA = (6, 12, 24, 40)
# Of the reference's own code, at most 12 tiles: width, height -> columns, rows.
GOLDEN = {
    (448, 448): (1, 1), (600, 600): (1, 1), (700, 700): (2, 2), (800, 800): (2, 2),
    (1000, 1000): (3, 3), (1024, 1024): (3, 3), (1280, 640): (4, 2), (1920, 1080): (4, 2),
    (1080, 1920): (2, 4), (3000, 1000): (6, 2), (2480, 3508): (2, 3), (1280, 720): (4, 2),
    (640, 480): (4, 3), (400, 300): (4, 3), (800, 1300): (2, 3),
}  # fmt: skip
LATTICE = sorted({1, 2, 3, 7, 31, 199, 200, 201, *range(61, 3001, 101), 2999, 3000})
EXTREME = [(1, 200), (200, 1), (32_768, 164), (164, 32_768), (1, 1), (8192, 8192), (3, 2)]


def slowly(width: int, height: int, most: int) -> tuple[int, int]:
    """The same rule in whole numbers: the nearest shape, then the largest grid of that very shape that the
    picture fills by more than half, and if none, the smallest.
    """
    shape = Fraction(width, height)
    every = [(c, r) for c in range(1, most + 1) for r in range(1, most + 1) if c * r <= most]
    nearest = min(abs(shape - Fraction(c, r)) for c, r in every)
    near = [grid for grid in every if abs(shape - Fraction(*grid)) == nearest]
    near.sort(key=lambda grid: grid[0] * grid[1])
    filled = [g for g in near[1:] if 2 * width * height > SIDE * SIDE * g[0] * g[1]]
    return (filled or near[:1])[-1]


@pytest.mark.parametrize(("size", "want"), GOLDEN.items())
def test_golden_grids(size: tuple[int, int], want: tuple[int, int]) -> None:
    assert grid_of(*size, side=SIDE, most=12) == Grid(*want)


@pytest.mark.parametrize("most", MAXIMA)
def test_every_size_of_a_lattice(most: int) -> None:
    """The order of floats decides nothing that whole numbers do not."""
    for width in LATTICE:
        for height in LATTICE:
            found = grid_of(width, height, side=SIDE, most=most)
            assert (found.columns, found.rows) == slowly(width, height, most), (width, height)
    for width, height in EXTREME:
        found = grid_of(width, height, side=SIDE, most=most)
        assert (found.columns, found.rows) == slowly(width, height, most)


@pytest.mark.parametrize("most", MAXIMA)
def test_grids_are_transformers(most: int) -> None:
    module: Any = pytest.importorskip("transformers.models.got_ocr2.image_processing_pil_got_ocr2")
    for width in LATTICE[::3]:
        for height in LATTICE[::3]:
            want = module.get_optimal_tiled_canvas((height, width), (SIDE, SIDE), 1, most)
            found = grid_of(width, height, side=SIDE, most=most)
            assert (found.columns, found.rows) == tuple(want), (width, height)


def test_there_are_as_many_grids_as_the_reference_has() -> None:
    assert [len(grids(most)) for most in MAXIMA] == [14, 35, 84, 158]


@pytest.mark.parametrize("most", [0, 41, -1])
def test_other_maxima_are_refused(most: int) -> None:
    with pytest.raises(EdgeError, match="tiles"):
        grid_of(10, 10, side=SIDE, most=most)


@pytest.mark.parametrize("size", [(60, 45), (45, 60), (20, 20), (10, 90)])
def test_tiles_are_pillows(size: tuple[int, int]) -> None:
    width, height = size
    rng = np.random.default_rng(width)
    picture = Picture(rgb=rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    grid = grid_of(width, height, side=14, most=12)
    found = list(tiles(picture, grid, side=14))
    assert len(found) == grid.tiles
    image = Image.fromarray(picture.rgb)
    large = image.resize((14 * grid.columns, 14 * grid.rows), Image.Resampling.BICUBIC)
    boxes = [
        (14 * c, 14 * r, 14 * c + 14, 14 * r + 14)
        for r in range(grid.rows)
        for c in range(grid.columns)
    ]
    want = [np.asarray(large.crop(box)) for box in boxes]
    if len(want) > 1:
        want.append(np.asarray(image.resize((14, 14), Image.Resampling.BICUBIC)))
    for got, tile in zip(found, want, strict=True):
        np.testing.assert_array_equal(got, tile)


@pytest.mark.parametrize("count", [1, *range(3, MOST + 2)])
def test_noise_of_so_many_tiles(count: int) -> None:
    grid = grid_with(count)
    assert grid.tiles == count
    picture = noise(grid, side=7, seed=1)
    assert grid_of(picture.width, picture.height, side=7, most=grid.cells) == grid
    assert len(list(tiles(picture, grid, side=7))) == count
    assert (noise(grid, side=7, seed=1).rgb == picture.rgb).all()
    assert (noise(grid, side=7, seed=2).rgb != picture.rgb).any()


def test_the_grid_nearest_to_a_square() -> None:
    assert {(grid.columns, grid.rows) for grid in map(grid_with, (5, 10, 41))} == {
        (2, 2),
        (3, 3),
        (5, 8),
    }


@pytest.mark.parametrize("count", [0, 2, MOST + 2])
def test_no_picture_has_so_many_tiles(count: int) -> None:
    with pytest.raises(EdgeError, match=f"cut into {count} tiles"):
        grid_with(count)
