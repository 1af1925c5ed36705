"""Round to nearest, without calibration.

With the middle as zero, the value of largest magnitude in a group becomes the lowest code exactly,
so that all codes are used on its side: the choice of llama.cpp's Q4_0. With a zero or a minimum of
its own, a group's codes span from its smallest to its largest value. Scales are rounded to their
type first, codes to them. N rows, K columns, J groups.
"""

import numpy as np

from edge.quant.bounds import by_steps
from edge.quant.methods import Method, grid
from edge.quant.tensor import ROW, QTensor, Scheme, rounded
from edge.typing import F32


@np.errstate(divide="ignore", over="ignore", invalid="ignore")  # NaN shows in the scales
def quantize(weights: F32, scheme: Scheme) -> QTensor:
    """weights [N, K] -> codes and scales; an error is at most half a step, but at the clipped end of a
    symmetric group one step.
    """
    grouped = in_groups(weights, scheme)
    made = {"middle": _middle, "integer": _integer, "minimum": _minimum}[scheme.zero]
    return made(grouped, scheme, weights.shape[1])


def in_groups(weights: F32, scheme: Scheme) -> F32:
    """[N, K] -> [N, J, group]; a short last group is filled with its last value where a minimum is
    sought, else with zeros.
    """
    rows, columns = weights.shape
    width = scheme.width(columns)
    if columns % width:
        mode = "edge" if scheme.zero in ("minimum", "shifted") else "constant"
        weights = np.pad(weights, ((0, 0), (0, -columns % width)), mode=mode)  # type: ignore[call-overload]
    return weights.reshape(rows, -1, width)


def _middle(grouped: F32, scheme: Scheme, columns: int) -> QTensor:
    half = 1 << (scheme.bits - 1)
    high, low = grouped.max(axis=2), grouped.min(axis=2)  # [N, J]
    scales = rounded(np.where(high > -low, high, low) / np.float32(-half), scheme.number)
    steps = grouped * inverse(scales)[:, :, None]
    np.rint(steps, out=steps)
    steps += half
    np.clip(steps, 0, 2 * half - 1, out=steps)
    return QTensor(steps.astype(np.uint8).reshape(len(steps), -1), scales, scheme, columns)


def _integer(grouped: F32, scheme: Scheme, columns: int) -> QTensor:
    most = (1 << scheme.bits) - 1
    high = np.maximum(grouped.max(axis=2), 0)  # zero is always among the values
    low = np.minimum(grouped.min(axis=2), 0)
    scales = rounded((high - low) / np.float32(most), scheme.number)
    inverted = inverse(scales)
    zeros = np.clip(np.rint(-low * inverted), 0, most)
    steps = np.rint(grouped * inverted[:, :, None]) + zeros[:, :, None]
    np.clip(steps, 0, most, out=steps)
    codes = steps.astype(np.uint8).reshape(len(steps), -1)
    return QTensor(codes, scales, scheme, columns, zeros.astype(np.uint8))


def _minimum(grouped: F32, scheme: Scheme, columns: int) -> QTensor:
    most = (1 << scheme.bits) - 1
    low = grouped.min(axis=2)
    scales = rounded((grouped.max(axis=2) - low) / np.float32(most), scheme.number)
    low = rounded(low, scheme.number)
    steps = np.rint((grouped - low[:, :, None]) * inverse(scales)[:, :, None])
    np.clip(steps, 0, most, out=steps)
    return QTensor(steps.astype(np.uint8).reshape(len(steps), -1), scales, scheme, columns, low)


def inverse(scales: F32) -> F32:
    """1 / scale; 0 for a group of zeros, and for one of denormals, which becomes zeros."""
    out = np.where(scales == 0, np.float32(0), np.float32(1) / scales)
    out[~np.isfinite(out)] = 0
    return out


METHOD = Method(
    name="rtn",
    schemes=(
        *grid("rtn", bits=(2, 3, 4, 5, 6, 8)),
        *grid("rtn", bits=(8,), groups=(ROW,), zeros=("middle",)),
    ),
    quantize=quantize,
    bound=by_steps,
)
