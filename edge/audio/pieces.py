"""A long row of frames as pieces that overlap, so that a network which sees a few frames around each makes of them what
it makes of all at once.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from edge.errors import EdgeError


@dataclass(frozen=True, slots=True)
class Piece:
    """Frames `start` to `stop` are wanted, and are made of those from `first` to `last`; ends exclusive."""

    start: int
    stop: int
    first: int
    last: int


def pieces(frames: int, *, begin: int, most: int, reach: int) -> Iterator[Piece]:
    """All frames, each wanted once: of so many the first piece, each later one twice as long as the one before, and
    none made of more than `most`. `reach`: frames on each side that one depends on.
    """
    if min(frames, begin) < 1 or reach < 0 or most <= 2 * reach:
        raise EdgeError(
            f"pieces of {begin} to {most} frames that reach {reach} further",
            fix="give more frames a piece",
        )
    start, size = 0, min(begin, most - 2 * reach)
    while start < frames:
        stop = min(start + size, frames)
        yield Piece(start, stop, max(0, start - reach), min(frames, stop + reach))
        start, size = stop, min(2 * size, most - 2 * reach)
