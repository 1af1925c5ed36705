"""Long work that nobody wants any more: who asked for an answer may leave while its prompt is read.

A runtime asks between two pieces of a prompt. What was read until then stays read.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Unwanted(Exception):
    """Nobody waits for the rest."""


_left: ContextVar[Callable[[], bool]] = ContextVar("left", default=lambda: False)


@contextmanager
def unless(left: Callable[[], bool]) -> Iterator[None]:
    """In this thread work ends by `Unwanted` once `left` says so."""
    before = _left.set(left)
    try:
        yield
    finally:
        _left.reset(before)


def go_on() -> None:
    """Between two pieces: Unwanted if nobody waits."""
    if _left.get()():
        raise Unwanted
