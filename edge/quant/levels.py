"""Levels that a method has of its own: a code is the nearest of them, in units of its group's scale, at
which the value of largest magnitude has a level of largest magnitude.

N rows, K columns, J groups, E = 2^bits levels.
"""

import numpy as np

from edge.quant.kmeans import nearest
from edge.quant.rtn import in_groups, inverse
from edge.quant.tensor import QTensor, Scheme, rounded
from edge.typing import F32


def quantize(weights: F32, scheme: Scheme, *, levels: tuple[float, ...]) -> QTensor:
    """weights [N, K] -> codes [N, J group] and scales [N, J]; scales and levels are rounded first."""
    assert len(levels) == 1 << scheme.bits
    grouped = in_groups(weights, scheme)
    units = rounded(np.array(levels, np.float32), scheme.number)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # NaN shows in the scales
        largest = np.abs(grouped).max(axis=2) / np.abs(units).max()
        scales = rounded(largest, scheme.number)  # [N, J]
        codes = nearest(grouped * inverse(scales)[:, :, None], units)
    return QTensor(codes.reshape(len(codes), -1), scales, scheme, weights.shape[1], levels=units)
