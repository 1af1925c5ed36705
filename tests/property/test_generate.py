"""Laws of the one generation loop, on a decoder that is ten lines of arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.decode.generate import generate, text_of
from edge.decode.sampling import Sampling, pick
from edge.decode.stops import StopStrings
from edge.errors import EdgeError
from edge.spec import DecoderSpec
from edge.typing import F32

VOCAB = 11
PROMPT = (1, 2, 3)


@dataclass
class Toy:
    """Logits are a hash of every token in the cache, so a lost or doubled token shows at once."""

    seed: int
    capacity: int = 64
    held: list[int] = field(default_factory=list)

    @property
    def spec(self) -> DecoderSpec:
        raise NotImplementedError

    @property
    def length(self) -> int:
        return len(self.held)

    def prefill(self, tokens: Sequence[int]) -> F32:
        self.held += tokens
        assert self.length <= self.capacity
        return np.random.default_rng([self.seed, *self.held]).normal(size=VOCAB).astype(np.float32)

    def step(self, token: int) -> F32:
        return self.prefill([token])

    def score(self, tokens: Sequence[int]) -> F32:
        return np.stack([self.step(token) for token in tokens])

    def rewind(self, length: int) -> None:
        del self.held[length:]


@dataclass
class Letters:
    """Token 0 is "a", 1 is "b", ...; the last of the text is held back until the end."""

    late: str = ""

    def feed(self, token: int) -> str:
        shown, self.late = self.late, "abcdefghijk"[token]
        return shown

    def finish(self) -> str:
        return self.late


def plainly(toy: Toy, prompt: Sequence[int], sampling: Sampling, most: int) -> list[int]:
    """What to generate, without ends: every token from the whole sequence anew."""
    tokens, rng = list(prompt), sampling.rng()
    for _ in range(most):
        logits = Toy(toy.seed, 10**6).prefill(tokens)
        tokens.append(pick(logits, sampling, tokens, rng))
    return tokens[len(prompt) :]


SAMPLING = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 1.0]),
    repetition_penalty=st.sampled_from([1.0, 1.5]),
    seed=st.integers(0, 5),
)


@given(
    seed=st.integers(0, 500),
    sampling=SAMPLING,
    most=st.integers(1, 12),
    stop_ids=st.frozensets(st.integers(0, VOCAB - 1), max_size=2),
    capacity=st.integers(len(PROMPT), 14),
)
def test_tokens_and_ending(
    seed: int, sampling: Sampling, most: int, stop_ids: frozenset[int], capacity: int
) -> None:
    toy = Toy(seed, capacity)
    got = generate(toy, PROMPT, sampling=sampling, max_tokens=most, stop_ids=stop_ids)
    tokens = list(got)

    room = capacity - len(PROMPT) + 1  # the last token need not be fed back
    whole = plainly(toy, PROMPT, sampling, min(most, room))
    stop = next((i for i, token in enumerate(whole) if token in stop_ids), None)
    assert tokens == got.tokens == whole[:stop]
    wanted = "stop" if stop is not None else "length" if most <= room else "context"
    assert got.ending == wanted
    assert list(got.cached) == toy.held
    assert list(got) == []


@given(seed=st.integers(0, 500), cut=st.integers(1, 6), penalty=st.sampled_from([1.0, 1.4]))
def test_a_turn_on_a_kept_cache_equals_one_from_the_start(
    seed: int, cut: int, penalty: float
) -> None:
    prompt, sampling = (1, 2, 3, 4, 5, 6, 7), Sampling(repetition_penalty=penalty)
    toy = Toy(seed)
    toy.prefill(prompt[:cut])
    kept = generate(toy, prompt[cut:], sampling=sampling, max_tokens=9, seen=prompt[:cut])
    assert list(kept) == list(generate(Toy(seed), prompt, sampling=sampling, max_tokens=9))


def test_figures_count_the_decoder_only() -> None:
    ticks = count()
    got = generate(Toy(0), PROMPT, max_tokens=5, clock=lambda: float(next(ticks)))
    for _ in got:
        next(ticks)  # the reader takes its time
    assert (got.prefill_seconds, got.decode_seconds, got.fed) == (1.0, 4.0, 4)
    assert (got.prefill_tps, got.decode_tps) == (3.0, 1.0)


def test_nothing_runs_before_the_first_token_is_asked_for() -> None:
    toy = Toy(0)
    generate(toy, PROMPT, max_tokens=5)
    assert toy.length == 0


def test_a_prompt_that_does_not_fit_says_what_does() -> None:
    toy = Toy(0, capacity=5)
    with pytest.raises(EdgeError, match=r"has 6 tokens, and 5 fit\n"):
        generate(toy, range(6), max_tokens=1)
    toy.prefill([1, 2])
    with pytest.raises(EdgeError, match="has 4 tokens, and 3 fit, 2 of 5 being taken"):
        generate(toy, range(4), max_tokens=1)
    assert len(list(generate(toy, range(3), max_tokens=9))) == 1


def test_empty_requests_are_errors() -> None:
    with pytest.raises(EdgeError, match="prompt has no tokens"):
        generate(Toy(0), [], max_tokens=1)
    with pytest.raises(EdgeError, match="max_tokens is 0"):
        generate(Toy(0), PROMPT, max_tokens=0)
    with pytest.raises(EdgeError, match="stop string is empty"):
        list(text_of(generate(Toy(0), PROMPT, max_tokens=1), Letters(), stops=["x", ""]))


AB = st.text("ab", max_size=12)
STOPS = st.lists(st.text("abc", min_size=1, max_size=4), max_size=3)


def cut(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """The text before the stop string that is the first to be complete."""
    for end in range(1, len(text) + 1):
        starts = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if starts:
            return text[: min(starts)], True
    return text, False


@given(pieces=st.lists(st.text("abc", max_size=5), max_size=8), stops=STOPS)
def test_stop_strings_however_the_text_is_cut(pieces: list[str], stops: list[str]) -> None:
    shown, filter_ = "", StopStrings(stops)
    for done in range(1, len(pieces) + 1):
        piece, stopped = filter_.feed(pieces[done - 1])
        shown += piece
        so_far = "".join(pieces[:done])
        if stopped:
            assert (shown, True) == cut(so_far, stops)
            return
        assert not cut(so_far, stops)[1]
        # Held back is the longest end of the text that begins a stop string, and no more.
        held = so_far.removeprefix(shown)
        begun = [k for s in stops for k in range(len(s)) if so_far.endswith(s[:k])]
        assert len(held) == max(begun, default=0)
    assert shown + filter_.finish() == "".join(pieces)


@given(seed=st.integers(0, 300), stops=st.lists(st.text("abcdefghijk", min_size=1, max_size=2)))
def test_text_up_to_a_stop_string(seed: int, stops: list[str]) -> None:
    plain = "".join("abcdefghijk"[token] for token in generate(Toy(seed), PROMPT, max_tokens=20))
    got = generate(Toy(seed), PROMPT, max_tokens=20)
    pieces = list(text_of(got, Letters(), stops=stops))
    text, stopped = cut(plain, stops)
    assert "".join(pieces) == text
    assert all(pieces)
    assert got.ending == ("stop" if stopped else "length")
