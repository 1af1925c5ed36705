"""GPTQ (arXiv 2210.17323): columns are rounded one after another, and each makes good what those before it did to
the products with the inputs that a text had.

Written as QuIP's LDLQ (arXiv 2307.13304, theorem 6), which is the same and needs no inverse. With moments
H = U U', U upper triangular, an error E = W - Q costs |E U|^2: of column k, |U_kk (E_k + sum of E_j U_jk / U_kk
over j < k)|^2. So column k is W_k plus that sum, rounded to nearest. Columns go by how large their inputs are, the
largest first, in groups whose steps were fixed before (static groups): any format holds what comes out. Steps are
those of `edge.quant.search`, where a column counts by the size of its inputs, and the more the fewer codes there are:
with many, a text of another kind than the model reads later would cut what that needs.

N rows, K columns, J groups.
"""

from functools import partial

import numpy as np

from edge.quant import search
from edge.quant.bounds import by_more_steps, too_far
from edge.quant.methods import Method, grid
from edge.quant.moments import Moments
from edge.quant.search import Steps, searched
from edge.quant.tensor import QTensor, Scheme
from edge.typing import F32

_BLOCK = 64  # columns between which errors are handed on one by one
_ROWS = 2048  # at once


def calibrated(weights: F32, scheme: Scheme, moments: F32 | Moments) -> QTensor:
    """weights [N, K], moments [K, K]: means of the products of two inputs -> codes. A row that came out worse than
    by rounding each column for itself, or farther off than a proof allows, has that instead.
    """
    known = Moments.of(moments)
    parts = range(0, len(weights), _ROWS)
    return search.joined([_rows(weights[at : at + _ROWS], scheme, known) for at in parts])


def _rows(weights: F32, scheme: Scheme, known: Moments) -> QTensor:
    order, triangle = known.feedback(by_size=True)
    plain = searched(weights, scheme, counts(known.products, scheme.bits))
    fixed = Steps.of(plain)
    columns = weights.shape[1]
    scales, offsets = (
        np.ascontiguousarray(part.T) for part in (fixed.scales, fixed.offsets)
    )  # [J, N]
    inverse = np.divide(1, scales, out=np.zeros_like(scales), where=scales != 0)
    turned = np.ascontiguousarray(weights.T)[order]  # [K, N]: what is read together lies together
    errors, codes = np.zeros_like(turned), np.empty(turned.shape, np.uint8)
    for start in range(0, columns, _BLOCK):
        stop = min(start + _BLOCK, columns)
        wanted = turned[start:stop] + triangle[:start, start:stop].T @ errors[:start]
        for k in range(start, stop):
            at = order[k] // scheme.width(columns)
            code = fixed.codes(wanted[k - start], inverse[at], offsets[at])
            codes[k] = code
            errors[k] = turned[k] - (code * scales[at] + offsets[at])
            wanted[k - start + 1 :] += triangle[k, k + 1 : stop, None] * errors[k]
    back = np.empty_like(plain.codes)
    back[:, columns:] = plain.codes[:, columns:]
    back[:, order] = codes.T
    made = QTensor(back, plain.scales, scheme, columns, plain.zeros)
    most = by_more_steps(weights, scheme)
    far = too_far(weights, made.dequantize(), plain.dequantize(), most)
    worse = far | (cost(weights, made, known) > cost(weights, plain, known))
    back[worse] = plain.codes[worse]
    return made


def counts(moments: F32, bits: int) -> F32:
    """What a column counts where steps are searched: its inputs' mean square with 2 bits, the root of it with 4, and
    so on: [K, K] -> [K]. (At 4 bits the root lost a third less than the square where texts were unlike, and as much
    where they were alike; at 2 bits it lost 6 % more.)
    """
    found: F32 = np.maximum(np.diagonal(moments), 0) ** np.float32(2 / bits)
    return found


def cost(weights: F32, made: QTensor, moments: F32 | Moments) -> F32:
    """The mean square of what each row's product is off by: [N]."""
    return Moments.of(moments).cost(weights - made.dequantize())


METHOD = Method(
    name="gptq",
    schemes=grid("gptq", bits=(2, 3, 4, 5, 6, 8)),
    quantize=partial(searched, counts=None),
    calibrated=calibrated,
    bound=by_more_steps,
)
