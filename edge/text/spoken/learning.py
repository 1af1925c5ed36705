"""What `guessing` knows, learned from a lexicon: which letters speak which phonemes, and how often pairs follow.

Letters and phonemes are aligned by expectation and maximisation: a letter speaks no, one or two phonemes.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from edge.text.spoken.guessing import EDGE, ORDER, Pair, key
from edge.text.spoken.symbols import Phonemes

_MOST = 2  # phonemes of a letter
_ROUNDS = 6
_SAMPLE = 30_000  # words that the alignment is learned from
_SHORT = 6  # pairs: of fewer all are kept
_RARE = 4  # a pair seen less often is a slip of the alignment: its words are left out
Word = tuple[str, Phonemes]


def learned(words: Sequence[Word]) -> tuple[list[Pair], dict[int, int]]:
    """Words of lower-case letters and their phonemes -> pairs, and the counts of their sequences."""
    costs = _alignment(words[:: max(1, len(words) // _SAMPLE)])
    aligned = [path for word in words if (path := _best(word, costs)) is not None]
    often = Counter(pair for path in aligned for pair in path)
    pairs = sorted(pair for pair, count in often.items() if count >= _RARE)
    codes = {pair: at for at, pair in enumerate(pairs, EDGE + 1)}
    paths = [tuple(codes[p] for p in path) for path in aligned if all(p in codes for p in path)]
    return pairs, _counts(paths)


def _alignment(words: Sequence[Word]) -> Mapping[Pair, float]:
    """Pair -> minus the logarithm of how likely its letter speaks so."""
    chances: dict[Pair, float] = defaultdict(lambda: 1.0)
    for _ in range(_ROUNDS):
        expected: dict[Pair, float] = defaultdict(float)
        for letters, spoken in words:
            _expect(letters, spoken, chances, expected)
        totals: dict[str, float] = defaultdict(float)
        for (letter, _), weight in expected.items():
            totals[letter] += weight
        chances = defaultdict(float, {p: w / totals[p[0]] for p, w in expected.items() if w > 1e-9})
    return {pair: -math.log(chance) for pair, chance in chances.items()}


def _expect(
    letters: str, spoken: Phonemes, chances: Mapping[Pair, float], into: dict[Pair, float]
) -> None:
    """Forward and backward over all ways to part the phonemes among the letters."""
    n, m = len(letters), len(spoken)
    steps = list(_steps(letters, spoken))
    forward = [[0.0] * (m + 1) for _ in range(n + 1)]
    backward = [[0.0] * (m + 1) for _ in range(n + 1)]
    forward[0][0] = backward[n][m] = 1.0
    for i, j, k in steps:
        forward[i + 1][k] += forward[i][j] * chances[letters[i], spoken[j:k]]
    for i, j, k in reversed(steps):
        backward[i][j] += chances[letters[i], spoken[j:k]] * backward[i + 1][k]
    whole = forward[n][m]
    if whole <= 0:
        return
    for i, j, k in steps:
        pair = (letters[i], spoken[j:k])
        weight = forward[i][j] * chances[pair] * backward[i + 1][k] / whole
        if weight > 1e-6:
            into[pair] += weight


def _steps(letters: str, spoken: Phonemes) -> Iterator[tuple[int, int, int]]:
    """Letter i may speak phonemes j to k: by letters, so that what comes first is known first."""
    n, m = len(letters), len(spoken)
    for i in range(n):
        for j in range(max(0, m - _MOST * (n - i)), min(m, _MOST * i) + 1):
            for k in range(j, min(m, j + _MOST) + 1):
                yield i, j, k


def _best(word: Word, costs: Mapping[Pair, float]) -> list[Pair] | None:
    """The cheapest way to part a word's phonemes among its letters; None if there is none."""
    letters, spoken = word
    best: dict[tuple[int, int], tuple[float, list[Pair]]] = {(0, 0): (0.0, [])}
    for i, j, k in _steps(letters, spoken):
        pair = (letters[i], spoken[j:k])
        if (i, j) not in best or pair not in costs:
            continue
        cost, path = best[i, j]
        cost += costs[pair]
        if (i + 1, k) not in best or cost < best[i + 1, k][0]:
            best[i + 1, k] = (cost, [*path, pair])
    found = best.get((len(letters), len(spoken)))
    return None if found is None else found[1]


def _counts(paths: Sequence[tuple[int, ...]]) -> dict[int, int]:
    """Of sequences up to ORDER long; of shorter ones, in how many contexts they stand. Longer ones that were seen once
    say little and are most: they are left out.
    """
    level: Counter[tuple[int, ...]] = Counter()
    for path in paths:
        whole = (EDGE, *path, EDGE)
        level.update(whole[max(0, end - ORDER) : end] for end in range(2, len(whole) + 1))
    out: dict[int, int] = {}
    for size in range(ORDER, 0, -1):
        mine = {codes: count for codes, count in level.items() if len(codes) == size}
        out |= {key(codes): count for codes, count in mine.items() if count > 1 or size < _SHORT}
        # What begins a word has no context to be counted in: its number stands.
        contexts = Counter(codes[1:] for codes in mine if size > 1)
        level = Counter({k: c for k, c in level.items() if len(k) < size}) + contexts
    return out
