"""Speculative decoding, one loop for every drafter: it proposes tokens, the model reads them at once, and
those stay that the model itself would have chosen (arXiv 2211.17192).

Greedy answers are those of plain decoding. Sampled ones have its distribution: the drafted token of
probability q is kept with min(1, p / q), else one is drawn from what p has above q; a drafter that is
certain has q = 1. V vocabulary, n drafted tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from edge.decode.sampling import F64
from edge.protocols import Decoder
from edge.typing import F32


@dataclass(frozen=True, slots=True)
class Draft:
    """Tokens [n] that may follow, and for each the distribution [V] that it was drawn from; none, where
    the drafter is certain.
    """

    tokens: list[int]
    chances: list[F64] = field(default_factory=list)

    def add(self, token: int, chances: F64 | None) -> None:
        self.tokens.append(token)
        if chances is not None:
            self.chances.append(chances)


Draw = Callable[[F32], tuple[int, F64 | None]]  # logits -> a token, and the chances if it was drawn


class Drafter(Protocol):
    """Proposes tokens for a sequence that it is kept in step with."""

    def propose(self, history: Sequence[int], most: int, draw: Draw) -> Draft:
        """At most `most` tokens after the history, whose last token is not in the cache yet; `draw`
        chooses from logits as the answer's tokens are chosen.
        """
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

    def advance(self, history: Sequence[int], room: int, choices: "Choices") -> list[int]:
        """The tokens after a history whose last one is not in the cache: at least one, at most `room`.

        The cache then holds everything but the last of them.
        """
        start = self.decoder.length
        spare = self.decoder.capacity - start - 1  # beside the last token
        most = max(0, min(self.most, room - 1, spare))
        draft = self.drafter.propose(history, most, choices.draw)
        logits = self.drafter.verify([history[-1], *draft.tokens])
        out: list[int] = []
        for place, drafted in enumerate([*draft.tokens, None]):
            chances = draft.chances[place] if drafted is not None and draft.chances else None
            out.append(choices.judge(logits[place], drafted, chances))
            if out[-1] != drafted or choices.ends(out[-1]):
                break
        kept = sum(a == b for a, b in zip(out, draft.tokens, strict=False))
        self.tally.drafted += len(draft.tokens)
        self.tally.accepted += kept
        self.drafter.rewind(start + len(out))
        return out


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
