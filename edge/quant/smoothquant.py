"""SmoothQuant (arXiv 2211.10438): where inputs are rounded to int8 as weights are, a few that are far larger than
all others cost these their precision. What is large moves into the weights: a column is multiplied by the root of
how large its inputs become over how large its weights are, and what it multiplies is divided (`edge.quant.balance`).

Kernels that round inputs to int8 are those of ONNX, by group, and of llama.cpp, by block. To 6 and 4 bits none does:
`w6a6` and `w4a4`, with a scale for each token and each row, are what the paper's successors and the study of low-bit
LLaMA3 (arXiv 2404.14047) measure; torch rounds so before it multiplies. N rows, K columns.
"""

from collections.abc import Sequence

import numpy as np

from edge.quant.bounds import by_steps
from edge.quant.inputs import Inputs
from edge.quant.methods import Method, grid
from edge.quant.rtn import quantize
from edge.quant.tensor import ROW, Scheme
from edge.typing import F32

SHARE = 0.5  # of an input's size that moves: the paper's alpha
_LEAST = 1e-5


def scales(weights: Sequence[F32], schemes: Sequence[Scheme], inputs: Inputs) -> tuple[F32, float]:
    """What the columns of matrices [N, K] that have one input are multiplied by, [K]."""
    del schemes
    most = np.max([np.abs(w).max(axis=0) for w in weights], axis=0)
    large, heavy = (_some(part) for part in (inputs.largest, most))
    found = large ** np.float32(SHARE) / heavy ** np.float32(1 - SHARE)
    return found.astype(np.float32, copy=False), 0.0


def _some(sizes: F32) -> F32:
    """Sizes [K] of which none is nothing, nor far from the others."""
    most = float(sizes.max())
    found: F32 = np.maximum(sizes, np.float32(_LEAST * most)) if most > 0 else np.ones_like(sizes)
    return found


_WORDS = {
    "smoothquant-w8a8": Scheme(8, 32, "middle", "fp32", "smoothquant"),
    **{
        f"smoothquant-w{bits}a{bits}": Scheme(bits, ROW, method="smoothquant", inputs=bits)
        for bits in (6, 4)
    },
}
METHOD = Method(
    name="smoothquant",
    schemes=(
        *grid("smoothquant", bits=(8,), groups=(32, 64), zeros=("middle",)),
        *(scheme for scheme in _WORDS.values() if scheme.inputs),
    ),
    quantize=quantize,
    balance=scales,
    bound=by_steps,
    ends="int8-g32",
    names=_WORDS,
)
