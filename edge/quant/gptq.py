"""GPTQ (arXiv 2210.17323): columns are rounded one after another, and each makes good what those before it did to
the products with the inputs that a text had.

Written as QuIP's LDLQ (arXiv 2307.13304, theorem 6), which is the same and needs no inverse. With moments
H = U U', U upper triangular, an error E = W - Q costs |E U|^2: of column k, |U_kk (E_k + sum of E_j U_jk / U_kk
over j < k)|^2. So column k is W_k plus that sum, rounded to nearest. Columns go by how large their inputs are, the
largest first, in groups whose steps were fixed before (static groups): any format holds what comes out. Steps are
those of `edge.quant.search`, by the inputs' squares.

N rows, K columns, J groups.
"""

from functools import partial

import numpy as np

from edge.quant import search
from edge.quant.bounds import by_more_steps, too_far
from edge.quant.methods import Method, grid
from edge.quant.search import Steps, searched
from edge.quant.tensor import QTensor, Scheme
from edge.typing import F32

DAMPING = 0.01  # of the mean square: inputs that a text left out count a little
_BLOCK = 64  # columns between which errors are handed on one by one
_ROWS = 2048  # at once
_PANEL = 512  # columns that are factored together


def calibrated(weights: F32, scheme: Scheme, moments: F32) -> QTensor:
    """weights [N, K], moments [K, K]: means of the products of two inputs -> codes. A row that came out worse than
    by rounding each column for itself, or farther off than a proof allows, has that instead.
    """
    counts = np.diagonal(moments).copy()
    order = np.argsort(-counts, kind="stable")
    triangle = feedback(moments, order)
    parts = range(0, len(weights), _ROWS)
    return search.joined(
        [_rows(weights[at : at + _ROWS], scheme, moments, counts, order, triangle) for at in parts]
    )


def feedback(moments: F32, order: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> F32:
    """What an error in column j adds to a later column k, in units of it: [K, K] above the diagonal, columns in
    this order.
    """
    diagonal = np.diagonal(moments)[order]
    mean = max(float(np.mean(diagonal, dtype=np.float64)), float(np.finfo(np.float32).tiny))
    # A few inputs that are far larger than all others leave these less than float32 rounds those by: then more.
    for more in (1, 10, 100, 1000):
        factor = moments[np.ix_(order, order)]
        factor[np.diag_indices_from(factor)] = diagonal + np.float32(DAMPING * mean * more)
        try:
            upper_factor(factor)
        except np.linalg.LinAlgError:
            continue
        factor /= np.diagonal(factor).copy()
        return factor
    return np.eye(len(moments), dtype=np.float32)  # no column makes good another's error


def upper_factor(matrix: F32) -> None:
    """U of U U' = matrix, upper triangular, in the matrix's own place: one of 14,336 columns takes 0.8 GB. Raises
    LinAlgError where there is none.
    """
    for stop in range(len(matrix), 0, -_PANEL):
        start = max(0, stop - _PANEL)
        square = matrix[start:stop, start:stop]
        # The lower factor of all of it turned round is the upper one of it as it is.
        square[:] = np.linalg.cholesky(square[::-1, ::-1])[::-1, ::-1]
        matrix[start:stop, :start] = 0
        above = matrix[:start, start:stop]
        above[:] = np.linalg.solve(square, above.T).T
        for at in range(0, start, _PANEL):
            end = min(at + _PANEL, start)
            matrix[at:end, at:start] -= above[at:end] @ above[at:].T


def _rows(
    weights: F32,
    scheme: Scheme,
    moments: F32,
    counts: F32,
    order: "np.ndarray[tuple[int], np.dtype[np.int64]]",
    triangle: F32,
) -> QTensor:
    plain = searched(weights, scheme, counts)
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
    worse = far | (cost(weights, made, moments) > cost(weights, plain, moments))
    back[worse] = plain.codes[worse]
    return made


def cost(weights: F32, made: QTensor, moments: F32) -> F32:
    """The mean square of what each row's product is off by: [N]."""
    off = weights - made.dequantize()
    found: F32 = np.einsum("nk,nk->n", off @ moments, off)
    return found


METHOD = Method(
    name="gptq",
    schemes=grid("gptq", bits=(2, 3, 4, 5, 6, 8)),
    quantize=partial(searched, counts=None),
    calibrated=calibrated,
    bound=by_more_steps,
)
