"""AWQ (arXiv 2306.00978): columns whose inputs are large are multiplied before weights are rounded, and what they
multiply is divided (`edge.quant.balance`), so that what matters is rounded finer. By how much is tried: a power of
the inputs' mean size, the same for all matrices of one input, and the best of them is kept.

Codes then are those of `edge.quant.search`, which cuts groups where their products with the inputs come nearer by it,
as the paper clips them. N rows, K columns.
"""

from collections.abc import Sequence

import numpy as np

from edge.quant import rtn
from edge.quant.bounds import by_more_steps, too_far
from edge.quant.inputs import Inputs
from edge.quant.methods import Method, grid
from edge.quant.moments import Moments
from edge.quant.search import searched, take_rows
from edge.quant.tensor import QTensor, Scheme
from edge.typing import F32

POWERS = tuple(float(power) for power in np.linspace(0, 1, 21))
_ROWS = 256  # of a matrix, on which powers are tried
_LEAST = 1e-4  # of the largest


def scales(weights: Sequence[F32], schemes: Sequence[Scheme], inputs: Inputs) -> tuple[F32, float]:
    """What the columns of matrices [N, K] that have one input are multiplied by, [K], and the share that is left of
    what their products are off by.
    """
    some = [w[:: max(1, len(w) // _ROWS)][:_ROWS] for w in weights]
    found: list[tuple[float, F32]] = []
    for power in POWERS:
        tried = by_power(inputs.sizes, power)
        cost = 0.0
        for w, scheme in zip(some, schemes, strict=True):
            made = rtn.quantize(w * tried, scheme).dequantize() / tried
            off = made - w
            cost += float(np.einsum("nk,nk->", off @ inputs.products, off, dtype=np.float64))
        found.append((cost, tried))
    least, best = min(found, key=lambda one: one[0])
    return best, least / max(found[0][0], 1e-30)


def by_power(sizes: F32, power: float) -> F32:
    """A power of sizes, about one: [K] -> [K]."""
    most = sizes.max()
    if not most > 0:  # inputs that never came
        return np.ones_like(sizes)
    tried = np.maximum(sizes / most, np.float32(_LEAST)) ** np.float32(power)
    found: F32 = tried / np.sqrt(tried.max() * tried.min())
    return found.astype(np.float32, copy=False)


def calibrated(weights: F32, scheme: Scheme, moments: F32 | Moments) -> QTensor:
    """weights [N, K], moments [K, K]: means of the products of two inputs -> codes of cut groups. Rows that are then
    farther off than a proof allows are not cut.
    """
    made, own = (
        searched(weights, scheme, Moments.of(moments).products),
        rtn.quantize(weights, scheme),
    )
    most = by_more_steps(weights, scheme)
    take_rows(made, own, too_far(weights, made.dequantize(), own.dequantize(), most))
    return made


METHOD = Method(
    name="awq",
    schemes=grid("awq", bits=(2, 3, 4, 5, 6, 8)),
    quantize=rtn.quantize,
    calibrated=calibrated,
    balance=scales,
    bound=by_more_steps,
)
