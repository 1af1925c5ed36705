"""Information calibration (ICQ of IR-QLoRA, arXiv 2402.05445, section 3.2): before a group's weights become
NormalFloat, they are shifted by what makes their codes the most different: of 201 shifts about the group's median, a
tenth of its standard deviation to both sides, the one whose codes have the largest entropy. It is kept, and added back.

The paper rounds shifts and scales once more, to 8 bits; here both have the type that the recipe names. N rows, K
columns, J groups of G columns, S shifts.
"""

import numpy as np
from numpy.typing import NDArray

from edge.quant.bounds import by_shifted_levels
from edge.quant.kmeans import nearest
from edge.quant.methods import Method, grid
from edge.quant.nf4 import LEVELS
from edge.quant.rtn import in_groups, inverse
from edge.quant.tensor import QTensor, Scheme, rounded
from edge.typing import F32, I64

REACH = 0.1  # of the standard deviation
STEPS = 100  # to each side
_AT_ONCE = 1 << 14  # weights
F64 = NDArray[np.float64]


@np.errstate(over="ignore", divide="ignore", invalid="ignore")  # NaN shows in the scales
def quantize(weights: F32, scheme: Scheme) -> QTensor:
    """weights [N, K] -> codes [N, J G], scales and shifts [N, J]."""
    grouped, units = (
        in_groups(weights, scheme),
        rounded(np.array(LEVELS, np.float32), scheme.number),
    )
    rows = max(1, _AT_ONCE // max(1, weights.shape[1]))
    parts = [_shifts(grouped[at : at + rows], units, scheme) for at in range(0, len(grouped), rows)]
    shifts = np.concatenate(parts) if parts else np.zeros(grouped.shape[:2], np.float32)
    apart = grouped - shifts[:, :, None]
    scales = rounded(np.abs(apart).max(axis=2) / units[-1], scheme.number)
    codes = nearest(apart * inverse(scales)[:, :, None], units)
    return QTensor(codes.reshape(len(codes), -1), scales, scheme, weights.shape[1], shifts, units)


def _shifts(grouped: F32, units: F32, scheme: Scheme) -> F32:
    """[N, J, G] -> the shift of each group, [N, J]; of several that are as good, the one nearest to the median."""
    middle, low, high = np.median(grouped, axis=2), grouped.min(axis=2), grouped.max(axis=2)
    step = grouped.std(axis=2, dtype=np.float64) * REACH / STEPS
    places = np.array(sorted(range(-STEPS, STEPS + 1), key=abs), np.float64)
    shifts = rounded((middle + places[:, None, None] * step).astype(np.float32), scheme.number)
    told = _entropy(grouped, shifts, np.maximum(high - shifts, shifts - low), units)
    return np.take_along_axis(shifts, told.argmax(axis=0)[None], 0)[0]


def _entropy(grouped: F32, shifts: F32, sizes: F32, units: F32) -> F64:
    """Of the codes of each group by each shift, [S, N, J], less what is the same for all: how many weights lie above
    the middle of two levels says how many are at each.
    """
    logs, above = _logs(grouped.shape[2]), np.full(shifts.shape, grouped.shape[2])
    out = np.zeros(shifts.shape)
    borders = np.stack([shifts + middle * sizes for middle in (units[1:] + units[:-1]) / 2])
    for more in grouped.shape[2] - _at_most(grouped, borders):
        out -= logs[above - more]
        above = more
    return out - logs[above]


def _at_most(grouped: F32, borders: F32) -> I64:
    """How many weights of its group [N, J, G] are no more than each border [E, S, N, J]."""
    by_group = np.moveaxis(borders, (2, 3), (0, 1))  # [N, J, E, S]
    counts = np.empty(by_group.shape, np.int64)
    for row, group in np.ndindex(grouped.shape[:2]):
        counts[row, group] = np.sort(grouped[row, group]).searchsorted(
            by_group[row, group], side="right"
        )
    return np.moveaxis(counts, (0, 1), (2, 3))


def _logs(count: int) -> F64:
    """n log n, of 0 to so many."""
    each = np.arange(count + 1, dtype=np.float64)
    return each * np.log(np.maximum(each, 1))


METHOD = Method(
    name="icq",
    schemes=grid("icq", bits=(4,), zeros=("shifted",)),
    quantize=quantize,
    bound=by_shifted_levels,
    group=64,
    levels=LEVELS,
)
