"""What a decoder's logits prove against those of an oracle that computes alike, and which tokens it chose.

Kernels that round what goes into a product agree to 1e-6 up to the first value that lies on a rounding
tie. From there on they and the oracle, which rounds alike, go each its own way: both are as far from logits
that nothing rounds as rounding moves them, and so from each other by the root of two of that. This is their
bound, by the median. A figure that is no number fails, and no bound is made of one. V vocabulary,
T positions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge.decode.sampling import F64
from edge.typing import F32

LARGEST = float(np.finfo(np.float32).max)  # stands for infinity and NaN, which JSON has not
# The root of two, and what a median of 64 positions is off by: times what rounding does.
APART = 1.5
MOST = 0.5  # of the logits: an oracle that rounding moves farther proves nothing


@dataclass(frozen=True, slots=True)
class Proof:
    """Errors of a decoder against the oracle that computes alike, and its greedy choices."""

    error: float
    bound: float
    differing: int
    ties: int
    first: int | None
    decode_tps: float

    @property
    def near(self) -> bool:
        return self.error <= self.bound


@dataclass(frozen=True, slots=True)
class Forced:
    """Logits [T, V] of an oracle that rounds alike, and of one that does not round at all, over the same
    tokens. `forbidden`: ids whose logits are minus infinity; all others are numbers.
    """

    want: F32
    pure: F32
    tolerance: float
    forbidden: tuple[int, ...] = ()

    def proof(self, got: F32, chosen: Sequence[int], tps: float) -> Proof:
        """Of a decoder's logits at the same positions [T, V], and the tokens that it chose."""
        error, bound = self.error(got)
        if error == LARGEST:
            return Proof(error, bound, 0, 0, None, tps)
        # A position may be moved farther than the median.
        moved = self._moved()
        least = 2 * float(moved.max()) if np.median(moved) > 0 else 0.0
        return Proof(error, bound, *self._choices(chosen, max(bound, least)), tps)

    def error(self, got: F32, share: float = 1.0) -> tuple[float, float]:
        """Of logits at the same positions [T, V], and its bound: of the worst of such a share of them, or where
        rounding moves the oracle, of the median.
        """
        if not (self._sound(got) and self._sound(self.want)):
            return LARGEST, self.tolerance
        errors, moved = errors_of(self._allowed(got), self._allowed(self.want)), self._moved()
        if np.median(moved) > 0:
            return float(np.median(errors)), max(self.tolerance, _apart(moved))
        return float(np.quantile(errors, share, method="higher")), self.tolerance

    def _moved(self) -> F64:
        """How far rounding moves the oracle, by position; nothing is known of one that is no number."""
        if not self._sound(self.pure):
            return np.zeros(1)
        moved = errors_of(self._allowed(self.want), self._allowed(self.pure))
        return np.minimum(moved, MOST)

    def _choices(self, chosen: Sequence[int], explained: float) -> tuple[int, int, int | None]:
        """Where the oracle would have chosen otherwise: by more than an error of so much explains, by
        less, and first.
        """
        best = np.sort(self.want, axis=1)
        margins = best[:, -1] - best[:, -2]
        other = self.want.argmax(axis=1) != np.array(chosen)
        tie = other & (margins <= 2 * explained * _sizes(self._allowed(self.want)))
        places = np.flatnonzero(other)
        first = int(places[0]) if len(places) else None
        return int((other & ~tie).sum()), int(tie.sum()), first

    def _sound(self, logits: F32) -> bool:
        """Whether all are numbers but the forbidden, which are minus infinity."""
        numbers = np.isfinite(logits).sum(axis=1) == logits.shape[1] - len(set(self.forbidden))
        return bool(numbers.all() and np.isneginf(logits[:, list(self.forbidden)]).all())

    def _allowed(self, logits: F32) -> F32:
        return np.delete(logits, list(self.forbidden), axis=1) if self.forbidden else logits


def outputs_error(
    got: Sequence[F32],
    want: Sequence[F32],
    pure: Sequence[F32],
    tolerance: float,
    share: float = 1.0,
) -> tuple[float, float]:
    """Of outputs [R, D] each, that of an oracle which rounds alike and of one which does not round: the
    error of such a share of rows and its bound, as of logits.
    """
    found = [
        Forced(w, p, tolerance).error(g, share) for g, w, p in zip(got, want, pure, strict=True)
    ]
    return max(found, key=lambda pair: pair[0] / pair[1])


def _apart(moved: F64) -> float:
    """How far two that round alike may be from each other, if each moves by so much [T]."""
    return min(MOST, APART * float(np.median(moved)))


def errors_of(got: F32, want: F32) -> F64:
    """How far logits [T, V] are from others, relative to these: [T]."""
    sizes = _sizes(want)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        error = np.abs(got - want).max(axis=1).astype(np.float64) / sizes
    return np.where(sizes > 0, np.minimum(error, LARGEST), LARGEST)


def _sizes(logits: F32) -> F32:
    """What errors are relative to: the largest of [T, V], or all that sets them apart. What is common to
    all of them chooses nothing.
    """
    sizes: F32 = np.minimum(np.abs(logits).max(axis=1), np.ptp(logits, axis=1))
    return sizes
