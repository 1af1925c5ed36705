"""From phonemes to frames (length regulation, arXiv 1905.09263), without a loop: one product with a matrix that says
which phoneme each frame is of.

B batch, P phonemes, F frames, D width.
"""

from edge.nn.composed import Composed
from edge.nn.speech.blocks import columns
from edge.ops import Array


def regulate(ops: Composed[Array], x: Array, durations: Array, mask: Array) -> Array:
    """x [B, P, D], durations [B, P] in whole frames, mask [B, F] -> [B, F, D]: a phoneme's row so many times;
    zero after the last one, and where the mask does not count. A duration of 0 leaves its phoneme out.
    """
    ends = ops.cumsum(durations)
    frame = columns(ops, ops.pair("add", ops.cumsum(mask), -1.0))  # [B, F, 1]
    begun, over = (
        ops.pair("at_least", frame, ops.reshape(at, 0, 1, -1))
        for at in (ops.pair("sub", ends, durations), ends)
    )
    return ops.matmul(ops.mul(ops.pair("sub", begun, over), columns(ops, mask)), x)
