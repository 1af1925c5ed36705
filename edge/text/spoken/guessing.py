"""How a word that no lexicon has is spoken: from its letters, by what nine tenths of a lexicon taught.

Each letter is spoken as a chunk of no, one or two phonemes. A pair of letter and chunk depends on the pairs before it
(joint-sequence models: Bisani & Ney, Speech Communication 50, 2008), with interpolated Kneser-Ney smoothing; the
best sequence of pairs is searched with a beam. `tests/bench/phonemes.py --learn` makes `guessing.npz`.

B paths in the beam, C pairs of a letter. A sequence of up to ORDER pairs is one number, nine bits a pair.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.text.spoken.symbols import PRIMARY, Phonemes
from edge.typing import U64

ORDER = 7  # pairs that are looked at, the new one included
DISCOUNT = 0.8
EDGE = 1  # the pair that stands before a word and after it; the others follow
_BITS = 9
_BEAM = 24
_FILE = Path(__file__).with_suffix(".npz")
F64 = NDArray[np.float64]
Pair = tuple[str, Phonemes]


class Guesser:
    """`keys`: sequences of 1 to ORDER pairs, in order; `counts` of them. Of those that are shorter than ORDER it is
    counted in how many different contexts they stand, as Kneser and Ney do.
    """

    def __init__(self, pairs: Sequence[Pair], keys: U64, counts: NDArray[np.uint32]) -> None:
        self._pairs = dict(enumerate(pairs, EDGE + 1))
        self._keys, self._counts = keys, counts
        contexts, starts = np.unique(keys >> np.uint64(_BITS), return_index=True)
        self._contexts = contexts
        self._sums = np.add.reduceat(counts.astype(np.float64), starts)
        self._kinds = np.diff(np.append(starts, keys.size)).astype(np.float64)
        self._by_letter: dict[str, list[int]] = {}
        for code, (letter, _) in self._pairs.items():
            self._by_letter.setdefault(letter, []).append(code)

    def phonemes(self, word: str) -> Phonemes:
        """Of lower-case letters a to z and apostrophes; what is none of them is silent."""
        paths, scores = [(EDGE,)], np.zeros(1)
        for letter in word:
            codes = self._by_letter.get(letter)
            if codes is None:
                continue
            whole = scores[:, None] + np.log(self.probabilities(paths, codes))  # [B, C]
            best = np.argsort(-whole, axis=None, kind="stable")[:_BEAM]
            paths = [(*paths[at // len(codes)], codes[at % len(codes)]) for at in best.tolist()]
            scores = whole.ravel()[best]
        scores = scores + np.log(self.probabilities(paths, [EDGE])[:, 0])
        ways = [self._spoken(paths[at]) for at in np.argsort(-scores, kind="stable").tolist()]
        # Pairs know little of what is far away: that a word has one stress, and not two, is asked for here.
        return next((way for way in ways if _stresses(way) == 1), ways[0])

    def _spoken(self, path: Sequence[int]) -> Phonemes:
        return tuple(symbol for code in path[1:] for symbol in self._pairs[code][1])

    def probabilities(self, paths: Sequence[Sequence[int]], codes: Sequence[int]) -> F64:
        """Of each pair after each sequence of pairs: [B, C]"""
        out = np.full((len(paths), len(codes)), 1 / (len(self._pairs) + 1))
        new = np.array(codes, np.uint64)
        before = np.array([key(path[1 - ORDER :]) for path in paths], np.uint64)
        for size in range(ORDER):
            context = before & np.uint64((1 << _BITS * size) - 1)
            at, there = _found(self._contexts, context)  # [B]
            if size:  # no pair is 0: where the first is, the path is shorter
                there &= context >= np.uint64(1 << _BITS * (size - 1))
            if not there.any():
                break
            place, seen = _found(self._keys, (context[:, None] << np.uint64(_BITS)) | new)  # [B, C]
            count = np.where(seen, self._counts[place], 0.0)
            mixed = np.maximum(0, count - DISCOUNT) + DISCOUNT * self._kinds[at][:, None] * out
            out = np.where(there[:, None], mixed / self._sums[at][:, None], out)
        return out


def key(codes: Sequence[int]) -> int:
    """Of a sequence of pairs; none are 0."""
    out = 0
    for code in codes:
        out = out << _BITS | code
    return out


def _found(among: U64, wanted: U64) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Where each is, and whether it is there."""
    at = np.minimum(np.searchsorted(among, wanted), among.size - 1)
    return at, among[at] == wanted


def _stresses(phonemes: Phonemes) -> int:
    return sum(symbol.startswith(PRIMARY) for symbol in phonemes)


@cache
def guesser() -> Guesser:
    """The one of American English that comes with this package."""
    return loaded(_FILE)


def loaded(file: Path) -> Guesser:
    """What `write` wrote."""
    with np.load(file) as stored:
        lines = bytes(stored["pairs"]).decode().split("\n")
        steps = stored["steps"].T.copy().view("<u8").ravel()
        keys, counts = np.cumsum(steps, dtype=np.uint64), stored["counts"].astype(np.uint32)
    pairs = [(line[0], tuple(line[2:].split())) for line in lines]
    return Guesser(pairs, keys, counts)


def write(file: Path, pairs: Sequence[Pair], counts: Mapping[int, int]) -> None:
    """Keys in order, each as its distance from the last, all first bytes, then all second ones: they compress well."""
    keys = np.array(sorted(counts), np.uint64)
    steps = np.diff(keys, prepend=np.uint64(0))
    lines = "\n".join(f"{letter} {' '.join(spoken)}" for letter, spoken in pairs)
    np.savez_compressed(
        file,
        pairs=np.frombuffer(lines.encode(), np.uint8),
        steps=np.ascontiguousarray(steps.astype("<u8").view(np.uint8).reshape(-1, 8).T),
        counts=np.array([counts[k] for k in keys.tolist()], np.uint32),
    )
