"""Which keys block-sparse attention hides (arXiv 2404.14219), once for every target.

T query positions, S key positions, H query heads.
"""

import numpy as np
from numpy.typing import NDArray

from edge.spec import BlockSparse
from edge.typing import I64


def hidden(sparse: BlockSparse, heads: int, rows: I64, columns: I64) -> NDArray[np.bool_]:
    """What each head does not see for sparsity's sake: rows [T], columns [S] -> [H, T, S].

    Causality is the caller's.
    """
    block, shift = columns // sparse.block, sparse.shift(heads)
    far = (rows // sparse.block)[:, None] - block >= sparse.local  # [T, S]
    between = (block + shift * np.arange(heads)[:, None] + 1) % sparse.stride != 0  # [H, S]
    return far & between[:, None]
