"""Laws of compacted caches on every runtime that offers them: decoding sees exactly what was kept."""

from pathlib import Path

import numpy as np
import pytest
from decoders import Open, benches
from support import converted, tiny

from edge.artifact.manifest import Artifact
from edge.decode.generate import generate
from edge.decode.snapkv import CompactingDecoder, SnapKV
from edge.errors import EdgeError
from edge.protocols import Evictable
from edge.run import opening
from edge_runtimes.reference import ops as reference

IDS = [int(i) for i in np.random.default_rng(5).integers(0, 97, 50)]
FAMILIES = ("llama", "openelm", "internlm2", "qwen2", "qwen3")


bench = benches("open_evictable")


@pytest.mark.parametrize("family", FAMILIES)
def test_decoding_sees_exactly_the_kept_rows(
    bench: Open, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oracle keeps everything and masks what each head of each layer has forgotten."""
    options = SnapKV(capacity=12, window=4, kernel=3)
    made = bench(family)
    decoder, full = made.evictable(), made.oracle()
    assert isinstance(decoder, Evictable)
    kept: list[np.ndarray] = []
    keep = decoder.keep
    monkeypatch.setattr(decoder, "keep", lambda rows: (kept.extend(rows), keep(rows)))
    compact = CompactingDecoder(decoder, options)
    got, want = [compact.prefill(IDS[:40]).copy()], [full.prefill(IDS[:40])]
    layers = len(full.spec.layers)
    assert (compact.rows, compact.length) == ((12,) * layers, 40)
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
    if made.runtime == "reference":  # the oracle's own masks would count its calls, too
        got += [compact.step(token).copy() for token in step_ids]
    monkeypatch.setattr(reference, "attention_weights", masked)
    want += [full.step(token) for token in step_ids]
    monkeypatch.setattr(reference, "attention_weights", plain)
    if made.runtime != "reference":
        got += [compact.step(token).copy() for token in step_ids]
    assert all(made.close(a, b) for a, b in zip(got, want, strict=True))
    assert set(compact.rows) == {16}


def test_a_capacity_of_the_whole_prompt_changes_nothing(bench: Open) -> None:
    made = bench("llama")
    plain = made.evictable()
    compact = CompactingDecoder(made.evictable(), SnapKV(capacity=40, window=4))
    want = list(generate(plain, IDS[:40], max_tokens=8))
    got = list(generate(compact, IDS[:40], max_tokens=8))
    assert max(compact.rows) == compact.length == 47
    assert got == want


def test_a_second_prompt_is_read_over_what_was_kept(bench: Open) -> None:
    compact = CompactingDecoder(bench("llama").evictable(), SnapKV(capacity=12, window=4, kernel=3))
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
    compact = CompactingDecoder(made.evictable(), SnapKV(capacity=12, window=4, kernel=3))
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
    compact = CompactingDecoder(
        opening.open_evictable(artifact, threads=1), SnapKV(capacity=80, window=65)
    )
    with pytest.raises(EdgeError, match="at most 64"):
        compact.prefill([1] * 100)
