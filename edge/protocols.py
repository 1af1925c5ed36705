"""What a runtime can do, as small protocols: an algorithm's signature is its requirement.

T tokens, V vocabulary.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from edge.net import NetSpec
from edge.spec import DecoderSpec
from edge.typing import F32, I64, AnyArray


@runtime_checkable
class Decoder(Protocol):
    """One sequence in progress. Owns its KV cache, which holds `length` tokens and never more than
    `capacity`.
    """

    @property
    def spec(self) -> DecoderSpec: ...

    @property
    def length(self) -> int: ...

    @property
    def capacity(self) -> int: ...

    def prefill(self, tokens: Sequence[int]) -> F32:
        """Append tokens: [T] -> logits [V] of the last position."""
        ...

    def step(self, token: int) -> F32:
        """Append one token -> logits [V]."""
        ...

    def score(self, tokens: Sequence[int]) -> F32:
        """Append tokens: [T] -> logits [T, V] of every position."""
        ...

    def rewind(self, length: int) -> None:
        """Forget every token from `length` on. A decoder that cannot go back so far begins anew: look at
        `length`.
        """
        ...


@runtime_checkable
class Spliced(Decoder, Protocol):
    """A decoder that takes rows in place of tokens: what another network made of a picture, between the rows
    of a text. D model width.
    """

    def embed(self, tokens: Sequence[int]) -> F32:
        """What tokens are before the first layer: [T, D]. Nothing is appended."""
        ...

    def prefill_rows(self, rows: F32) -> F32:
        """Append rows [T, D], each at a position of its own -> logits [V] of the last."""
        ...


@runtime_checkable
class Evictable(Decoder, Protocol):
    """A decoder whose cache may hold fewer rows than there are tokens. Each row keeps the rotation of
    its true position, and `length` stays the true position of the next token. H query heads, G kv
    heads, S rows, C rows that are kept.
    """

    @property
    def rows(self) -> tuple[int, ...]:
        """How many each layer's cache holds."""
        ...

    def observe(self, tokens: Sequence[int]) -> tuple[F32, list[F32]]:
        """Append tokens [T] -> logits [V] of the last, and for each layer what attention every row got
        from each head, summed over the new tokens: [H, S].
        """
        ...

    def keep(self, rows: Sequence[I64]) -> None:
        """Forget, in each layer, all but these rows: [G, C], rising for each kv head. C may be another for
        each layer; a runtime whose layers share one table of rows refuses that.
        """
        ...

    def fork(self, rows: Sequence[I64]) -> "Evictable":
        """Another decoder of the same weights and sequence, whose cache holds only these rows."""
        ...


@runtime_checkable
class SplicedEvictable(Spliced, Evictable, Protocol):
    """Both: what a picture's rows are worth to the end of a prompt, and the rest forgotten."""

    def observe_rows(self, rows: F32) -> tuple[F32, list[F32]]:
        """As `observe`, of rows [T, D]."""
        ...


@runtime_checkable
class Roundable(Evictable, Protocol):
    """A decoder whose cache may go over to int8, with the scales of `edge.decode.rounding`."""

    @property
    def rounded(self) -> bool:
        """Whether it has; a sequence begins in float32."""
        ...

    def round(self) -> None:
        """Round all rows that the cache holds, and every later one of this sequence."""
        ...


@runtime_checkable
class SplicedRoundable(SplicedEvictable, Roundable, Protocol):
    """Both: rows of a picture in an int8 cache."""


@runtime_checkable
class EarlyExit(Decoder, Protocol):
    """A decoder that can stop after its first layers and go on from there later: self-speculation
    (LayerSkip, arXiv 2404.16710). What was drafted counts in `length` only once it is finished.
    """

    def draft(self, token: int) -> F32:
        """Run a token through the layers before the exit -> logits [V] of the shared head there; minus
        infinity past `spec.draft_vocab`.
        """
        ...

    def finish(self, token: int) -> F32:
        """Append the drafted tokens and one more: their remaining layers -> logits [T, V] of all."""
        ...


@runtime_checkable
class SplicedExit(Spliced, EarlyExit, Protocol):
    """Both: drafts after a prompt with rows of a picture."""


@runtime_checkable
class Net(Protocol):
    """A network that is no decoder: it remembers nothing between calls."""

    @property
    def spec(self) -> NetSpec: ...

    def __call__(self, **inputs: AnyArray) -> dict[str, F32]:
        """Outputs by name, of exactly the inputs that its ports name; floats, or integers where a port
        says so.
        """
        ...
