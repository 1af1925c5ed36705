"""Laws of compacted caches on every runtime that offers them: decoding sees exactly what was kept."""

from pathlib import Path

import numpy as np
import pytest
from decoders import Bench, Open, offering
from support import converted, tiny

from edge import targets
from edge.artifact import Artifact
from edge.decode.generate import generate
from edge.decode.snapkv import Compacting, SnapKV
from edge.errors import EdgeError, Unsupported
from edge.protocols import Decoder, Evictable
from runtimes.reference import ops as reference

IDS = [int(i) for i in np.random.default_rng(5).integers(0, 97, 50)]
FAMILIES = ("llama", "openelm", "internlm2")


@pytest.fixture(params=offering("open_evictable"))
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    return lambda family: Bench(request.param, tmp_path / family, family)


def decoded_with_masks(
    full: Decoder, kept: list[np.ndarray], tokens: list[int], patch: pytest.MonkeyPatch
) -> list[np.ndarray]:
    """Logits of steps of the oracle, which keeps everything: masked is what each head has forgotten."""
    plain, calls, layers = reference.attention_weights, iter(range(1000)), len(kept)
    before = np.arange(full.length)

    def masked(q: np.ndarray, k: np.ndarray, layer: object) -> np.ndarray:
        rows = kept[next(calls) % layers]
        weights = plain(q, k, layer)  # type: ignore[arg-type]
        shared = len(weights) // len(rows)
        for head, places in enumerate(rows):
            gone = np.setdiff1d(before, places)
            weights[head * shared : (head + 1) * shared, :, gone] = 0
        return weights / weights.sum(axis=-1, keepdims=True)

    with patch.context() as patched:
        patched.setattr(reference, "attention_weights", masked)
        return [full.step(token) for token in tokens]


