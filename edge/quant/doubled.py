"""Scales rounded once more, to 8 bits: double quantization (QLoRA, arXiv 2305.14314, section 3).

The mean of a matrix's scales is taken off, and what is left becomes, in blocks of 256, dynamic floats of 8 bits in
units of the block's largest (arXiv 2110.02861, section 2): a sign, a decimal exponent, and as many bits of a fraction
as that leaves. With groups of 64 a weight so takes 0.127 bits more than its code, not 0.5.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from edge.quant.kmeans import nearest
from edge.typing import F32, U8, Shape

BLOCK = 256


@dataclass(frozen=True, slots=True)
class Doubled:
    """Numbers of any shape, as codes in 0..255, the largest of each block [ceil(n / BLOCK)], and a mean."""

    codes: U8
    largest: F32
    mean: float
    shape: Shape

    @property
    def nbytes(self) -> int:
        return self.codes.nbytes + self.largest.nbytes + 4

    def values(self) -> F32:
        """What is meant, in the numbers' own shape."""
        units = np.repeat(self.largest, BLOCK)[: len(self.codes)]
        return (levels()[self.codes] * units + np.float32(self.mean)).reshape(self.shape)


def doubled(values: F32, *, centred: bool = True) -> Doubled:
    """`centred`: with the mean taken off, as of scales, which are all positive."""
    flat = values.astype(np.float32).ravel()
    mean = np.float32(flat.mean(dtype=np.float64)) if centred and flat.size else np.float32(0)
    apart = flat - mean
    padded = np.pad(apart, (0, -len(apart) % BLOCK)).reshape(-1, BLOCK)
    largest = np.abs(padded).max(axis=1) if padded.size else np.zeros(0, np.float32)
    inverse = np.divide(1, largest, out=np.zeros_like(largest), where=largest > 0)
    codes = nearest(padded * inverse[:, None], levels()).reshape(-1)[: len(flat)]
    return Doubled(codes, largest, float(mean), values.shape)


@cache
def levels() -> F32:
    """The 256 dynamic floats, sorted: zero, one, and for the exponent -e the middles of 2^(6 - e) equal parts of
    [0.1, 1], times 10^-e, of either sign.
    """
    found = [0.0, 1.0]
    for exponent in range(7):
        borders = np.linspace(0.1, 1, (1 << 6 - exponent) + 1)
        middles = 10.0**-exponent * (borders[1:] + borders[:-1]) / 2
        found += [*middles, *-middles]
    return np.array(sorted(found), np.float32)
