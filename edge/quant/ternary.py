"""Ternary weights: -s, 0 or s, with one s of each group, as some models are trained to have them (arXiv 2402.17764).
Those of such a model are kept as they are; of others, the largest in a group become s, as many as make the squares
of errors least, and s is their mean (TWN, arXiv 1605.04711, without its assumption of how weights lie).

Codes are those of two bits whose middle is zero, of which the lowest is never used. N rows, K columns.
"""

import numpy as np

from edge.quant.bounds import by_size
from edge.quant.methods import Method, grid
from edge.quant.rtn import in_groups
from edge.quant.tensor import QTensor, Scheme, rounded
from edge.typing import F32

_ZERO = 2  # its code


@np.errstate(invalid="ignore", over="ignore")  # NaN shows in the scales
def quantize(weights: F32, scheme: Scheme) -> QTensor:
    """weights [N, K] -> codes and scales."""
    grouped = in_groups(weights, scheme)
    sizes = np.abs(grouped)
    falling = -np.sort(-sizes, axis=2)
    sums = np.cumsum(falling, axis=2, dtype=np.float64)
    counts = np.arange(1, sums.shape[2] + 1)
    # k of them at their mean leave all squares but (their sum)^2 / k.
    best = np.argmax(np.square(sums) / counts, axis=2)[:, :, None]
    scales = (np.take_along_axis(sums, best, axis=2) / (best + 1))[:, :, 0]
    least = np.take_along_axis(falling, best, axis=2)
    kept = (sizes >= least) & (sizes > 0)
    codes = (_ZERO + np.sign(grouped) * kept).astype(np.uint8).reshape(len(weights), -1)
    made = rounded(scales.astype(np.float32), scheme.number)
    return QTensor(codes, made, scheme, weights.shape[1])


_SCHEMES = grid("ternary", bits=(2,), zeros=("middle",))
METHOD = Method(
    name="ternary",
    schemes=_SCHEMES,
    quantize=quantize,
    bound=by_size,
    group=128,
    names={
        f"ternary-g{scheme.group}{'' if scheme.number == 'fp32' else f'-{scheme.number}'}": scheme
        for scheme in _SCHEMES
    },
)
