"""Codes and floats as they lie in bytes, read without any of the packers. Codes are a stream of bits, each
from its lowest bit on. N rows, K columns, J groups.
"""

import math

import numpy as np

from edge.quant.tensor import Float
from edge.typing import F32, U8


def codes(raw: U8, bits: int) -> U8:
    """[N, bytes] -> [N, 8 bytes / bits]; a row ends where a code and a byte do."""
    if bits == 8:
        return raw
    size = math.lcm(bits, 8) // 8  # bytes that whole codes fill
    words = np.zeros((len(raw), raw.shape[1] // size), np.uint64)
    for i in range(size):
        words |= raw[:, i::size].astype(np.uint64) << np.uint64(8 * i)
    count = 8 * size // bits
    out = np.empty((*words.shape, count), np.uint8)
    for i in range(count):
        out[:, :, i] = words >> np.uint64(bits * i) & np.uint64((1 << bits) - 1)
    return out.reshape(len(raw), -1)


def floats(raw: U8, number: Float) -> F32:
    """[N, bytes] -> [N, K]."""
    if number == "bf16":  # the upper half of a float32
        return np.left_shift(raw.view("<u2"), 16, dtype=np.uint32).view(np.float32)
    return raw.view("<f2" if number == "fp16" else "<f4").astype(np.float32)


def spread(values: F32, group: int, columns: int) -> F32:
    """A number a group as one a column: [N, J] -> [N, K]."""
    return np.repeat(values, group, axis=1)[:, :columns]
