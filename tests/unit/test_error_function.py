"""The oracle's erf against Python's own."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_runtimes.reference.error_function import erf


@given(st.lists(st.floats(allow_nan=False, allow_subnormal=True), min_size=1, max_size=50))
def test_it_is_pythons(numbers: list[float]) -> None:
    want = [math.erf(number) for number in numbers]
    np.testing.assert_allclose(erf(numbers), want, rtol=0, atol=2e-12)


def test_it_is_pythons_between_all_of_its_points() -> None:
    points = np.linspace(-7, 7, 100_003)
    want = [math.erf(point) for point in points]
    np.testing.assert_allclose(erf(points), want, rtol=0, atol=2e-12)
    assert np.isnan(erf([math.nan])).all()
