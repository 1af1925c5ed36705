"""What stored blocks mean: bytes of a row -> float32. B blocks of 32 weights, N rows, K columns.

Of two 4-bit codes in a byte the low half belongs to the first half of the block.
"""

from collections.abc import Callable, Mapping

import numpy as np

from edge.gguf.kinds import Kind
from edge.typing import F32, U8


def dequantize(raw: U8, kind: Kind, rows: int) -> F32:
    """Stored bytes of whole rows -> [N, K]."""
    blocks = raw.reshape(-1, kind.nbytes) if kind.block > 1 else raw
    values: F32 = _UNPACK[kind.name](blocks)
    return values.reshape(rows, -1)


def can_dequantize(kind: Kind) -> bool:
    return kind.name in _UNPACK


def _bf16(raw: U8) -> F32:
    return np.left_shift(raw.view("<u2"), 16, dtype=np.uint32).view(np.float32)


def _q8_0(b: U8) -> F32:
    return b[:, 2:].view(np.int8) * _half(b, 0)


def _q4_0(b: U8) -> F32:
    return (_nibbles(b[:, 2:]).astype(np.float32) - 8) * _half(b, 0)


def _q4_1(b: U8) -> F32:
    return _nibbles(b[:, 4:]) * _half(b, 0) + _half(b, 2)


def _q5_0(b: U8) -> F32:
    codes = _nibbles(b[:, 6:]) | _fifth_bits(b[:, 2:6])
    return (codes.astype(np.float32) - 16) * _half(b, 0)


def _q5_1(b: U8) -> F32:
    return (_nibbles(b[:, 8:]) | _fifth_bits(b[:, 4:8])) * _half(b, 0) + _half(b, 2)


def _half(b: U8, at: int) -> F32:
    """The fp16 number at this byte of each block: [B, 1]."""
    return np.ascontiguousarray(b[:, at : at + 2]).view("<f2").astype(np.float32)


def _nibbles(b: U8) -> U8:
    """[B, 16] -> [B, 32]."""
    return np.concatenate((b & 15, b >> 4), axis=1)


def _fifth_bits(b: U8) -> U8:
    """Bit i of four bytes is the fifth bit of code i: [B, 4] -> [B, 32]."""
    return np.left_shift(np.unpackbits(b, axis=1, bitorder="little"), 4, dtype=np.uint8)


_UNPACK: Mapping[str, Callable[[U8], F32]] = {
    "F32": lambda raw: raw.view("<f4"),
    "F16": lambda raw: raw.view("<f2").astype(np.float32),
    "BF16": _bf16,
    "Q8_0": _q8_0,
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
}
