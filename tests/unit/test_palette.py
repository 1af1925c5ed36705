"""Colours that stay apart, by another measure than the one that chose them: CIE's of 1976."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.vision.palette import BLACK, WHITE, Colour, colours, contrast, ink, oklab

BYTE = st.integers(0, 255)


def cielab(colour: Colour) -> np.ndarray:
    """CIE 15, for sRGB and its white, D65."""
    parts = [c / 255 for c in colour]
    light = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    xyz = (
        np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
        @ np.array(light)
        / (0.9505, 1.0, 1.089)
    )
    x, y, z = (t ** (1 / 3) if t > (6 / 29) ** 3 else t / (3 * (6 / 29) ** 2) + 4 / 29 for t in xyz)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def nearest(some: tuple[Colour, ...]) -> float:
    lab = [cielab(colour) for colour in some]
    return min(float(np.linalg.norm(a - b)) for i, a in enumerate(lab) for b in lab[:i])


@pytest.mark.parametrize(("count", "apart"), [(4, 80), (8, 40), (12, 25), (20, 15), (100, 6)])
def test_they_stay_apart(count: int, apart: float) -> None:
    """One that is 2.3 away is just noticed."""
    assert nearest(colours(count)) > apart


def test_more_of_them_begin_with_the_same() -> None:
    assert colours(100)[:7] == colours(7)
    assert len(set(colours(100))) == 100
    assert colours(1) == colours(2)[:1]


def test_neither_black_nor_white_nor_gray() -> None:
    for colour in colours(100):
        light, *hue = cielab(colour)
        assert 35 < light < 90
        assert np.hypot(*hue) > 15


@given(BYTE, BYTE, BYTE)
def test_ink_is_legible_on_anything(red: int, green: int, blue: int) -> None:
    ground = (red, green, blue)
    assert contrast(ink(ground), ground) >= 4.5
    assert ink(ground) in (BLACK, WHITE)


def test_known_contrasts() -> None:
    """Of WCAG's own examples: 21 at most, and #767676 is the lightest gray that is legible on white."""
    assert contrast(BLACK, WHITE) == contrast(WHITE, BLACK) == pytest.approx(21)
    assert contrast(BLACK, BLACK) == 1
    assert contrast((0x76,) * 3, WHITE) == pytest.approx(4.54, abs=0.005)
    assert contrast((0x77,) * 3, WHITE) == pytest.approx(4.48, abs=0.005)


def test_known_places_in_oklab() -> None:
    """White, black, and sRGB's red as its author gives them."""
    found = oklab(np.array([WHITE, BLACK, (255, 0, 0)], np.float64))
    want = [[1, 0, 0], [0, 0, 0], [0.6280, 0.2249, 0.1258]]
    np.testing.assert_allclose(found, want, atol=1e-4)
