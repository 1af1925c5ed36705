"""QuIP (arXiv 2307.13304): weights and inputs are rotated (`edge.quant.rotation`), so that no column is much larger
than others, and rounded as `edge.quant.gptq` does, which is the paper's LDLQ. Inputs are rotated while the model runs.

The paper rotates outputs, too, for its matrices have one scale; here each group of each row has one, and rows need
not be alike. N rows, K columns.
"""

from dataclasses import replace

from edge.quant import gptq
from edge.quant.methods import Method, grid
from edge.quant.moments import Moments
from edge.quant.rotation import rotated
from edge.quant.search import searched
from edge.quant.tensor import QTensor, Scheme
from edge.typing import F32


def calibrated(weights: F32, scheme: Scheme, moments: F32 | Moments) -> QTensor:
    """weights [N, K], moments [K, K]: means of the products of two inputs -> codes of rotated columns."""
    plain = replace(scheme, rotated=False)
    made = gptq.calibrated(rotated(weights), plain, Moments.of(moments).rotated())
    return replace(made, scheme=scheme)


def quantize(weights: F32, scheme: Scheme) -> QTensor:
    """The same without a text."""
    made = searched(rotated(weights), replace(scheme, rotated=False))
    return replace(made, scheme=scheme)


def bound(weights: F32, scheme: Scheme) -> float:
    """Of the columns as they are rounded."""
    plain = replace(scheme, rotated=False)
    return gptq.METHOD.bound(rotated(weights), plain)


METHOD = Method(
    name="quip",
    schemes=tuple(
        replace(scheme, rotated=True) for scheme in grid("quip", bits=(2, 3, 4, 5, 6, 8))
    ),
    quantize=quantize,
    calibrated=calibrated,
    bound=bound,
    ends="int8-g32",
)
