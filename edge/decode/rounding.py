"""An int8 cache: a quarter of the bytes that each step reads, from the end of the prompt on.

Prompts are read in float32, which attention kernels do faster and without error; then the rows are
rounded, and so is every later one. Each channel of a kv head has one scale (keys differ more between
channels than between tokens: arXiv 2402.02750), measured on the rows that are there. G kv heads, S rows,
W head width.
"""

from collections.abc import Sequence

import numpy as np

from edge.decode.snapkv import rows_of
from edge.protocols import Decoder, Roundable
from edge.typing import F32, I8

ENOUGH = 256  # tokens to measure scales on: a shorter sequence stays in float32
_HEADROOM = 1.25  # later rows may be so much larger before they are clipped
_NOTHING = 1e-30  # a channel whose numbers are all smaller is empty
_FLOAT, _INT8 = 4, 1  # bytes


def steps(rows: F32, rotated: int) -> F32:
    """What one step of int8 is worth in each channel of keys or values [G, S, W] -> [G, 1, W].

    The first `rotated` dimensions of a key are turned in pairs, i with i + rotated / 2, by its position:
    at another one all of a pair's length may lie in either.
    """
    largest = np.abs(rows).max(axis=1, keepdims=True)
    if rotated:
        half = rotated // 2
        length = np.hypot(rows[..., :half], rows[..., half:rotated]).max(axis=1, keepdims=True)
        largest[..., :half] = largest[..., half:rotated] = length
    largest[largest < _NOTHING] = 1
    scales: F32 = largest * np.float32(_HEADROOM / 127)
    return scales


def rounded(rows: F32, scales: F32) -> I8:
    """The nearest codes, halves to even; what is too large is clipped."""
    return np.clip(np.rint(rows * (1 / scales)), -128, 127).astype(np.int8)


class Rounding:
    """`edge.protocols.Decoder` whose cache is rounded once it holds enough to measure. `inner`: what reads
    prompts, over `cache`, or that itself.
    """

    def __init__(self, inner: Decoder, cache: Roundable) -> None:
        self.inner, self._cache = inner, cache
        self.spec, self.capacity = inner.spec, inner.capacity

    @property
    def length(self) -> int:
        return self.inner.length

    @property
    def number_bytes(self) -> int:
        """Of a number in the cache."""
        return _INT8 if self._cache.rounded else _FLOAT

    def prefill(self, tokens: Sequence[int]) -> F32:
        return self._round(self.inner.prefill(tokens))

    def step(self, token: int) -> F32:
        return self._round(self.inner.step(token))

    def score(self, tokens: Sequence[int]) -> F32:
        return self._round(self.inner.score(tokens))

    def rewind(self, length: int) -> None:
        self.inner.rewind(length)

    def _round(self, logits: F32) -> F32:
        if self.length >= ENOUGH and not self._cache.rounded:
            self._cache.round()
        return logits


def cache_of(decoder: Decoder) -> tuple[tuple[int, ...], int]:
    """Rows that each layer's cache holds, and the bytes of a number in it."""
    if isinstance(decoder, Rounding):
        return rows_of(decoder.inner), decoder.number_bytes
    return rows_of(decoder), _FLOAT
