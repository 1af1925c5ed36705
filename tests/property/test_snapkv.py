"""Laws of SnapKV: what is kept, what votes mean, and that decoding sees exactly what was kept."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import config_of, converted, spec_of, tiny

from edge import targets
from edge.checkpoint import Checkpoint
from edge.decode.generate import generate
from edge.decode.snapkv import Compacting, SnapKV, select, vote
from edge.errors import EdgeError, Unsupported
from edge.protocols import Evictable
from edge.quant import recipe as recipes
from runtimes.reference import ops as reference

Open = Callable[[str], Evictable]
IDS = [int(i) for i in np.random.default_rng(5).integers(0, 97, 50)]
FAMILIES = ("llama", "openelm", "internlm2")


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


@pytest.fixture(params=["reference", "onnx"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    def open_(family: str) -> Evictable:
        source = tiny(tmp_path / family, family, num_hidden_layers=2)
        checkpoint = Checkpoint.open(source)
        if request.param == "reference":
            return targets.oracle().oracle(checkpoint, recipes.parse("fp32"))  # type: ignore[return-value]
        folder = converted(tmp_path / f"{family}-out", source)
        offered = vars(targets.runtime(request.param))["open_evictable"]
        found: Evictable = offered(folder, checkpoint.spec, threads=1)
        return found

    return open_


@pytest.mark.parametrize("family", FAMILIES)
def test_decoding_sees_exactly_the_kept_rows(
    opened: Open, family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oracle keeps everything and masks what each head of each layer has forgotten."""
    options = SnapKV(capacity=12, window=4, kernel=3)
    decoder = opened(family)
    assert isinstance(decoder, Evictable)
    kept: list[np.ndarray] = []
    keep = decoder.keep
    monkeypatch.setattr(decoder, "keep", lambda rows: (kept.extend(rows), keep(rows)))
    compact = Compacting(decoder, options)
    full = targets.oracle().oracle(
        Checkpoint.open(tiny(tmp_path / "again", family, num_hidden_layers=2)),
        recipes.parse("fp32"),
    )
    got, want = [compact.prefill(IDS[:40])], [full.prefill(IDS[:40])]
    assert (compact.rows, compact.length) == (12, 40)
    layers = len(full.spec.layers)
    assert len(kept) == layers

    plain, calls = reference.attention_weights, iter(range(1000))

    def masked(q: np.ndarray, k: np.ndarray, layer: object) -> np.ndarray:
        index = next(calls) % layers
        weights = plain(q, k, layer)  # type: ignore[arg-type]
        shared = len(weights) // len(kept[index])
        for head, places in enumerate(kept[index]):
            gone = np.setdiff1d(np.arange(40), places)
            weights[head * shared : (head + 1) * shared, :, gone] = 0
        return weights / weights.sum(axis=-1, keepdims=True)

    step_ids = IDS[40:44]
    got += [compact.step(token).copy() for token in step_ids]
    monkeypatch.setattr(reference, "attention_weights", masked)
    want += [full.step(token) for token in step_ids]
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5 * np.abs(b).max())
    assert compact.rows == 16


def test_a_capacity_of_the_whole_prompt_changes_nothing(opened: Open) -> None:
    plain, compact = opened("llama"), Compacting(opened("openelm"), SnapKV(capacity=40, window=4))
    compact.prefill(IDS[:40])
    assert compact.rows == compact.length == 40
    tokens = []
    for decoder in (plain, Compacting(plain, SnapKV(capacity=40, window=4))):
        decoder.rewind(0)
        tokens.append(list(generate(decoder, IDS[:40], max_tokens=8)))
    assert tokens[0] == tokens[1]


def test_a_second_prompt_is_read_over_what_was_kept(opened: Open) -> None:
    compact = Compacting(opened("llama"), SnapKV(capacity=12, window=4, kernel=3))
    compact.prefill(IDS[:30])
    compact.step(IDS[30])
    assert (compact.rows, compact.length) == (13, 31)
    compact.prefill(IDS[31:40])
    assert (compact.rows, compact.length) == (12, 40)
    compact.step(IDS[40])
    compact.rewind(40)
    assert (compact.rows, compact.length) == (12, 40), "what came after is forgotten exactly"
    compact.rewind(35)
    assert (compact.rows, compact.length) == (0, 0), "what is gone cannot be gone back to"
    compact.prefill(IDS[:6])
    assert (compact.rows, compact.length) == (6, 6)


def test_a_rewind_after_compaction_leaves_no_trace(opened: Open) -> None:
    compact = Compacting(opened("llama"), SnapKV(capacity=12, window=4, kernel=3))
    compact.prefill(IDS[:30])
    first = compact.step(7).copy()
    compact.step(8)
    compact.rewind(30)
    np.testing.assert_allclose(compact.step(7), first, atol=1e-6)


@pytest.mark.parametrize("family", ["mistral", "phi3small"])
def test_attention_that_does_not_see_all_is_refused(family: str) -> None:
    class Windowed:
        spec = spec_of(config_of(family))

    with pytest.raises(Unsupported, match="window"):
        Compacting(Windowed(), SnapKV())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [{"capacity": 32}, {"window": 0}, {"kernel": 4}, {"kernel": 0}, {"pool": "mean"}],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(EdgeError):
        SnapKV(**wrong)  # type: ignore[arg-type]


def test_too_wide_a_window_is_refused_on_onnx(tmp_path: Path) -> None:
    source = tiny(tmp_path / "s", max_position_embeddings=256)
    spec = Checkpoint.open(source).spec
    offered = vars(targets.runtime("onnx"))["open_evictable"]
    decoder = offered(converted(tmp_path / "o", source), spec, threads=1)
    compact = Compacting(decoder, SnapKV(capacity=80, window=65))
    with pytest.raises(EdgeError, match="at most 64"):
        compact.prefill([1] * 100)
