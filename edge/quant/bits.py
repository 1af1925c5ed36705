"""Codes as they lie in bytes, read without any of the packers: a stream of bits, each code from its lowest
bit on. N rows, K columns, J groups.
"""

import numpy as np

from edge.typing import F32, U8


def codes(raw: U8, bits: int) -> U8:
    """[N, bytes] -> [N, 8 bytes / bits]."""
    if bits == 8:
        return raw
    stream = np.unpackbits(raw, axis=1, bitorder="little")
    count = stream.shape[1] // bits
    each = stream[:, : count * bits].reshape(len(raw), count, bits)
    found: U8 = np.packbits(each, axis=2, bitorder="little")[:, :, 0]
    return found


def spread(values: F32, group: int, columns: int) -> F32:
    """A number a group as one a column: [N, J] -> [N, K]."""
    return np.repeat(values, group, axis=1)[:, :columns]
