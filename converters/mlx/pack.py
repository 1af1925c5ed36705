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
    if scheme.group is None:
        return (Piece("weight", TYPES[scheme.number], row),)
    (columns,) = row
    if not scheme.terms:
        return _coded("", scheme, columns)
    first, second = scheme.terms
    return *_coded("", first, columns), *_coded("added.", second, scheme.added(columns))


def order_of(scheme: Scheme, row: Shape) -> Piece | None:
    """The tensor that says in which order columns are multiplied with, if there is one: of one row."""
    return Piece("order", "U32", row) if scheme.ordered else None


def _coded(before: str, scheme: Scheme, columns: int) -> tuple[Piece, ...]:
    assert scheme.group is not None
    number = TYPES[scheme.number]
    return (
        Piece(f"{before}weight", "U32", (columns * scheme.bits // 32,)),
        Piece(f"{before}scales", number, (columns // scheme.group,)),
        Piece(f"{before}biases", number, (columns // scheme.group,)),
    )


def packed(name: str, row: int, stored: F32 | QTensor, scheme: Scheme) -> tuple[U8, ...]:
    """Rows of each piece of a weight, from `row` on, as bytes: [N, bytes of a row] each."""
    if not isinstance(stored, QTensor):
        return (float_bytes(stored.reshape(len(stored), -1), scheme.number),)
    out: list[U8] = []
    for term in stored.terms:
        bias = biases(term)
        wrong = first_wrong(rounded(bias, scheme.number))
        if wrong is not None:
            raise Unfit(name, row + wrong, f"a bias in {scheme.number}")
        out.append(stream.packed(term.codes, term.scheme.bits))
        out += (float_bytes(part, scheme.number) for part in (term.scales, bias))
    return tuple(out)


def biases(stored: QTensor) -> F32:
    """What a code of zero means: [N, J]."""
    if stored.zeros is None:
        return stored.scales * np.float32(-(1 << (stored.scheme.bits - 1)))
    if stored.scheme.zero == "integer":
        return -stored.zeros.astype(np.float32) * stored.scales
    return stored.zeros.astype(np.float32)
