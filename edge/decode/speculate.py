"""Speculative decoding, one loop for every drafter: it proposes tokens, the model reads them at once, and
those stay that the model itself would have chosen (arXiv 2211.17192).

Greedy answers are those of plain decoding. Sampled ones have its distribution: the drafted token of
probability q is kept with min(1, p / q), else one is drawn from what p has above q; a drafter that is
certain has q = 1. V vocabulary, n drafted tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edge.decode.sampling import F64
from edge.protocols import Decoder
from edge.typing import F32

Draw = Callable[[F32], tuple[int, F64 | None]]  # logits -> a token, and the chances if it was drawn
_LEVELS = 8  # of sureness, that are told apart
_PRIOR = 2.0  # tokens of a level that must have been judged, to count as much as the drafter's word
_LEAST = 0.5  # a draft ends with a token that is less likely to be kept


class Trust:
    """How often drafted tokens were kept, by how sure the drafter was of them: its word, until there is
    something to count. Depends on nothing but what was drafted before in the same answer.
    """

    def __init__(self) -> None:
        self._judged, self._kept = np.zeros(_LEVELS), np.zeros(_LEVELS)

    def chance(self, sure: float) -> float:
        """That a token is kept of which the drafter was so sure."""
        level = _level(sure)
        kept = self._kept[level] + _PRIOR * sure
        return float(kept / (self._judged[level] + _PRIOR))

    def learn(self, sure: float, kept: bool) -> None:
        self._judged[_level(sure)] += 1
        self._kept[_level(sure)] += kept


class Draft:
    """Tokens [n] that may follow, and for each the distribution [V] that it was drawn from; none, where
    the drafter is certain. It is `open` up to `most` tokens, or to one that will hardly be kept, as in
    Draft & Verify (arXiv 2309.08168); the threshold there is one of sureness, here of what it was worth.
    """

    def __init__(self, most: int, draw: Draw, trust: Trust) -> None:
        self.most, self.open = most, most > 0
        self.tokens: list[int] = []
        self.chances: list[F64] = []
        self.sure: list[float] = []
        self._draw, self._trust = draw, trust

    def draw(self, logits: F32) -> int:
        """One more token, by how the answer's tokens are chosen."""
        token, chances = self._draw(logits)
        if chances is not None:
            self.chances.append(chances)
        self.add(token, sureness(logits))
        return token

    def add(self, token: int, sure: float) -> None:
        """One more, of which the drafter is so sure, from 0 to 1."""
        assert self.open, "a draft that has ended"
        self.tokens.append(token)
        self.sure.append(sure)
        self.open = len(self.tokens) < self.most and self._trust.chance(sure) >= _LEAST

    def learn(self, kept: int) -> None:
        """The first `kept` tokens were, the next one was not; those after it were not judged."""
        for place, sure in enumerate(self.sure[: kept + 1]):
            self._trust.learn(sure, place < kept)


class Drafter(Protocol):
    """Proposes tokens for a sequence that it is kept in step with."""

    def propose(self, history: Sequence[int], draft: Draft) -> None:
        """Tokens after the history, whose last token is not in the cache yet, while the draft is open."""
        ...

    def verify(self, run: Sequence[int]) -> F32:
        """Append the last token and the drafted ones -> the model's logits [n + 1, V]."""
        ...

    def rewind(self, length: int) -> None:
        """Forget what was not accepted."""
        ...


class Choices(Protocol):
    """How the answer's tokens are chosen, and drafted ones judged."""

    def draw(self, logits: F32) -> tuple[int, F64 | None]: ...

    def judge(self, logits: F32, drafted: int | None, chances: F64 | None) -> int: ...

    def ends(self, token: int) -> bool:
        """Whether it is the last of all."""
        ...


@dataclass(slots=True)
class Tally:
    """How many tokens were drafted, and how many of them were kept."""

    drafted: int = 0
    accepted: int = 0

    @property
    def share(self) -> float:
        return self.accepted / self.drafted if self.drafted else 0.0


class Speculation:
    """Rounds of drafting and verifying over one decoder. `most`: tokens of a draft."""

    def __init__(self, decoder: Decoder, drafter: Drafter, most: int) -> None:
        self.decoder, self.drafter, self.most = decoder, drafter, most
        self.tally = Tally()
        self._trust = Trust()

    def begin(self) -> None:
        """Another answer: the same request drafts the same."""
        self._trust = Trust()

    def advance(self, history: Sequence[int], room: int, choices: "Choices") -> list[int]:
        """The tokens after a history whose last one is not in the cache: at least one, at most `room`.

        The cache then holds everything but the last of them.
        """
        start = self.decoder.length
        spare = self.decoder.capacity - start - 1  # beside the last token
        most = max(0, min(self.most, room - 1, spare))
        draft = Draft(most, choices.draw, self._trust)
        self.drafter.propose(history, draft)
        logits = self.drafter.verify([history[-1], *draft.tokens])
        out: list[int] = []
        for place, drafted in enumerate([*draft.tokens, None]):
            chances = draft.chances[place] if drafted is not None and draft.chances else None
            out.append(choices.judge(logits[place], drafted, chances))
            if out[-1] != drafted or choices.ends(out[-1]):
                break
        kept = sum(a == b for a, b in zip(out, draft.tokens, strict=False))
        draft.learn(kept)
        self.tally.drafted += len(draft.tokens)
        self.tally.accepted += kept
        self.drafter.rewind(start + len(out))
        return out


def sureness(logits: F32) -> float:
    """The likeliest token's probability."""
    return float(1 / np.exp(logits - logits.max()).sum())


def _level(sure: float) -> int:
    return min(int(sure * _LEVELS), _LEVELS - 1)


def accept(p: F64, drafted: int, q: F64 | None, rng: np.random.Generator) -> int:
    """The drafted token or another, so that the result is drawn from p [V]; it was drawn from q [V]."""
    certain = 1.0 if q is None else float(q[drafted])
    if rng.random() * certain < p[drafted]:
        return drafted
    rest = p.copy() if q is None else np.maximum(p - q, 0)
    if q is None:
        rest[drafted] = 0
    total = np.cumsum(rest)
    place = int(np.searchsorted(total, rng.random() * total[-1], side="right"))
    return min(place, int(np.flatnonzero(rest)[-1]))
