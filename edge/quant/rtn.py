"""Round to nearest, symmetric, without calibration.

The value of largest magnitude in a group becomes the lowest code exactly, so that all codes are
used on its side: the choice of llama.cpp's Q4_0. N rows, K columns, J groups.
"""

import numpy as np

from edge.quant.tensor import QTensor, Scheme
from edge.typing import F32


@np.errstate(divide="ignore", over="ignore", invalid="ignore")  # NaN shows in the scales
def quantize(weights: F32, scheme: Scheme) -> QTensor:
    """weights [N, K] -> codes and scales; every error is at most half a step but at the clipped
    end, there one step.
    """
    assert scheme.group is not None
    rows, columns = weights.shape
    groups = scheme.groups(columns)
    if columns % scheme.group:
        weights = np.pad(weights, ((0, 0), (0, groups * scheme.group - columns)))
    grouped = weights.reshape(rows, groups, scheme.group)  # [N, J, group]
    half = 1 << (scheme.bits - 1)

    high, low = grouped.max(axis=2), grouped.min(axis=2)  # [N, J]
    scales = np.where(high > -low, high, low) / np.float32(-half)
    inverse = np.where(scales == 0, np.float32(0), np.float32(1) / scales)
    inverse[~np.isfinite(inverse)] = 0  # a group of denormals is a group of zeros

    steps = grouped * inverse[:, :, None]
    np.rint(steps, out=steps)
    steps += half
    np.minimum(steps, 2 * half - 1, out=steps)
    return QTensor(steps.astype(np.uint8).reshape(rows, -1), scales, scheme, columns)
