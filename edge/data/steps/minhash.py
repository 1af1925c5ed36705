"""MinHash signatures in bands (Broder 1997; settings of arXiv 2406.17557): texts whose runs of words have the Jaccard
similarity s meet in some band with the probability 1 - (1 - s^r)^b.

N runs of words, H = B x R permutations, B bands of R rows.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from edge.data.steps.words import Words
from edge.typing import U64

_AT_ONCE = 1 << 11  # runs of words


@dataclass(frozen=True, kw_only=True, slots=True)
class MinHash:
    """`gram`: words of a run."""

    gram: int
    bands: int
    rows: int

    def keys(self, text: str, seed: int) -> U64:
        """A key of each band, [B]: texts meet in a band where the keys are one."""
        return self.bands_of(self.runs(text), seed)

    def runs(self, text: str) -> U64:
        """Hashes of the runs of words, each once, [N]; of a shorter text it is all of its words, of one without words
        the text itself: two of them are alike only if they say the same.
        """
        words = [word.casefold() for word in Words.of(text).plain] or [
            re.sub(r"\s+", " ", text).strip()
        ]
        hashes = np.array([_hash(word) for word in words], np.uint64)
        size = min(self.gram, len(words))
        found = np.zeros(len(words) - size + 1, np.uint64)
        for i in range(size):
            found = _mixed(found ^ hashes[i : i + len(found)])
        return np.unique(found)

    def bands_of(self, runs: U64, seed: int) -> U64:
        """Of hashed runs [N], a key of each band [B]."""
        least = signature(runs, self.bands * self.rows, seed).reshape(self.bands, self.rows)
        keys = np.zeros(self.bands, np.uint64)
        for row in range(self.rows):
            keys = _mixed(keys ^ least[:, row])
        return keys


def signature(runs: U64, count: int, seed: int) -> U64:
    """The least of the runs [N] under each of so many permutations of 64-bit numbers, [H]."""
    salts = _mixed(np.arange(count, dtype=np.uint64) + np.uint64(_mix(seed)))
    least = np.full(count, np.iinfo(np.uint64).max, np.uint64)
    for at in range(0, len(runs), _AT_ONCE):
        found = _mixed(runs[at : at + _AT_ONCE, None] ^ salts)  # [N, H]
        least = np.minimum(least, found.min(axis=0))
    return least


def chance(similarity: float, bands: int, rows: int) -> float:
    """That two texts of this similarity meet in some band."""
    return float(1 - (1 - similarity**rows) ** bands)


def meeting(keys: Sequence[U64]) -> bool:
    """Whether two texts meet in some band."""
    first, second = keys
    return bool((first == second).any())


@lru_cache(maxsize=1 << 16)
def _hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")


def _mixed(x: U64) -> U64:
    """The finalizer of splitmix64: a permutation of 64-bit numbers that leaves nothing of their order."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: U64 = x ^ (x >> np.uint64(31))
    return mixed


def _mix(seed: int) -> int:
    return int(_mixed(np.array([seed & (1 << 64) - 1], np.uint64))[0])
