"""Rotations that spread what is large over all columns (QuIP, arXiv 2307.13304; by Hadamard matrices, 2402.04396).

One for each number of columns, the same everywhere: signs, and then a Kronecker product of small orthogonal matrices,
Hadamard's for powers of two and a cosine transform for what is left, so that K columns take K times the sum of their
sizes. x R is what is multiplied with W R, and comes to x W' as before. K columns.
"""

import hashlib
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np

from edge.typing import F32

_MOST = 128  # rows of a Hadamard matrix


@cache
def matrices(columns: int) -> tuple[F32, ...]:
    """The factors of the product, [f, f] each, the first the slowest."""
    odd, twos = columns, 1
    while odd % 2 == 0:
        odd, twos = odd // 2, twos * 2
    parts = [_cosines(odd)] if odd > 1 else []
    while twos > 1:
        size = min(
            twos, _MOST if twos >= _MOST**2 or twos <= _MOST else 1 << (twos.bit_length() // 2)
        )
        parts.append(_hadamard(size))
        twos //= size
    return tuple(parts)


@cache
def signs(columns: int) -> F32:
    """Ones and minus ones, [K]."""
    bits = hashlib.shake_256(f"{columns} columns".encode()).digest(-(-columns // 8))
    each = np.unpackbits(np.frombuffer(bits, np.uint8))[:columns]
    return (1 - 2 * each.astype(np.float32)).astype(np.float32)


def rotated(x: F32) -> F32:
    """x R: [..., K] -> [..., K]."""
    return np.ascontiguousarray(multiplied(x * signs(x.shape[-1]), matrices(x.shape[-1])))


def back(x: F32) -> F32:
    """x R', which undoes `rotated`."""
    turned = multiplied(x, [matrix.T for matrix in matrices(x.shape[-1])])
    return np.ascontiguousarray(turned * signs(x.shape[-1]))


def multiplied(x: Any, factors: Iterable[Any]) -> Any:
    """x [..., K] times the Kronecker product of matrices, in arrays of any library that has `@` and `reshape`."""
    shape, rest = x.shape, x.shape[-1]
    for matrix in factors:
        rest //= len(matrix)
        x = matrix @ x.reshape(-1, len(matrix), rest)
    return x.reshape(shape)


def _hadamard(size: int) -> F32:
    made = np.ones((1, 1))
    while len(made) < size:
        made = np.block([[made, made], [made, -made]])
    return (made / np.sqrt(size)).astype(np.float32)


def _cosines(size: int) -> F32:
    """The orthogonal cosine transform, of the second kind."""
    k, n = np.arange(size)[:, None], np.arange(size)[None]
    made = np.cos(np.pi * (n + 0.5) * k / size) * np.sqrt(2 / size)
    made[0] /= np.sqrt(2)
    return made.astype(np.float32)
