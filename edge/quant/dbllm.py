"""DB-LLM (arXiv 2402.11960): a weight is a b + c d, two bits and two numbers of its group, so that its four levels
need not lie at equal distances. They begin as those of two bits, and are then moved by turns with the codes to where
squares of errors are least. The paper moves them by distillation, which is training; that is not here. N rows, G
columns of a group.
"""

from functools import partial

import numpy as np

from edge.quant.sums import Two, method, two_bits
from edge.typing import F32, I64

_TURNS = 8
_REACH = (0.6, 0.8, 1.0)  # of the largest, for the first step


def fix(block: F32) -> Two:
    """columns [G, N] -> the two numbers of each row, by the best of several beginnings."""
    best: tuple[F32, F32, F32] | None = None
    size = np.abs(block).max(axis=0) / 2
    for sign in (1, -1):
        for reach in _REACH:
            step = (sign * reach * size).astype(np.float32)
            a, b = _settled(block, 2 * step, -step)
            left = np.square(_nearest(block, a, b)[1]).sum(axis=0)
            if best is None:
                best = left, a, b
                continue
            less = left < best[0]
            best = tuple(
                np.where(less, new, old) for new, old in zip((left, a, b), best, strict=True)
            )  # type: ignore[assignment]
    assert best is not None
    _, a, b = best
    return Two((a, b), (np.zeros_like(a), np.zeros_like(b)))


def _settled(block: F32, a: F32, b: F32) -> tuple[F32, F32]:
    """Numbers by codes, and codes by numbers, by turns."""
    for _ in range(_TURNS):
        codes, _ = _nearest(block, a, b)
        first, second = (codes >> 1).astype(np.float32), (codes & 1).astype(np.float32)
        aa, bb, ab = first.sum(axis=0), second.sum(axis=0), (first * second).sum(axis=0)
        wa, wb = (first * block).sum(axis=0), (second * block).sum(axis=0)
        apart = aa * bb - ab * ab  # 0: all weights have one code
        safe = np.where(apart > 0, apart, 1)
        a = np.where(apart > 0, (wa * bb - wb * ab) / safe, a).astype(np.float32)
        b = np.where(apart > 0, (wb * aa - wa * ab) / safe, b).astype(np.float32)
    return a, b


def _nearest(block: F32, a: F32, b: F32) -> tuple[I64, F32]:
    """Codes [G, N], the first bit the higher, and how far off each is."""
    levels = np.stack((np.zeros_like(a), b, a, a + b))[:, None]  # [4, 1, N]
    off = block - levels
    codes = np.abs(off).argmin(axis=0)
    return codes, np.take_along_axis(off, codes[None], 0)[0]


METHOD = method("dbllm", bits=(2,), zero="bits", code=partial(two_bits, fix=fix))
