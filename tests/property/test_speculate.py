"""Laws of speculation: greedy answers are those of plain decoding, sampled ones have its distribution,
whatever the drafter, with ends in the middle of a draft. On real runtimes: tests/parity/test_drafts.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.decode.generate import generate
from edge.decode.lookup import continuation
from edge.decode.sampling import F64, Sampling
from edge.decode.snapkv import SnapKV
from edge.decode.speculate import Draft, Speculation, Trust, accept, sureness
from edge.errors import EdgeError
from edge.run.strategy import Strategy
from edge.spec import DecoderSpec

VOCAB = 6


@cache
def row(key: tuple[int, ...]) -> np.ndarray:
    """Of a table: the same key, the same logits."""
    return np.random.default_rng(key).normal(size=VOCAB).astype(np.float32) * 2


@dataclass
class Table:
    """A model whose next token depends on the last two: logits of a fixed random table."""

    seed: int
    capacity: int = 40
    tokens: list[int] = field(default_factory=list)
    spec: DecoderSpec = None  # type: ignore[assignment]

    @property
    def length(self) -> int:
        return len(self.tokens)

    def prefill(self, tokens: Sequence[int]) -> np.ndarray:
        return self.score(tokens)[-1]

    def step(self, token: int) -> np.ndarray:
        return self.prefill([token])

    def score(self, tokens: Sequence[int]) -> np.ndarray:
        assert self.length + len(tokens) <= self.capacity
        out = []
        for token in tokens:
            self.tokens.append(token)
            out.append(row((self.seed, *self.tokens[-2:])))
        return np.stack(out)

    def rewind(self, length: int) -> None:
        del self.tokens[length:]


@dataclass
class Guess:
    """Drafts from another table, which is right now and then; drawn as answers are, among the first ids."""

    decoder: Table
    other: Table
    ids: int = VOCAB

    def propose(self, history: Sequence[int], draft: Draft) -> None:
        self.other.tokens = list(history[:-1])
        last = history[-1]
        while draft.open:
            logits = self.other.step(last)
            logits[self.ids :] = -np.inf
            last = draft.draw(logits)

    def verify(self, run: Sequence[int]) -> np.ndarray:
        return self.decoder.score(run)

    def rewind(self, length: int) -> None:
        self.decoder.rewind(length)


def speculation(
    seed: int, other: int, most: int, capacity: int = 40, ids: int = VOCAB
) -> Speculation:
    decoder = Table(seed, capacity)
    return Speculation(decoder, Guess(decoder, Table(other, 1000), ids), most)


@given(
    st.integers(0, 50),
    st.integers(0, 50),
    st.integers(1, 6),
    st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=5),
    st.integers(1, 20),
    st.integers(6, 30),
    st.tuples(st.sets(st.integers(0, VOCAB - 1), max_size=2), st.integers(1, VOCAB)),
)
def test_greedy_answers_are_those_of_plain_decoding(
    seed: int,
    other: int,
    most: int,
    prompt: list[int],
    tokens: int,
    room: int,
    ends: tuple[set[int], int],
) -> None:
    """Also where a stop token, the wished length or the end of the context comes inside a draft."""
    stops, ids = ends
    plain = generate(Table(seed, room), prompt, max_tokens=tokens, stop_ids=stops)
    source = speculation(seed, other, most, room, ids)
    fast = generate(source, prompt, max_tokens=tokens, stop_ids=stops)
    assert list(fast) == list(plain)
    assert fast.ending == plain.ending
    assert source.decoder.length <= room
    held = source.decoder.tokens[: len(fast.cached)]  # type: ignore[attr-defined]
    assert held == list(fast.cached), "the cache holds what the generation says"
    assert source.tally.accepted <= source.tally.drafted


@given(st.integers(0, 20), st.integers(1, 5))
def test_a_perfect_drafter_is_always_right(seed: int, most: int) -> None:
    source = speculation(seed, seed, most)
    assert len(list(generate(source, [1], max_tokens=20))) == 20
    assert source.tally.accepted == source.tally.drafted > 0


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4), st.integers(0, 3))
@settings(max_examples=20)
def test_an_accepted_or_replaced_token_has_the_models_distribution(
    raw: list[float], certain: int
) -> None:
    """Exactly, by arithmetic: the chance of each outcome summed over drafts and draws."""
    p = np.array([0.4, 0.3, 0.2, 0.1])
    q = (np.array(raw) + 1e-3) / (np.array(raw) + 1e-3).sum()
    for chances in (q, None):
        drafts = chances if chances is not None else np.eye(4)[certain]
        total = np.zeros(4)
        for drafted, likely in enumerate(drafts):
            if not likely:
                continue
            keep = min(1.0, p[drafted] / (1.0 if chances is None else q[drafted]))
            rest = (
                np.maximum(p - q, 0)
                if chances is not None
                else np.where(np.arange(4) == drafted, 0, p)
            )
            total[drafted] += likely * keep
            total += likely * (1 - keep) * rest / rest.sum() if keep < 1 else 0
        np.testing.assert_allclose(total, p, atol=1e-9)


class Rigged:
    """Random numbers in a given order."""

    def __init__(self, *values: float) -> None:
        self._values = list(values)

    def random(self) -> float:
        return self._values.pop(0)


@pytest.mark.parametrize("certain", [True, False])
def test_accept_follows_the_rule(certain: bool) -> None:
    p = np.array([0.5, 0.2, 0.3])
    q = None if certain else np.array([0.1, 0.8, 0.1])
    bar = 0.2 if certain else 0.25  # p / q of token 1
    assert accept(p, 1, q, Rigged(bar - 0.01)) == 1  # type: ignore[arg-type]
    # What is left of p: of certain drafts 0.5 and 0.3, else p - q where above: 0.4 and 0.2.
    edge = 0.5 / 0.8 if certain else 0.4 / 0.6
    assert accept(p, 1, q, Rigged(bar + 0.01, edge - 0.01)) == 0  # type: ignore[arg-type]
    assert accept(p, 1, q, Rigged(bar + 0.01, edge + 0.01)) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize(("most", "ids"), [(1, VOCAB), (3, VOCAB), (2, 3)])
def test_sampled_answers_have_the_plain_distribution(most: int, ids: int) -> None:
    """Three tokens, all 216 outcomes, against the product of the model's own chances; also where drafts
    are among the first ids only.
    """
    runs, seed = 6000, 3
    counts = np.zeros((VOCAB,) * 3)
    sampling = Sampling(temperature=1.0, top_k=5, seed=0)
    source = speculation(seed, 4, most, ids=ids)
    for run in range(runs):
        source.decoder.rewind(0)
        made = generate(
            source, [1], max_tokens=3, sampling=Sampling(temperature=1.0, top_k=5, seed=run)
        )
        counts[tuple(made)] += 1
    want = _chances(seed, sampling)
    expected = runs * want.ravel()
    seen = counts.ravel()
    assert (seen[expected == 0] == 0).all()
    big = expected >= 5
    statistic = ((seen[big] - expected[big]) ** 2 / expected[big]).sum()
    freedom = int(big.sum())
    assert statistic < freedom + 5 * np.sqrt(2 * freedom), (statistic, freedom)


def _chances(seed: int, sampling: Sampling) -> F64:
    from edge.decode.sampling import distribution

    want = np.zeros((VOCAB,) * 3)
    for a, b in np.ndindex(VOCAB, VOCAB):
        table = Table(seed)
        first = distribution(table.prefill([1]), sampling, [])
        second = distribution(table.step(a), sampling, [])
        want[a, b] = first[a] * second[b] * distribution(table.step(b), sampling, [])
    return want


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(1, 6))
def test_lookup_continues_an_earlier_place(history: list[int], most: int) -> None:
    found, alike = continuation(history, most)
    assert len(found) <= most
    if found:
        text, ends, last = history, range(alike, len(history)), history[-alike:]
        assert any(
            text[at : at + len(found)] == found and text[at - alike : at] == last for at in ends
        )
    else:
        assert history[-1] not in history[:-1]
        assert alike == 0


@given(st.lists(st.floats(-20, 20), min_size=1, max_size=8))
def test_a_drafter_is_as_sure_as_its_likeliest_token_is_likely(raw: list[float]) -> None:
    logits = np.array([*raw, -np.inf], np.float32)
    chances = np.exp(logits.astype(np.float64))
    assert sureness(logits) == pytest.approx(chances.max() / chances.sum(), rel=1e-4)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=60), st.floats(0, 1))
def test_trust_is_the_drafters_word_until_it_was_judged(
    judged: list[tuple[float, bool]], sure: float
) -> None:
    """Then the share that was kept, of those alone of which it was about as sure."""
    trust = Trust()
    assert trust.chance(sure) == pytest.approx(sure)
    for other, kept in judged:
        trust.learn(other, kept)
    alike = [kept for other, kept in judged if min(int(other * 8), 7) == min(int(sure * 8), 7)]
    want = (sum(alike) + 2 * sure) / (len(alike) + 2)
    assert trust.chance(sure) == pytest.approx(want)


def certain(logits: np.ndarray) -> tuple[int, None]:
    return int(logits.argmax()), None


def test_a_draft_ends_with_the_first_token_that_will_hardly_be_kept() -> None:
    sure, unsure = np.array([0, 9.0], np.float32), np.array([0, 0.2, 0], np.float32)
    draft = Draft(5, certain, Trust())
    while draft.open:
        draft.draw(sure if len(draft.tokens) < 2 else unsure)
    assert draft.tokens == [1, 1, 1]
    draft.learn(2)
    with pytest.raises(AssertionError, match="ended"):
        draft.draw(sure)


def test_what_was_kept_all_the_same_makes_drafts_long() -> None:
    """As of a model whose weights are random, which is never sure."""
    trust, unsure = Trust(), np.zeros(64, np.float32)
    lengths = []
    for _ in range(6):
        draft = Draft(8, certain, trust)
        while draft.open:
            draft.draw(unsure)
        draft.learn(len(draft.tokens))
        lengths.append(len(draft.tokens))
    assert lengths == [1, 1, 8, 8, 8, 8]


def test_tokens_after_the_first_that_was_not_kept_are_not_judged() -> None:
    trust = Trust()
    draft = Draft(4, certain, trust)
    for _ in range(4):
        draft.draw(np.array([0, 9.0], np.float32))
    before = draft.sure[0]
    draft.learn(1)
    assert trust.chance(before) == pytest.approx((1 + 2 * before) / 4)


def test_the_same_request_drafts_the_same_again() -> None:
    source = speculation(3, 4, 5)
    tallies = []
    for _ in range(2):
        source.decoder.rewind(0)
        before = source.tally.drafted
        list(generate(source, [1], max_tokens=20))
        tallies.append(source.tally.drafted - before)
    assert tallies[0] == tallies[1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"layerskip": 1, "drafting": "lookup"},
        {"layerskip": 1, "snapkv": SnapKV()},
        {"drafting": "snapkv"},
        {"draft": 0},
        {"draft": 33},
    ],
    ids=str,
)
def test_strategies_that_contradict_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(EdgeError):
        Strategy(**wrong)  # type: ignore[arg-type]
