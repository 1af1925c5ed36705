"""A model whose rotary tables depend on how long the sequence is: LongRoPE (arXiv 2402.13753), or a base
that grows.

Keys that were rotated by one set of factors are wrong under the other. So a sequence that crosses
the original context is read anew by the part that serves longer ones, as transformers does, instead
of decaying into gibberish; one that is rewound below it goes back.
"""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from edge.errors import EdgeError, Unsupported
from edge.protocols import Decoder, Evictable
from edge.spec import DecoderSpec, parts
from edge.typing import F32, I64

Inner = TypeVar("Inner", bound=Decoder)
Open = Callable[[str, DecoderSpec], Inner]  # a key of `edge.spec.parts` and its spec


def switching(spec: DecoderSpec, open_part: Open[Decoder]) -> Decoder:
    """A decoder of the whole model; one that never switches is its only part itself."""
    return open_part("", spec) if len(parts(spec)) == 1 else Switching(spec, open_part)


def switching_evictable(spec: DecoderSpec, open_part: Open[Evictable]) -> Evictable:
    """The same of decoders that forget rows."""
    return open_part("", spec) if len(parts(spec)) == 1 else SwitchingEvictable(spec, open_part)


class Switching(Generic[Inner]):
    """`edge.protocols.Decoder` over one open part at a time."""

    def __init__(self, spec: DecoderSpec, open_part: Open[Inner]) -> None:
        self.spec = spec
        self.capacity = spec.context
        self._open = open_part
        self._tokens: list[int] = []
        self._held: Inner | None = None
        self._label = ""
        self._hold(self._wanted(1))

    @property
    def length(self) -> int:
        return len(self._tokens)

    def prefill(self, tokens: Sequence[int]) -> F32:
        return self._at(tokens).prefill(tokens)

    def step(self, token: int) -> F32:
        return self._at((token,)).step(token)

    def score(self, tokens: Sequence[int]) -> F32:
        return self._at(tokens).score(tokens)

    def rewind(self, length: int) -> None:
        assert 0 <= length <= self.length, f"rewind to {length} of {self.length}"
        del self._tokens[length:]
        if self._held is not None:
            self._held.rewind(length)

    def _at(self, tokens: Sequence[int]) -> Inner:
        """The part that serves the sequence with these tokens, holding all before them."""
        total = self.length + len(tokens)
        assert total <= self.capacity, f"{len(tokens)} after {self.length} of {self.capacity}"
        label = self._wanted(total)
        if label != self._label:
            self._leave(total)
        if label != self._label or self._held is None:
            self._hold(label)
        self._tokens += tokens
        return self._inner

    def _leave(self, total: int) -> None:
        """Before another part reads the sequence anew."""

    def _wanted(self, total: int) -> str:
        return next(label for label, part in parts(self.spec).items() if total <= part.context)

    def _hold(self, label: str) -> None:
        """Put another part, which reads the sequence, in place of the one that is open."""
        self._held = None  # first: two would take twice the memory
        part = self._open(label, parts(self.spec)[label])
        if self._tokens:
            part.prefill(self._tokens)
        self._label, self._held = label, part

    @property
    def _inner(self) -> Inner:
        assert self._held is not None, "the part could not be opened"
        return self._held


class SwitchingEvictable(Switching[Evictable]):
    """`edge.protocols.Evictable`: a sequence whose rows were forgotten is not read anew."""

    _expected = 0  # tokens

    def expect(self, total: int) -> None:
        """The sequence will have so many tokens: the part that serves them serves its beginning, too."""
        self._expected = total

    def rewind(self, length: int) -> None:
        self._expected = 0 if length == 0 else self._expected
        super().rewind(length)

    @property
    def rows(self) -> tuple[int, ...]:
        return self._inner.rows

    def observe(self, tokens: Sequence[int]) -> tuple[F32, list[F32]]:
        return self._at(tokens).observe(tokens)

    def keep(self, rows: Sequence[I64]) -> None:
        self._inner.keep(rows)

    def fork(self, rows: Sequence[I64]) -> Evictable:
        raise Unsupported(
            "a model with two sets of rotary factors does not draft from a compacted cache",
            fix="convert it with --context up to its original context, or draft by lookup",
        )

    def _wanted(self, total: int) -> str:
        return super()._wanted(max(total, self._expected))

    def _leave(self, total: int) -> None:
        if self._held is not None and min(self._held.rows) < self._held.length:
            raise EdgeError(
                f"token {total} has other rotary factors, and the compacted cache cannot be read anew",
                fix=f"end at {total - 1} tokens, or run without --snapkv",
            )
