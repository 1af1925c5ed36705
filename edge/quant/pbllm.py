"""PB-LLM (arXiv 2310.00034): weights are a sign times a number of their group, but for a few that stay in 8 bits.
Salient are here whole columns, those whose inputs are largest: one of seven for `int2`, one of ten for `int1`. So
they are a second product with some of the inputs, and no mask of single weights need be kept, which the paper's
counts of 2.0 and 1.7 bits leave out. N rows, K columns.
"""

import numpy as np

from edge.quant import rtn
from edge.quant.sums import groups, method, summed, term
from edge.quant.tensor import QTensor, Scheme, rounded
from edge.typing import F32, I64

_EIGHT = 32  # columns whose second term has one scale


def code(weights: F32, scheme: Scheme, order: I64, triangle: F32) -> QTensor:
    """`edge.quant.sums.Code`."""
    turned = np.ascontiguousarray(weights.T)[order]  # [K, N]
    columns = len(turned)
    salient, eight = scheme.added(columns), scheme.terms[1]
    errors, bits = np.zeros_like(turned), np.empty(turned.shape, np.uint8)
    sizes: list[F32] = []
    seconds: list[QTensor] = []
    for start, stop in groups(scheme, columns):
        wanted = turned[start:stop] + triangle[:start, start:stop].T @ errors[:start]
        sizes.append(rounded(np.abs(wanted).mean(axis=0), scheme.number))
        at = start
        while at < stop:
            end = min(at + (1 if at >= salient else _EIGHT), stop)
            here = wanted[at - start : end - start]
            bits[at:end] = here >= 0
            values = np.where(here >= 0, sizes[-1], -sizes[-1])
            if at < salient:
                seconds.append(rtn.quantize(np.ascontiguousarray((here - values).T), eight))
                values = values + seconds[-1].dequantize().T
            errors[at:end] = turned[at:end] - values
            wanted[end - start :] += triangle[at:end, end:stop].T @ errors[at:end]
            at = end
    second = QTensor(
        np.concatenate([part.codes for part in seconds], axis=1),
        np.concatenate([part.scales for part in seconds], axis=1),
        eight,
        salient,
    )
    first = term(scheme, bits, [2 * size for size in sizes], [-size for size in sizes])
    return summed(scheme, first, second, order)


METHOD = method("pbllm", bits=(1, 2), zero="salient", code=code)
