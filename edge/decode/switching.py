"""A model whose rotary tables depend on how long the sequence is: LongRoPE (arXiv 2402.13753).

Keys that were rotated by one set of factors are wrong under the other. So a sequence that crosses
the original context is read anew by the part that serves longer ones, as transformers does, instead
of decaying into gibberish; one that is rewound below it goes back.
"""

from collections.abc import Callable, Sequence

from edge.protocols import Decoder
from edge.spec import DecoderSpec, parts
from edge.typing import F32

Open = Callable[[str, DecoderSpec], Decoder]  # a key of `edge.spec.parts` and its spec


def switching(spec: DecoderSpec, open_part: Open) -> Decoder:
    """A decoder of the whole model; one that never switches is its only part itself."""
    if len(parts(spec)) == 1:
        return open_part("", spec)
    return Switching(spec, open_part)


class Switching:
    """`edge.protocols.Decoder` over one open part at a time."""

    def __init__(self, spec: DecoderSpec, open_part: Open) -> None:
        self.spec = spec
        self.capacity = spec.context
        self._open = open_part
        self._tokens: list[int] = []
        self._label, self._inner = self._part(1)

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
        self._inner.rewind(length)

    def _at(self, tokens: Sequence[int]) -> Decoder:
        """The part that serves the sequence with these tokens, holding all before them."""
        total = self.length + len(tokens)
        assert total <= self.capacity, f"{len(tokens)} after {self.length} of {self.capacity}"
        if self._wanted(total) != self._label:
            self._label, self._inner = self._part(total)
            if self._tokens:
                self._inner.prefill(self._tokens)
        self._tokens += tokens
        return self._inner

    def _wanted(self, total: int) -> str:
        return next(label for label, part in parts(self.spec).items() if total <= part.context)

    def _part(self, total: int) -> tuple[str, Decoder]:
        label = self._wanted(total)
        return label, self._open(label, parts(self.spec)[label])
