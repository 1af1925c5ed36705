"""BiLLM (arXiv 2402.04291): columns go by the size of their inputs, and a group of them is split, row by row, at
the magnitude that leaves least: what is smaller is one number with a sign, what is larger another. Both are the two
signs of a sum: s (a + b t), where t says which of the two.

The paper rounds a few salient columns twice instead (a sign, and a sign of what is left): that, too, is four levels,
of which the best split is never worse. It counts 1.1 bits a weight, without the bitmaps that say which weight is
where; here they are the second bit. N rows, G columns of a group.
"""

from functools import partial

import numpy as np

from edge.quant.sums import Two, method, two_bits
from edge.typing import F32


def fix(block: F32) -> Two:
    """columns [G, N] -> the means of the smaller and of the larger magnitudes, where these are nearest to them."""
    sizes = np.sort(np.abs(block), axis=0)
    count = len(sizes)
    below = np.cumsum(sizes, axis=0, dtype=np.float64)
    first = np.arange(1, count + 1, dtype=np.float64)[:, None]
    total, rest = below[-1], np.maximum(count - first, 1)
    gained = (
        below**2 / first + (total - below) ** 2 / rest
    )  # [G, N]: of all squares, what both means explain
    at = gained.argmax(axis=0)
    columns = np.arange(sizes.shape[1])
    small = below[at, columns] / (at + 1)
    large = np.where(
        at + 1 < count, (total - below[at, columns]) / np.maximum(count - at - 1, 1), small
    )
    middle, half = ((part / 2).astype(np.float32) for part in (small + large, large - small))
    return Two((2 * middle, 2 * half), (-middle, -half))


METHOD = method("billm", bits=(1,), zero="signs", code=partial(two_bits, fix=fix))
