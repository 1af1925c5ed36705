"""Weights that are sums of two, each of one bit: four levels for each group of a row, which are fixed when the columns
before have been rounded, and then codes column by column, each of which makes good what those before it did, as in
`edge.quant.gptq`.

N rows, K columns, J groups, G columns of a group.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from edge.quant.bounds import by_size, too_far
from edge.quant.gptq import cost
from edge.quant.methods import Calibrated, Method, Quantize, grid
from edge.quant.moments import Moments
from edge.quant.search import joined, take_rows
from edge.quant.tensor import Float, QTensor, Scheme, Zero, rounded
from edge.typing import F32, I64, U8

_ROWS = 2048  # at once


@dataclass(frozen=True, slots=True)
class Two:
    """What bits of a group mean in each row: bit * scale + minimum, [N] each, of both terms."""

    scales: tuple[F32, F32]
    minimums: tuple[F32, F32]

    def of(self, number: Float) -> "Two":
        """In values of a type."""
        scales, minimums = (
            (rounded(first, number), rounded(second, number))
            for first, second in (self.scales, self.minimums)
        )
        return Two(scales, minimums)

    @property
    def levels(self) -> F32:
        """Of both bits, the first one the higher: [4, N]."""
        (a, b), base = self.scales, self.minimums[0] + self.minimums[1]
        return np.stack((base, base + b, base + a, base + a + b))


Fix = Callable[[F32], Two]  # columns [G, N] of a group, as they are wanted -> what its bits mean


# Rows [N, K] of weights, columns in an order [K], by what errors in it add to later columns [K, K] -> their codes.
Code = Callable[[F32, Scheme, I64, F32], QTensor]


def method(name: str, *, bits: Sequence[int], zero: Zero, code: Code) -> Method:
    """A method whose rows `code` makes, for layers alone."""
    calibrated = partial(in_order, code=code)
    return Method(
        name=name,
        schemes=grid(name, bits=bits, zeros=(zero,)),
        quantize=alone(calibrated),
        calibrated=calibrated,
        bound=by_size,
        group=128,
        ends="int8-g32",
    )


def alone(calibrated: Calibrated) -> Quantize:
    """The same without a text: as of inputs that are all alike, and have nothing to do with each other."""

    def quantize(weights: F32, scheme: Scheme) -> QTensor:
        return calibrated(weights, scheme, np.eye(weights.shape[1], dtype=np.float32))

    return quantize


def in_order(weights: F32, scheme: Scheme, moments: F32 | Moments, *, code: Code) -> QTensor:
    """weights [N, K], moments [K, K]: means of the products of two inputs -> codes."""
    known = Moments.of(moments)
    order, triangle = known.feedback(by_size=scheme.ordered)
    plain = np.eye(len(order), dtype=np.float32)
    parts = []
    for at in range(0, len(weights), _ROWS):
        some = weights[at : at + _ROWS]
        made, own = (code(some, scheme, order, by) for by in (triangle, plain))
        parts.append(better(some, made, own, known))
    return joined(parts)


def better(weights: F32, made: QTensor, own: QTensor, moments: Moments) -> QTensor:
    """Rows of one, but where it costs more or is too far: those are the other's."""
    most = by_size(weights, made.scheme)
    far = too_far(weights, made.dequantize(), own.dequantize(), most)
    worse = far | (cost(weights, made, moments) > cost(weights, own, moments))
    for one, other in zip(made.terms, own.terms, strict=True):
        take_rows(one, other, worse)
    return made


def two_bits(weights: F32, scheme: Scheme, order: I64, triangle: F32, *, fix: Fix) -> QTensor:
    """`Code` of two terms of a bit each, whose levels `fix` finds."""
    turned = np.ascontiguousarray(weights.T)[order]  # [K, N]
    columns = len(turned)
    errors, codes = np.zeros_like(turned), np.empty(turned.shape, np.uint8)
    twos: list[Two] = []
    for start, stop in groups(scheme, columns):
        wanted = turned[start:stop] + triangle[:start, start:stop].T @ errors[:start]
        twos.append(fix(wanted).of(scheme.number))
        levels = twos[-1].levels
        for k in range(start, stop):
            codes[k] = np.abs(levels - wanted[k - start]).argmin(axis=0)
            errors[k] = (
                turned[k] - np.take_along_axis(levels, codes[k][None].astype(np.int64), 0)[0]
            )
            wanted[k - start + 1 :] += triangle[k, k + 1 : stop, None] * errors[k]
    terms = [
        term(scheme, bits, [two.scales[i] for two in twos], [two.minimums[i] for two in twos])
        for i, bits in enumerate((codes >> np.uint8(1), codes & np.uint8(1)))
    ]
    return summed(scheme, terms[0], terms[1], order)


def groups(scheme: Scheme, columns: int) -> Iterator[tuple[int, int]]:
    """Where each begins and ends."""
    width = scheme.width(columns)
    for start in range(0, columns, width):
        yield start, min(start + width, columns)


def term(scheme: Scheme, bits: U8, scales: list[F32], minimums: list[F32]) -> QTensor:
    """The first term of a scheme, or one like it: bits [K, N], a scale and a minimum [N] of each group."""
    kind, columns = scheme.terms[0], len(bits)
    padded = np.pad(bits.T, ((0, 0), (0, -columns % kind.width(columns))))
    return QTensor(padded, np.stack(scales, axis=1), kind, columns, np.stack(minimums, axis=1))


def summed(
    scheme: Scheme,
    first: QTensor,
    second: QTensor,
    order: I64,
) -> QTensor:
    """Both as one tensor."""
    return QTensor(
        first.codes, first.scales, scheme, first.columns, first.zeros,
        added=second, order=order if scheme.ordered else None,
    )  # fmt: skip