@pytest.mark.parametrize("family", FAMILIES)
def test_decoding_sees_exactly_the_kept_rows(
    bench: Open, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = SnapKV(capacity=12, window=4, kernel=3)
    made = bench(family)
    decoder, full = made.evictable(), made.oracle()
    assert isinstance(decoder, Evictable)
    kept: list[np.ndarray] = []
    keep = decoder.keep
    monkeypatch.setattr(decoder, "keep", lambda rows: (kept.extend(rows), keep(rows)))
    compact = Compacting(decoder, options)
    got, want = [compact.prefill(IDS[:40]).copy()], [full.prefill(IDS[:40])]
    layers = len(full.spec.layers)
    assert (compact.rows, compact.length) == ((12,) * layers, 40)
    assert len(kept) == layers
    got += [compact.step(token).copy() for token in IDS[40:44]]
    want += decoded_with_masks(full, kept, IDS[40:44], monkeypatch)
    assert all(made.close(a, b) for a, b in zip(got, want, strict=True))
    assert set(compact.rows) == {16}


ONE_TABLE = {"coreml", "gguf"}  # runtimes whose layers share one table of rows


@pytest.mark.parametrize("family", FAMILIES)
def test_each_layer_may_keep_another_number_of_rows(
    bench: Open, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps, a chunk, a rewind and a fork, from a prompt of 40 tokens."""
    made = bench(family)
    decoder, full = made.evictable(), made.oracle()
    decoder.prefill(IDS[:40])
    full.prefill(IDS[:40])
    rng, numbers = np.random.default_rng(9), [3, 17, 40, 1][: len(made.spec.layers)]
    kept = [
        np.sort([rng.permutation(40)[:count] for _ in range(layer.kv_heads)])
        for count, layer in zip(numbers, made.spec.layers, strict=True)
    ]
    if made.runtime in ONE_TABLE:
        with pytest.raises(Unsupported, match="one table of"):
            decoder.keep(kept)
        return
    other = decoder.fork(kept)
    decoder.keep(kept)
    assert (decoder.length, decoder.rows, other.rows) == (40, tuple(numbers), tuple(numbers))
    first = decoder.step(IDS[40]).copy()
    decoder.rewind(40)
    assert made.close(other.prefill(IDS[40:41]), first)
    got = [decoder.step(IDS[40]).copy(), *decoder.score(IDS[41:45]).copy()]
    got.append(decoder.prefill(IDS[45:47]).copy())
    want = decoded_with_masks(full, kept, IDS[40:47], monkeypatch)
    del want[5]
    assert all(made.close(a, b) for a, b in zip(got, want, strict=True))
    assert decoder.rows == tuple(count + 7 for count in numbers)
    _, votes = decoder.observe(IDS[47:50])
    assert [seen.shape[1] for seen in votes] == [count + 10 for count in numbers]
    np.testing.assert_allclose([seen.sum(axis=1).mean() for seen in votes], 3, rtol=1e-5)


def test_onnx_grows_each_layers_cache_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache that never grows is the judge."""
    pytest.importorskip("onnxruntime")
    from runtimes.onnx import decoder as module
    from runtimes.onnx import flexible

    made = Bench("onnx", tmp_path / "b", "llama")
    kept = [np.array([list(range(count))] * 2) for count in (2, 30, 9)]
    answers = []
    for room in (64, 2):
        monkeypatch.setattr(module, "FIRST_ROWS", room)
        monkeypatch.setattr(module, "ANSWER", room)
        monkeypatch.setattr(flexible, "ANSWER", room)
        monkeypatch.setattr(module, "_GROWTH", 3)
        decoder = made.evictable()
        decoder.prefill(IDS[:30])
        decoder.keep(kept)
        answers.append([decoder.step(token).copy() for token in IDS[30:48]])
    assert all(np.array_equal(a, b) for a, b in zip(*answers, strict=True))


def test_a_capacity_of_the_whole_prompt_changes_nothing(bench: Open) -> None:
    made = bench("llama")
    plain = made.evictable()
    compact = Compacting(made.evictable(), SnapKV(capacity=40, window=4))
    want = list(generate(plain, IDS[:40], max_tokens=8))
    got = list(generate(compact, IDS[:40], max_tokens=8))
    assert max(compact.rows) == compact.length == 47
    assert got == want


def test_a_second_prompt_is_read_over_what_was_kept(bench: Open) -> None:
    compact = Compacting(bench("llama").evictable(), SnapKV(capacity=12, window=4, kernel=3))
    compact.prefill(IDS[:30])
    compact.step(IDS[30])
    assert (max(compact.rows), compact.length) == (13, 31)
    compact.prefill(IDS[31:40])
    assert (max(compact.rows), compact.length) == (12, 40)
    compact.step(IDS[40])
    compact.rewind(40)
    assert (max(compact.rows), compact.length) == (12, 40), "what came after is forgotten exactly"
    compact.rewind(35)
    assert (max(compact.rows), compact.length) == (0, 0), "what is gone cannot be gone back to"
    compact.prefill(IDS[:6])
    assert (max(compact.rows), compact.length) == (6, 6)


def test_a_rewind_after_compaction_leaves_no_trace(bench: Open) -> None:
    made = bench("llama")
    compact = Compacting(made.evictable(), SnapKV(capacity=12, window=4, kernel=3))
    compact.prefill(IDS[:30])
    first = compact.step(7).copy()
    compact.step(8)
    compact.rewind(30)
    assert made.close(compact.step(7), first)


def test_a_fork_leaves_the_whole_as_it_is(bench: Open) -> None:
    made = bench("llama")
    whole, oracle = made.evictable(), made.oracle()
    whole.prefill(IDS[:30])
    want = [oracle.prefill(IDS[:30]), *(oracle.step(token) for token in IDS[30:34])]
    places = np.array([[0, 3, 7, 28, 29]] * made.spec.layers[0].kv_heads)
    other = whole.fork([places] * len(made.spec.layers))
    assert (other.length, set(other.rows), set(whole.rows)) == (30, {5}, {30})
    for at, token in enumerate(IDS[30:34]):
        other.step(7)
        assert made.close(whole.step(token).copy(), want[at + 1])


def test_too_wide_a_window_is_refused_on_onnx(tmp_path: Path) -> None:
    source = tiny(tmp_path / "s", max_position_embeddings=256)
    artifact = Artifact.open(converted(tmp_path / "o", source))
    compact = Compacting(
        targets.open_evictable(artifact, threads=1), SnapKV(capacity=80, window=65)
    )
    with pytest.raises(EdgeError, match="at most 64"):
        compact.prefill([1] * 100)
