"""Laws of preparations: what comes out has the size that was asked for, whatever goes in."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("PIL")

from edge.vision import preparation as made
from edge.vision.pictures import Picture
from edge.vision.preparation import Preparation, at_size, prepare, resized_size, size_of

KNOWN = (made.CATLIP_224, made.CATLIP_512, made.VIT, made.DINOV2, made.INTERNVIT)
sides = st.integers(1, 90)


def picture(height: int, width: int) -> Picture:
    rng = np.random.default_rng(height * 100 + width)
    return Picture(rgb=rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


@given(st.sampled_from(KNOWN), sides, sides, sides, sides)
def test_any_picture_becomes_the_size_that_a_network_takes(
    known: Preparation, height: int, width: int, rows: int, columns: int
) -> None:
    asked = at_size(known, (rows, columns))
    assert size_of(asked) == (rows, columns)
    if not (isinstance(asked.resize, int) and rows != columns):  # a shortest side fits a square
        assert prepare(picture(height, width), asked).shape == (rows, columns, 3)


@given(st.sampled_from(KNOWN), sides, sides)
def test_values_lie_between_black_and_white(known: Preparation, height: int, width: int) -> None:
    asked = at_size(known, (24, 24))
    out = prepare(picture(height, width), asked)
    ends = [
        (np.float32(byte * asked.scale) - np.float32(asked.mean)) / np.float32(asked.std)
        for byte in (0, 255)
    ]
    assert (out >= ends[0] - 1e-5).all()
    assert (out <= ends[1] + 1e-5).all()


@given(sides, sides, sides)
def test_the_shortest_side_is_as_asked_and_the_other_keeps_the_shape(
    height: int, width: int, short: int
) -> None:
    found = resized_size((height, width), short)
    assert min(found) == short
    assert abs(found[0] * width - found[1] * height) < max(height, width)


@given(st.sampled_from(KNOWN), sides, sides)
def test_one_colour_stays_one_colour(known: Preparation, height: int, width: int) -> None:
    """Whatever is resized and cut: nothing comes from outside."""
    asked = replace(at_size(known, (20, 20)), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    flat = Picture(rgb=np.full((height, width, 3), 77, np.uint8))
    np.testing.assert_allclose(prepare(flat, asked), 77 * asked.scale, rtol=1e-6)
