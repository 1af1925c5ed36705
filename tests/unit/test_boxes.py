"""Boxes that users write, and boxes of networks, against exact fractions."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import EdgeError
from edge.vision.boxes import Box, corners, fit, in_parts, in_pixels, overlaps, read_box

SIDES = st.integers(1, 40_000)
PARTS = st.floats(0, 1, width=32)


def exact_overlap(a: list[Fraction], b: list[Fraction]) -> Fraction:
    """Of two boxes by their corners, in fractions."""
    wide = max(min(a[2], b[2]) - max(a[0], b[0]), Fraction(0))
    high = max(min(a[3], b[3]) - max(a[1], b[1]), Fraction(0))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - wide * high
    return wide * high / union if union else Fraction(0)


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("40,30,220,180", (40, 30, 220, 180)),
        (" 0 , 0.5 ,2.25, 3 ", (0, 0.5, 2.25, 3)),
        ("-5,0,1,2", (-5, 0, 1, 2)),  # of which `fit` says which picture it leaves
    ],
)
def test_what_is_a_box(text: str, box: Box) -> None:
    assert read_box(text) == box


@pytest.mark.parametrize(
    "text",
    [
        *("", ",", "1,2,3", "1,2,3,4,5", "[1,2,3,4]", "1 2 3 4", "a,b,c,d", "the red cup"),
        *("nan,0,9,9", "0,0,inf,9", "0,0,1e3,9", "0,0,1_0,9", "0,0,0x9,9", "0,0,٩,٩", "0,0,9,９"),
        *("0,0,9999999999,9", "0,0," + "9" * 5000 + ",9", "0,0,9\x1b[2J,9", "+1,2,3,4"),
        # DeepSeek-VL2#96: numbers that a model nested, or left out
        *("[245,[234,543,542,244]]", "533,132,457"),
    ],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(EdgeError, match="is no box") as caught:
        read_box(text)
    assert "--box 40,30,220,180" in caught.value.fix
    assert len(str(caught.value)) < 400
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("text", ["9,0,3,9", "0,9,9,3"])
def test_an_inverted_box_is_refused(text: str) -> None:
    """Pillow#8149: others find it out when they draw."""
    with pytest.raises(EdgeError, match="ends before it begins"):
        read_box(text)


@pytest.mark.parametrize("text", ["5,5,5,9", "5,5,9,5", "5,5,5,5", "7,7,8.9,90"])
def test_a_box_of_no_area_is_refused(text: str) -> None:
    """docling-core#454: a side of none crashed long after it was given."""
    with pytest.raises(EdgeError, match="less than 2 pixels") as caught:
        read_box(text)
    assert "parts" not in caught.value.fix


@pytest.mark.parametrize("text", ["0.2752,0.3756,0.4713,0.7727", "0,0,1,1", "0,0,0,0"])
def test_parts_of_the_picture_are_told_apart(text: str) -> None:
    """Groma#30: it was asked with numbers from 0 to 1."""
    with pytest.raises(EdgeError, match="less than 2 pixels") as caught:
        read_box(text)
    assert "pixels, not parts" in caught.value.fix


def test_a_box_may_fill_the_picture() -> None:
    """yolov5#3287: the far edge is the width, one more than the last pixel's number."""
    fit([(0, 0, 640, 480)], 640, 480, most=1)
    assert in_parts([(0, 0, 640, 480)], 640, 480).tolist() == [[0.5, 0.5, 1, 1]]


@pytest.mark.parametrize("box", [(-1, 0, 9, 9), (0, -0.5, 9, 9), (0, 0, 641, 9), (0, 0, 9, 480.5)])
def test_a_box_stays_within_the_picture(box: Box) -> None:
    with pytest.raises(EdgeError, match="640 x 480") as caught:
        fit([(0, 0, 5, 5), box], 640, 480, most=9)
    assert "0,0,640,480" in caught.value.fix


def test_so_many_boxes_and_no_more() -> None:
    fit([], 640, 480, most=0)
    fit([(0, 0, 5, 5)] * 3, 640, 480, most=3)
    with pytest.raises(EdgeError, match="4 boxes"):
        fit([(0, 0, 5, 5)] * 4, 640, 480, most=3)


@given(SIDES, SIDES, st.lists(st.tuples(PARTS, PARTS, PARTS, PARTS), max_size=5))
def test_pixels_and_back(width: int, height: int, some: list[Box]) -> None:
    boxes = [
        (min(a, c) * width, min(b, d) * height, max(a, c) * width, max(b, d) * height)
        for a, b, c, d in some
    ]
    parts = in_parts(boxes, width, height)
    assert parts.shape == (len(boxes), 4)
    assert parts.dtype == np.float32
    found = np.array(in_pixels(parts, width, height)).reshape(-1, 4)
    np.testing.assert_allclose(
        found, np.array(boxes).reshape(-1, 4), atol=2e-7 * max(width, height)
    )


def test_a_network_s_box_is_cut_at_the_edge() -> None:
    outside = np.array([[0.0, 0.5, 0.5, 2.0], [1.5, 0.5, 0.2, 0.2]], np.float32)
    assert in_pixels(outside, 200, 100) == [
        (0, 0, 50, 100),
        (200, pytest.approx(40), 200, pytest.approx(60)),
    ]


NUMBERS = st.integers(0, 64)


@given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS), min_size=2, max_size=6))
def test_overlaps_are_exact(some: list[tuple[int, int, int, int]]) -> None:
    """Of middles and sizes in 64ths, which float32 holds: no area, inside one another and apart among them."""
    boxes = np.array(some, np.float32) / 64
    whole = [[Fraction(n, 64) for n in row] for row in some]
    exact = [[x - w / 2, y - h / 2, x + w / 2, y + h / 2] for x, y, w, h in whole]
    found = overlaps(corners(boxes), corners(boxes))
    want = [[float(exact_overlap(a, b)) for b in exact] for a in exact]
    np.testing.assert_allclose(found, want, atol=1e-6)


def test_boxes_without_area_have_nothing_in_common() -> None:
    """torchvision#1870: 0 / 0 would be no number, and is compared with a limit."""
    point = np.zeros((1, 4), np.float32)
    assert overlaps(point, point).tolist() == [[0]]
    none = np.zeros((0, 4), np.float32)
    assert overlaps(none, point).shape == (0, 1)
    assert overlaps(point, none).shape == (1, 0)
