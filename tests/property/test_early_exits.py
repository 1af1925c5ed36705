"""Laws of early exits over any runtime's halves: a draft counts when it is finished, and only then."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import VOCAB, config_of, spec_of

from edge.decode.exits import ExitDecoder
from edge.protocols import EarlyExit
from edge.spec import DecoderSpec
from edge.typing import F32

SPEC = spec_of(config_of("llama", num_hidden_layers=3))


def says(tokens: Sequence[int], layers: int, vocab: int = VOCAB) -> F32:
    """Numbers that depend on every token, on their order, and on how many layers there are."""
    seen = sum((place + 1) * (token + 7) for place, token in enumerate(tokens))
    return np.random.default_rng([layers, seen]).normal(size=VOCAB).astype(np.float32)[:vocab]


class Toy:
    """What is ahead of its sequence lies behind it in one cache, and is overwritten by what comes next."""

    def __init__(self, spec: DecoderSpec = SPEC) -> None:
        self.spec, self.capacity = spec, spec.context
        self.length = 0
        self._cache: list[int] = []

    def prefill(self, tokens: Sequence[int]) -> F32:
        return self.score(tokens)[-1]

    def step(self, token: int) -> F32:
        return self.score([token])[-1]

    def score(self, tokens: Sequence[int]) -> F32:
        self._cache[self.length :] = tokens
        return self._read(len(tokens))

    def rewind(self, length: int) -> None:
        self.length = length

    def draft(self, token: int, *, ahead: int) -> tuple[int, F32]:
        self.early(token, ahead=ahead)
        return token, says(self._cache, 1, self.spec.draft_vocab or VOCAB)

    def early(self, token: int, *, ahead: int) -> int:
        assert len(self._cache) >= self.length + ahead, "something is missing before it"
        self._cache[self.length + ahead :] = [token]
        return token

    def late(self, left: Sequence[int]) -> F32:
        assert self._cache[self.length :] == list(left)
        return self._read(len(left))

    def _read(self, count: int) -> F32:
        start, self.length = self.length, self.length + count
        return np.stack([says(self._cache[: start + i + 1], 3) for i in range(count)])


TOKEN = st.integers(0, VOCAB - 1)
TOKENS = st.lists(TOKEN, min_size=1, max_size=3)
CALLS = st.lists(
    st.tuples(st.just("draft"), TOKEN)
    | st.tuples(st.sampled_from(["finish", "step"]), TOKEN)
    | st.tuples(st.sampled_from(["prefill", "score"]), TOKENS)
    | st.tuples(st.just("rewind"), st.floats(0, 1)),
    max_size=20,
)


@given(CALLS)
def test_a_draft_counts_only_when_it_is_finished(calls: list[tuple[str, object]]) -> None:
    """Beside a list of tokens, to which drafts are added when they are finished."""
    decoder: EarlyExit = ExitDecoder(Toy())
    said: list[int] = []
    drafted: list[int] = []
    for name, given_ in calls:
        if name == "rewind":
            given_ = int(float(given_) * len(said))  # type: ignore[arg-type]
            del said[given_:]
            drafted = []
            decoder.rewind(given_)
            continue
        tokens = given_ if isinstance(given_, list) else [given_]
        got = getattr(decoder, name)(given_)
        if name == "draft":
            drafted += tokens
            np.testing.assert_array_equal(got, says([*said, *drafted], 1))
        else:
            start = len(said)
            said += [*drafted, *tokens] if name == "finish" else tokens
            drafted = []
            want = [says(said[: at + 1], 3) for at in range(start, len(said))]
            rows = name in ("finish", "score")
            np.testing.assert_array_equal(got, want if rows else want[-1])
        assert decoder.length == len(said)


def test_ids_that_no_draft_is_of_are_never_likely() -> None:
    got = ExitDecoder(Toy(replace(SPEC, exits=(1,), draft_vocab=40))).draft(5)
    np.testing.assert_array_equal(got, [*says([5], 1)[:40], *[-np.inf] * (VOCAB - 40)])


@pytest.mark.parametrize("last", ["draft", "finish"])
def test_no_draft_is_longer_than_the_cache(last: str) -> None:
    decoder = ExitDecoder(Toy())
    decoder.prefill([1] * (SPEC.context - 2))
    decoder.draft(2)
    decoder.draft(3)
    with pytest.raises(AssertionError, match=f"2 drafted after {SPEC.context - 2}"):
        getattr(decoder, last)(4)
