"""Of two parts one is open at a time, and a part that could not be opened is opened again."""

import weakref
from collections.abc import Sequence

import numpy as np
import pytest
from support import config_of, spec_of

from edge.decode.switching import switching
from edge.spec import DecoderSpec
from edge.typing import F32

ROPE = {"type": "longrope", "short_factor": [1.0] * 8, "long_factor": [2.0] * 8}
SPEC = spec_of(
    config_of("phi3", rope_scaling=ROPE, original_max_position_embeddings=8, sliding_window=None)
)


ALIVE: "weakref.WeakSet[Part]" = weakref.WeakSet()


class Part:
    """Remembers what it read."""

    def __init__(self, spec: DecoderSpec) -> None:
        self.spec, self.capacity, self.read = spec, spec.context, list[int]()
        ALIVE.add(self)

    @property
    def length(self) -> int:
        return len(self.read)

    def prefill(self, tokens: Sequence[int]) -> F32:
        self.read += tokens
        return np.zeros(self.spec.vocab, np.float32)

    def step(self, token: int) -> F32:
        return self.prefill([token])

    def score(self, tokens: Sequence[int]) -> F32:
        return self.prefill(tokens)[None]

    def rewind(self, length: int) -> None:
        del self.read[length:]


def test_the_other_part_is_gone_before_one_is_opened() -> None:
    opened: list[str] = []

    def open_part(label: str, spec: DecoderSpec) -> Part:
        assert not ALIVE, "two parts at once take twice the memory"
        opened.append(label)
        return Part(spec)

    decoder = switching(SPEC, open_part)
    decoder.prefill(range(7))
    decoder.step(7)
    decoder.step(8)
    assert [part.read for part in ALIVE] == [list(range(9))]
    decoder.rewind(3)
    decoder.step(9)
    assert [part.read for part in ALIVE] == [[0, 1, 2, 9]]
    assert opened == ["short-", "", "short-"]


def test_a_part_that_could_not_be_opened_is_opened_again() -> None:
    fails = [False, True, False]

    def open_part(label: str, spec: DecoderSpec) -> Part:
        if fails.pop(0):
            raise MemoryError
        return Part(spec)

    decoder = switching(SPEC, open_part)
    decoder.prefill(range(8))
    with pytest.raises(MemoryError):
        decoder.step(8)
    assert decoder.length == 8
    decoder.rewind(6)
    decoder.step(8)
    assert [part.read for part in ALIVE] == [[*range(6), 8]]
