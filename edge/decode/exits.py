"""Drafts by a model's first layers, whoever runs them: `edge.protocols.EarlyExit` over the two halves.

What a drafted token leaves at the exit is kept until `finish` sends all of it through the other layers;
it is forgotten when anything else is read. T tokens, V vocabulary.
"""

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from edge.decode.layerskip import widened
from edge.protocols import Decoder, Spliced
from edge.typing import F32

Left = TypeVar(
    "Left"
)  # what the layers after the exit need of a token: its residual stream, mostly


class Halves(Decoder, Protocol[Left]):
    """A decoder whose layers run up to an exit, and from there. What runs ahead of the sequence counts in
    its `length` once it is finished; until then whatever is read next may overwrite it.
    """

    def draft(self, token: int, *, ahead: int) -> tuple[Left, F32]:
        """A token through the layers before the exit, with `ahead` others between the sequence and it ->
        what it leaves, and logits of the shared head there: [V], or of the first ids.
        """
        ...

    def early(self, token: int, *, ahead: int) -> Left:
        """The same, where nobody asks for logits."""
        ...

    def late(self, left: Sequence[Left]) -> F32:
        """Append these tokens: their remaining layers -> logits [T, V] of all."""
        ...


class ExitDecoder(Generic[Left]):
    """`edge.protocols.EarlyExit` over a runtime's halves."""

    def __init__(self, halves: Halves[Left]) -> None:
        self.spec, self.capacity = halves.spec, halves.capacity
        self._halves = halves
        self._left: list[Left] = []  # by drafted tokens

    @property
    def length(self) -> int:
        return self._halves.length

    def prefill(self, tokens: Sequence[int]) -> F32:
        self._forget()
        return self._halves.prefill(tokens)

    def step(self, token: int) -> F32:
        self._forget()
        return self._halves.step(token)

    def score(self, tokens: Sequence[int]) -> F32:
        self._forget()
        return self._halves.score(tokens)

    def rewind(self, length: int) -> None:
        self._left = []
        self._halves.rewind(length)

    def draft(self, token: int) -> F32:
        left, logits = self._halves.draft(token, ahead=self._ahead())
        self._left.append(left)
        return widened(logits, self.spec.vocab)

    def finish(self, token: int) -> F32:
        left = [*self._left, self._halves.early(token, ahead=self._ahead())]
        self._left = []
        return self._halves.late(left)

    def _ahead(self) -> int:
        """How many drafted tokens the next one comes after."""
        ahead = len(self._left)
        assert self.length + ahead < self.capacity, (
            f"{ahead} drafted after {self.length} of {self.capacity}"
        )
        return ahead

    def _forget(self) -> None:
        """A runtime that counts what ran ahead forgets it, too."""
        if self._left:
            self.rewind(self.length)


class SplicedHalves(Halves[Left], Spliced, Protocol[Left]):
    """Halves of a decoder that takes rows."""


class SplicedExitDecoder(ExitDecoder[Left]):
    """`edge.protocols.SplicedExit` over a runtime's halves that take rows."""

    def __init__(self, halves: SplicedHalves[Left]) -> None:
        super().__init__(halves)
        self._spliced = halves

    def embed(self, tokens: Sequence[int]) -> F32:
        return self._spliced.embed(tokens)

    def prefill_rows(self, rows: F32) -> F32:
        self._forget()
        return self._spliced.prefill_rows(rows)
