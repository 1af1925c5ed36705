"""Laws of speculation: greedy answers are those of plain decoding, sampled ones have its distribution,
whatever the drafter, with ends in the middle of a draft.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import converted, tiny

from edge import targets
from edge.checkpoint import Checkpoint
from edge.convert import with_exits
from edge.decode.compact import CompactDrafter
from edge.decode.generate import generate
from edge.decode.layerskip import SelfDrafter
from edge.decode.lookup import Lookup, continuation
from edge.decode.sampling import F64, Sampling
from edge.decode.snapkv import SnapKV
from edge.decode.speculate import Draft, Draw, Speculation, accept
from edge.errors import EdgeError, Unsupported
from edge.means import Means
from edge.protocols import Decoder, EarlyExit
from edge.quant import recipe as recipes
from edge.spec import DecoderSpec
from runtimes.reference.decoder import checkpoint_weights
from runtimes.reference.exits import ExitReferenceDecoder

VOCAB = 6


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
            key = (self.seed, *self.tokens[-2:])
            out.append(np.random.default_rng(key).normal(size=VOCAB).astype(np.float32) * 2)
        return np.stack(out)

    def rewind(self, length: int) -> None:
        del self.tokens[length:]


@dataclass
class Guess:
    """Drafts from another table, which is right now and then; drawn as answers are."""

    decoder: Table
    other: Table

    def propose(self, history: Sequence[int], most: int, draw: Draw) -> Draft:
        self.other.tokens = list(history[:-1])
        draft, last = Draft([]), history[-1]
        for _ in range(most):
            draft.add(*draw(self.other.step(last)))
            last = draft.tokens[-1]
        return draft

    def verify(self, run: Sequence[int]) -> np.ndarray:
        return self.decoder.score(run)

    def rewind(self, length: int) -> None:
        self.decoder.rewind(length)


def speculation(seed: int, other: int, most: int, capacity: int = 40) -> Speculation:
    decoder = Table(seed, capacity)
    return Speculation(decoder, Guess(decoder, Table(other, 1000)), most)


@given(
    st.integers(0, 50),
    st.integers(0, 50),
    st.integers(1, 6),
    st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=5),
    st.integers(1, 20),
    st.integers(6, 30),
    st.sets(st.integers(0, VOCAB - 1), max_size=2),
)
def test_greedy_answers_are_those_of_plain_decoding(
    seed: int, other: int, most: int, prompt: list[int], tokens: int, room: int, stops: set[int]
) -> None:
    """Also where a stop token, the wished length or the end of the context comes inside a draft."""
    plain = generate(Table(seed, room), prompt, max_tokens=tokens, stop_ids=stops)
    source = speculation(seed, other, most, room)
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


@pytest.mark.parametrize("most", [1, 3])
def test_sampled_answers_have_the_plain_distribution(most: int) -> None:
    """Three tokens, all 216 outcomes, against the product of the model's own chances."""
    runs, seed = 6000, 3
    counts = np.zeros((VOCAB,) * 3)
    sampling = Sampling(temperature=1.0, top_k=5, seed=0)
    source = speculation(seed, 4, most)
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
    found = continuation(history, most)
    assert len(found) <= most
    if found:
        text, ends = history, range(1, len(history))
        assert any(
            text[at : at + len(found)] == found and text[at - 1] == history[-1] for at in ends
        )
    else:
        assert history[-1] not in history[:-1]


# on real runtimes

PROMPT = [int(i) for i in np.random.default_rng(2).integers(0, 97, 30)]
Make = Callable[[str], tuple[Decoder, list[Speculation]]]


@pytest.fixture(params=["reference", "onnx"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """A plain decoder, and every lossless means over the same weights, in fp32."""

    def make(family: str) -> tuple[Decoder, list[Speculation]]:
        source = tiny(tmp_path / family, family, num_hidden_layers=3)
        checkpoint = with_exits(Checkpoint.open(source), (1,))
        cut = SnapKV(capacity=12, window=4, kernel=3)
        if request.param == "reference":
            weights = checkpoint_weights(checkpoint)
            flexible = [
                targets.oracle().oracle(checkpoint, recipes.parse("fp32")) for _ in range(3)
            ]
            early: EarlyExit = ExitReferenceDecoder(checkpoint.spec, weights, 1)
        else:
            folder = converted(tmp_path / f"{family}-out", source, exits=(1,))
            module = vars(targets.runtime(request.param))
            flexible = [
                module["open_evictable"](folder, checkpoint.spec, threads=1) for _ in range(3)
            ]
            early = module["open_exits"](folder, checkpoint.spec, exit_=1, threads=1)
        assert isinstance(early, EarlyExit)
        both = CompactDrafter(flexible[2], cut)  # type: ignore[arg-type]
        return flexible[0], [
            Speculation(early, SelfDrafter(early), 3),
            Speculation(flexible[1], Lookup(flexible[1]), 3),
            Speculation(both, both, 3),
        ]

    return make


@pytest.mark.parametrize("family", ["llama", "openelm", "internlm2"])
def test_every_lossless_means_gives_the_greedy_answer(made: Make, family: str) -> None:
    plain, means = made(family)
    want = list(generate(plain, PROMPT, max_tokens=25))
    for source in means:
        for _ in range(2):  # again, over what the first left
            source.decoder.rewind(0)
            assert list(generate(source, PROMPT, max_tokens=25)) == want
    assert means[0].tally.drafted > 0
    assert means[2].tally.drafted > 0


def test_what_was_drafted_and_refused_leaves_no_trace(made: Make) -> None:
    plain, (early, *_) = made("llama")
    decoder = early.decoder
    assert isinstance(decoder, EarlyExit)
    want = [plain.prefill(PROMPT).copy(), *(plain.step(t).copy() for t in (5, 6, 7))]
    got = [decoder.prefill(PROMPT).copy()]
    decoder.draft(9)
    decoder.draft(8)
    decoder.rewind(len(PROMPT))
    decoder.draft(5)
    rows = decoder.finish(6)
    got += [rows[0].copy(), rows[1].copy(), decoder.step(7).copy()]
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(b).max())


def test_an_exit_that_was_not_kept_is_refused(tmp_path: Path) -> None:
    source = tiny(tmp_path / "s")
    spec = Checkpoint.open(source).spec
    offered = vars(targets.runtime("onnx"))["open_exits"]
    with pytest.raises(Unsupported, match="--layerskip 1"):
        offered(converted(tmp_path / "o", source), spec, exit_=1)


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
def test_means_that_contradict_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(EdgeError):
        Means(**wrong)  # type: ignore[arg-type]
