"""Which codes each matrix gets of those it may have, so that all of them fit so many bytes and lose the least: bits go
where each byte saves most, the dearest last (the greedy of multiple-choice knapsacks, Sinha and Zoltners 1979).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from edge.quant.tensor import Scheme

Name = TypeVar("Name")


@dataclass(frozen=True, slots=True)
class Choice:
    """How a matrix may be stored: `nbytes`, and what that loses."""

    scheme: Scheme
    nbytes: int
    loss: float


def least(choices: Sequence[Choice]) -> Choice:
    """The fewest bytes; of these, the least loss."""
    return min(choices, key=lambda one: (one.nbytes, one.loss))


def hull(choices: Sequence[Choice]) -> list[Choice]:
    """Those that some price of a byte makes the best, by rising bytes: each next one saves less loss a byte."""
    at = least(choices)
    found = [at]
    while better := [one for one in choices if one.nbytes > at.nbytes and one.loss < at.loss]:
        at = max(better, key=lambda one: (_saved(found[-1], one), -one.nbytes))
        found.append(at)
    return found


def within(every: Mapping[Name, Sequence[Choice]], nbytes: int) -> dict[Name, Choice] | None:
    """Matrix -> its choice, of `nbytes` at most in all; None if the least are more than that. More bytes never
    lose more.
    """
    found = {name: least(choices) for name, choices in every.items()}
    left = nbytes - sum(one.nbytes for one in found.values())
    if left < 0:
        return None
    for name, choice in path(every):
        left -= choice.nbytes - found[name].nbytes
        if left < 0:
            break
        found[name] = choice
    return found


def path(every: Mapping[Name, Sequence[Choice]]) -> list[tuple[Name, Choice]]:
    """Steps from the fewest bytes up, the one first whose bytes save the most: which matrix has which choice next."""
    steps = sorted(_steps(every), key=lambda step: -step[0])
    return [(name, choice) for _, name, choice in steps]


def _steps(
    every: Mapping[Name, Sequence[Choice]],
) -> Iterator[tuple[float, Name, Choice]]:
    """Each step along each hull, with the loss that its bytes save, a byte."""
    for name, choices in every.items():
        along = hull(choices)
        for before, after in pairwise(along):
            yield _saved(before, after), name, after


def _saved(before: Choice, after: Choice) -> float:
    return (before.loss - after.loss) / (after.nbytes - before.nbytes)
