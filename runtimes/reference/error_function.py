"""erf of arrays: numpy has none, and a call of Python's own for each number takes several times as long.

From the nearest of points that lie close, by the first terms of its Taylor series: erf' = 2 / root(pi) exp(-x x),
erf'' = -2 x erf'. The third, which is left out, is less than 1e-12.
"""

import math
from functools import cache
from typing import Any

import numpy as np

_END = 6.0  # from here on it is 1 in float64
_POINTS = 4096  # a unit


def erf(x: Any) -> Any:
    """Element by element, in float64."""
    x = np.asarray(x, np.float64)
    values, slopes = _table()
    size = np.minimum(np.abs(x), _END) * _POINTS
    places = np.rint(np.nan_to_num(size))
    at, step = places.astype(np.int32), (size - places) / _POINTS
    found = values[at] + slopes[at] * step * (1 - places / _POINTS * step)
    return np.copysign(found, x)


@cache
def _table() -> tuple[Any, Any]:
    points = np.arange(int(_END * _POINTS) + 1) / _POINTS
    values = np.array([math.erf(point) for point in points])
    return values, 2 / math.sqrt(math.pi) * np.exp(-points * points)
