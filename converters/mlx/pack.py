"""A weight's rows as MLX stores them: codes in 32-bit words, and a scale and a bias for each group.

w = code * scale + bias. N rows, K columns, J groups.
"""

from dataclasses import dataclass
from math import prod

import numpy as np

from edge.files.safetensors import SIZES
from edge.quant import stream
from edge.quant.tensor import Float, QTensor, Scheme, float_bytes, rounded
from edge.quant.unfit import Unfit, first_wrong
from edge.typing import F32, U8, Shape

GROUPS = (32, 64, 128)
TYPES: dict[Float, str] = {"fp32": "F32", "fp16": "F16", "bf16": "BF16"}


@dataclass(frozen=True, slots=True)
class Piece:
    """One of the tensors that a weight becomes: what its name ends on, its type, shape of a row."""

    suffix: str
    dtype: str
    row: Shape

    @property
    def row_bytes(self) -> int:
        return prod(self.row) * SIZES[self.dtype]


def pieces(scheme: Scheme, row: Shape) -> tuple[Piece, ...]:
    """The tensors of a weight whose rows have this shape: [K], or none of a vector."""
    number = TYPES[scheme.number]
    if scheme.group is None:
        return (Piece("weight", number, row),)
    (columns,) = row
    return (
        Piece("weight", "U32", (columns * scheme.bits // 32,)),
        Piece("scales", number, (columns // scheme.group,)),
        Piece("biases", number, (columns // scheme.group,)),
    )


def packed(name: str, row: int, stored: F32 | QTensor, scheme: Scheme) -> tuple[U8, ...]:
    """Rows of each piece of a weight, from `row` on, as bytes: [N, bytes of a row] each."""
    if not isinstance(stored, QTensor):
        return (float_bytes(stored.reshape(len(stored), -1), scheme.number),)
    bias = biases(stored)
    wrong = first_wrong(rounded(bias, scheme.number))
    if wrong is not None:
        raise Unfit(name, row + wrong, f"a bias in {scheme.number}")
    floats = (float_bytes(part, scheme.number) for part in (stored.scales, bias))
    return stream.packed(stored.codes, scheme.bits), *floats


def biases(stored: QTensor) -> F32:
    """What a code of zero means: [N, J]."""
    if stored.zeros is None:
        return stored.scales * np.float32(-(1 << (stored.scheme.bits - 1)))
    if stored.scheme.zero == "integer":
        return -stored.zeros.astype(np.float32) * stored.scales
    return stored.zeros.astype(np.float32)
