"""A decoder that reads nothing twice: many ways of compacting begin with the same prompt."""

from collections.abc import Sequence
from typing import NamedTuple

from edge.protocols import Evictable
from edge.typing import F32, I64

Found = tuple[F32, list[F32]]


class Call(NamedTuple):
    """What appended tokens: `score` gives all logits, `observe` votes, too."""

    name: str
    tokens: tuple[int, ...]


class Replay:
    """`edge.protocols.Evictable` over one that it leads. Results of calls are kept until it is dropped;
    once rows are forgotten, a fork goes on.
    """

    def __init__(self, base: Evictable) -> None:
        base.rewind(0)
        self.spec, self.capacity = base.spec, base.capacity
        self._base = base
        self._done: list[Call] = []  # what the base has read
        self._calls: list[Call] = []  # what it would have read
        self._known: dict[tuple[Call, ...], Found] = {}
        self._fork: Evictable | None = None

    @property
    def length(self) -> int:
        return _length(self._calls) if self._fork is None else self._fork.length

    @property
    def rows(self) -> tuple[int, ...]:
        if self._fork is not None:
            return self._fork.rows
        return (self.length,) * len(self.spec.layers)

    def prefill(self, tokens: Sequence[int]) -> F32:
        return self._call("prefill", tokens)[0]

    def step(self, token: int) -> F32:
        return self._call("prefill", [token])[0]

    def score(self, tokens: Sequence[int]) -> F32:
        return self._call("score", tokens)[0].copy()  # who asks may write into it

    def observe(self, tokens: Sequence[int]) -> Found:
        return self._call("observe", tokens)

    def keep(self, rows: Sequence[I64]) -> None:
        if self._fork is None:
            self._fork = self.fork(rows)
        else:
            self._fork.keep(rows)

    def fork(self, rows: Sequence[I64]) -> Evictable:
        self._follow()
        return self._base.fork(rows)

    def rewind(self, length: int) -> None:
        if length == 0:
            self._fork, self._calls = None, []
        elif self._fork is not None:
            self._fork.rewind(length)
        else:
            while self.length > length:
                self._calls.pop()
            assert self.length == length, "only to where a call began"

    def _call(self, name: str, tokens: Sequence[int]) -> Found:
        call = Call(name, tuple(tokens))
        if self._fork is not None:
            return _made(self._fork, call)
        key = (*self._calls, call)
        if key not in self._known:
            self._follow()
            self._known[key] = _made(self._base, call)
            self._done.append(call)
        self._calls.append(call)
        return self._known[key]

    def _follow(self) -> None:
        """Bring the base to where the calls lead."""
        same = 0
        while same < min(len(self._done), len(self._calls)) and (
            self._done[same].tokens == self._calls[same].tokens
        ):
            same += 1
        self._base.rewind(_length(self._calls[:same]))
        for call in self._calls[same:]:
            self._base.prefill(call.tokens)
        self._done = [*self._calls]


def _length(calls: Sequence[Call]) -> int:
    return sum(len(call.tokens) for call in calls)


def _made(decoder: Evictable, call: Call) -> Found:
    if call.name == "observe":
        logits, votes = decoder.observe(call.tokens)
        return logits.copy(), votes
    logits = (decoder.score if call.name == "score" else decoder.prefill)(call.tokens)
    return logits.copy(), []
