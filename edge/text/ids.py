"""The ids that a runtime needs to know apart from the text."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SpecialIds:
    """What starts a sequence, and what ends an answer."""

    bos: int | None
    stop: frozenset[int]
