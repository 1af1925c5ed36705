"""The next token from the logits: greedy, or drawn at random from a trimmed distribution.

V vocabulary, K tokens that are left. The order is that of transformers: repetition penalty,
temperature, top-k, top-p, min-p.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.errors import Damaged, EdgeError
from edge.typing import F32, I64

F64 = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How to choose a token. The default is greedy: always the likeliest."""

    temperature: float = 0.0  # 0: greedy; 1: the model's own distribution
    top_k: int | None = None  # keep the k likeliest
    top_p: float | None = None  # keep the fewest likeliest that together reach this probability
    min_p: float | None = None  # keep those at least this fraction as likely as the likeliest
    repetition_penalty: float = 1.0  # above 1: tokens seen before become less likely
    seed: int | None = None  # same seed, same tokens; None: different each time

    def __post_init__(self) -> None:
        _need(0 <= self.temperature < math.inf, "temperature", self.temperature, "0 or more")
        _need(self.top_k is None or self.top_k >= 1, "top_k", self.top_k, "1 or more")
        _need(self.top_p is None or 0 < self.top_p <= 1, "top_p", self.top_p, "above 0, at most 1")
        _need(self.min_p is None or 0 <= self.min_p <= 1, "min_p", self.min_p, "from 0 to 1")
        penalty = self.repetition_penalty
        _need(0 < penalty < math.inf, "repetition_penalty", penalty, "above 0")
        _need(self.seed is None or self.seed >= 0, "seed", self.seed, "0 or more")

    def rng(self) -> np.random.Generator:
        """The source of randomness that the seed asks for."""
        return np.random.default_rng(self.seed)


def pick(logits: F32, sampling: Sampling, history: Sequence[int], rng: np.random.Generator) -> int:
    """One token for logits [V]; `history` holds the tokens that the repetition penalty counts."""
    if sampling.temperature == 0:
        return _likeliest(_penalized(logits, sampling.repetition_penalty, history))
    tokens, weights = _support(logits, sampling, history)
    total = np.cumsum(weights)
    # A draw may round up to the total itself; the last token then takes it.
    place = int(np.searchsorted(total, rng.random() * total[-1], side="right"))
    return int(tokens[min(place, len(tokens) - 1)])


def distribution(logits: F32, sampling: Sampling, history: Sequence[int]) -> F64:
    """The probabilities [V] that `pick` draws from."""
    out = np.zeros(len(logits))
    if sampling.temperature == 0:
        out[_likeliest(_penalized(logits, sampling.repetition_penalty, history))] = 1
        return out
    tokens, weights = _support(logits, sampling, history)
    out[tokens] = weights / weights.sum()
    return out


def _support(logits: F32, sampling: Sampling, history: Sequence[int]) -> tuple[I64, F64]:
    """Tokens that may be drawn, in rising order [K], and their weights [K]."""
    logits = _penalized(logits, sampling.repetition_penalty, history)
    highest = float(logits[_likeliest(logits)])
    tokens = np.arange(len(logits))
    if sampling.top_k is not None and sampling.top_k < len(tokens):
        least = np.partition(logits, -sampling.top_k)[-sampling.top_k]
        tokens = np.flatnonzero(logits >= least)  # equals of the last one stay, too
        logits = logits[tokens]
    # The highest goes first: divided by a small temperature, logits overflow.
    weights = np.exp((logits.astype(np.float64) - highest) / sampling.temperature)
    if sampling.top_p is not None and sampling.top_p < 1:
        kept = _nucleus(weights, sampling.top_p)
        tokens, weights = tokens[kept], weights[kept]
    if sampling.min_p is not None:
        kept = np.flatnonzero(weights >= sampling.min_p)  # the likeliest weighs 1
        tokens, weights = tokens[kept], weights[kept]
    return tokens, weights


def _nucleus(weights: F64, top_p: float) -> I64:
    """Indices, rising, of the fewest heaviest weights that make up `top_p` of all."""
    enough = top_p * weights.sum()
    count = 64
    # Sorting a whole vocabulary may take longer than the model's step; the nucleus is small.
    while count < len(weights):
        heavy = np.argpartition(weights, -count)[-count:]
        if weights[heavy].sum() >= enough:
            break
        count *= 8
    else:
        heavy = np.arange(len(weights))
    heavy = heavy[np.lexsort((heavy, -weights[heavy]))]
    last = int(np.searchsorted(np.cumsum(weights[heavy]), enough))
    return np.sort(heavy[: last + 1])


def _penalized(logits: F32, penalty: float, history: Sequence[int]) -> F32:
    """Logits [V] with seen tokens pushed down (arXiv 1909.05858); no copy if none is."""
    if penalty == 1 or not history:
        return logits
    seen = np.unique(np.asarray(history, np.int64))
    logits = logits.copy()
    logits[seen] *= np.where(logits[seen] < 0, penalty, 1 / penalty)
    return logits


def _likeliest(logits: F32) -> int:
    """The first of the highest. To argmax NaN is the highest: one look at the winner finds it."""
    token = int(np.argmax(logits))
    if not math.isfinite(logits[token]):
        raise Damaged(
            f"the highest of {len(logits)} logits is {logits[token]}, at {token}: the model's numbers "
            "are broken, or too large for this runtime",
            fix="see what edge verify says of it, or convert its source again",
        )
    return token


def _need(right: bool, option: str, value: object, what: str) -> None:
    if not right:
        raise EdgeError(f"{option} is {value}, but must be {what}", fix=f"set {option} to {what}")
