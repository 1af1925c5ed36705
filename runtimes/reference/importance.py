"""How large the inputs of each matrix are, over a text: the layers in numpy, which record what they
multiply. T rows, K columns.
"""

from collections.abc import Callable, Sequence

import numpy as np

from edge.nn.decoder import segment
from edge.ops import Ops
from edge.source.checkpoint import Checkpoint
from edge.typing import F32, AnyArray
from edge_runtimes.reference.decoder import checkpoint_weights
from edge_runtimes.reference.ops import Cache, NumpyOps, Tables


def importance(
    checkpoint: Checkpoint, windows: Sequence[Sequence[int]], advance: Callable[[int], None]
) -> dict[str, F32]:
    """The mean square of each input of each matrix of the layers, over all positions of all windows,
    by canonical name: [K].
    """
    weights = checkpoint_weights(checkpoint)
    sums: dict[str, np.ndarray] = {}

    def product(x: F32, name: str) -> F32:
        squares = np.einsum("tk,tk->k", x, x, dtype=np.float64)
        sums[name] = sums.get(name, 0) + squares
        return x @ weights(name, None).T

    spec = checkpoint.decoder
    for window in windows:
        ops: Ops[AnyArray, Tables] = NumpyOps(weights, Cache(), 0, False, product)
        tokens = np.asarray(window, np.int64)
        segment(ops, spec, tokens, start=0, stop=len(spec.layers), ends=False)
        advance(len(window))
    count = sum(map(len, windows))
    return {name: (total / count).astype(np.float32) for name, total in sums.items()}
