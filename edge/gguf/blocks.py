"""Blocks of weights as ggml stores them: bytes of a row -> float32, and codes -> bytes.

B blocks of 32 weights, N rows, K columns, J blocks of a row. Of two 4-bit codes in a byte the low
half belongs to the first half of the block.
"""

from collections.abc import Callable, Mapping

import numpy as np

from edge.gguf.kinds import BY_NAME, Kind
from edge.quant.ggml import FORMATS
from edge.quant.tensor import QTensor, Scheme, float_bytes
from edge.typing import F32, U8

_FLOATS = {"fp32": "F32", "fp16": "F16", "bf16": "BF16"}
_CODES = {
    (8, "middle"): "Q8_0", (5, "middle"): "Q5_0", (5, "minimum"): "Q5_1",
    (4, "middle"): "Q4_0", (4, "minimum"): "Q4_1",
}  # fmt: skip

_MINIMA = {name.upper(): FORMATS[name] for name in ("q4_1", "q5_1")}


def kind_of(scheme: Scheme) -> Kind | None:
    """The type that holds weights of a scheme exactly; None: there is none."""
    if scheme.is_float:
        return BY_NAME[_FLOATS[scheme.number]]
    if scheme.block_bytes:
        return BY_NAME[scheme.method.upper()]
    fits = scheme.group == 32 and scheme.number == "fp16"
    name = _CODES.get((scheme.bits, scheme.zero)) if fits else None
    return None if name is None else BY_NAME[name]


def pack(stored: F32 | QTensor, scheme: Scheme) -> U8:
    """Weights of a scheme as bytes of whole rows: [N, bytes]."""
    if not isinstance(stored, QTensor):
        return float_bytes(stored, scheme.number)
    rows, groups = stored.scales.shape
    codes = stored.codes.reshape(rows * groups, 32)
    parts = [_halves(stored.scales)]
    if stored.zeros is not None:
        parts.append(_halves(stored.zeros))
    if scheme.bits == 8:
        parts.append(
            np.bitwise_xor(codes, 128, dtype=np.uint8)
        )  # a code of 128 means zero: as a signed byte, zero itself
    elif scheme.bits == 5:
        parts.append(np.packbits(codes >> 4, axis=1, bitorder="little"))
    if scheme.bits < 8:
        low, high = codes[:, :16] & 15, codes[:, 16:] & 15
        parts.append((low | high << 4).astype(np.uint8))
    return np.concatenate(parts, axis=1).reshape(rows, -1)


def _halves(values: F32 | U8) -> U8:
    """One fp16 number a block: [N, J] -> [N J, 2]."""
    return values.astype("<f2").reshape(-1, 1).view(np.uint8)


def dequantize(raw: U8, kind: Kind, rows: int) -> F32:
    """Stored bytes of whole rows -> [N, K]."""
    blocks = raw.reshape(-1, kind.nbytes) if kind.block > 1 else raw
    values: F32 = _UNPACK[kind.name](blocks)
    return values.reshape(rows, -1)


def has_minimum(kind: Kind) -> bool:
    """Whether blocks hold a minimum beside codes and scales."""
    return kind.name in _MINIMA


def unpack(raw: U8, kind: Kind) -> QTensor:
    """Rows of blocks with a minimum, [N, bytes], as codes."""
    b = np.ascontiguousarray(raw).reshape(-1, kind.nbytes)
    fifth = kind.name == "Q5_1"
    codes = _nibbles(b[:, 8:]) | _fifth_bits(b[:, 4:8]) if fifth else _nibbles(b[:, 4:])
    scales, minimums = (_half(b, at).reshape(len(raw), -1) for at in (0, 2))
    codes = codes.reshape(len(raw), -1)
    return QTensor(codes, scales, _MINIMA[kind.name], codes.shape[1], minimums)


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
