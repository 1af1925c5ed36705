"""Laws of SnapKV: what is kept, and what votes mean. What decoding then sees: tests/parity/test_compaction.py."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import config_of, spec_of

from edge.decode.snapkv import CompactingDecoder, SnapKV, select, vote
from edge.errors import EdgeError, Unsupported


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, int, SnapKV]:
    """Votes [H, S], kv heads, and options that keep fewer rows than there are."""
    kv_heads, shared = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    window = draw(st.integers(1, 6))
    capacity = window + draw(st.integers(1, 12))
    total = capacity + draw(st.integers(1, 20))
    kernel, pool = draw(st.sampled_from([1, 3, 7])), draw(st.sampled_from(["max", "avg"]))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    votes = rng.random((kv_heads * shared, total), np.float32)
    if draw(st.booleans()):
        votes = np.round(votes)  # ties
    options = SnapKV(capacity=capacity, window=window, kernel=kernel, pool=pool)
    return votes, kv_heads, options


@given(cases())
def test_kept_rows_are_a_rising_set_with_the_window(case: tuple[np.ndarray, int, SnapKV]) -> None:
    votes, kv_heads, options = case
    rows = select(votes, kv_heads, options)
    assert rows.shape == (kv_heads, options.capacity)
    assert (np.diff(rows, axis=1) > 0).all()
    assert rows.min() >= 0
    window = np.arange(votes.shape[1] - options.window, votes.shape[1])
    assert (rows[:, -options.window :] == window).all()


@given(cases())
def test_the_highest_votes_are_kept(case: tuple[np.ndarray, int, SnapKV]) -> None:
    """Slow and obvious: pool each head by its neighbours, average a group, sort."""
    votes, kv_heads, options = case
    before, half = votes.shape[1] - options.window, options.kernel // 2
    rows = select(votes, kv_heads, options)
    shared = len(votes) // kv_heads
    for head in range(kv_heads):
        scores = []
        for at in range(before):
            near = range(at - half, at + half + 1)
            values = [[v[j] if 0 <= j < before else 0.0 for j in near] for v in votes]
            pooled = [max(v) if options.pool == "max" else sum(v) / len(v) for v in values]
            scores.append(np.mean(pooled[head * shared : (head + 1) * shared]))
        kept = set(rows[head][: -options.window])
        left = set(range(before)) - kept
        assert len(kept) == options.capacity - options.window
        worst, best = min(scores[j] for j in kept), max((scores[j] for j in left), default=-1)
        assert worst >= best - 1e-6


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 5), st.integers(0, 9), st.integers())
@settings(max_examples=40)
def test_votes_are_attention_summed_over_the_window(
    kv_heads: int, shared: int, window: int, more: int, seed: int
) -> None:
    rng = np.random.default_rng(abs(seed))
    total = window + more
    q = rng.standard_normal((window, kv_heads * shared, 8), np.float32)
    k = rng.standard_normal((kv_heads, total, 8), np.float32)
    got = vote(q, k, 0.3)
    for head in range(kv_heads * shared):
        want = np.zeros(total)
        for row in range(window):
            seen = total - window + row + 1
            scores = np.exp(0.3 * (k[head // shared, :seen] @ q[row, head]).astype(np.float64))
            want[:seen] += scores / scores.sum()
        np.testing.assert_allclose(got[head], want, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("family", ["mistral", "phi3small"])
def test_attention_that_does_not_see_all_is_refused(family: str) -> None:
    class Windowed:
        spec = spec_of(config_of(family))

    with pytest.raises(Unsupported, match="window"):
        CompactingDecoder(Windowed(), SnapKV())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [{"capacity": 32}, {"window": 0}, {"kernel": 4}, {"kernel": 0}, {"pool": "mean"}],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(EdgeError):
        SnapKV(**wrong)  # type: ignore[arg-type]
