"""Laws of compacted caches on every runtime that offers them: decoding sees exactly what was kept."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from decoders import Bench, Open, offering
from support import converted, tiny

from edge import targets
from edge.artifact import Artifact
from edge.decode import kvzip
from edge.decode.generate import generate
from edge.decode.snapkv import Compacting, SnapKV
from edge.errors import EdgeError
from edge.protocols import Evictable
from edge.spec import LayerSpec
from runtimes.reference import ops as reference

IDS = [int(i) for i in np.random.default_rng(5).integers(0, 97, 50)]
FAMILIES = ("llama", "openelm", "internlm2")


def named(options: SnapKV) -> str:
    """What differs from the paper."""
    parts = {"sinks": options.sinks, "chunk": options.chunk, "reuse": options.purpose == "reuse"}
    parts["pyramid"] = options.layers == "pyramid"
    return "-".join(name for name, given in parts.items() if given) or "paper"


@pytest.fixture(params=offering("open_evictable"))
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    return lambda family: Bench(request.param, tmp_path / family, family)


PAPER = SnapKV(capacity=12, window=4, kernel=3)
MODES = (
    PAPER,
    replace(PAPER, sinks=2),
    replace(PAPER, chunk=14),
    replace(PAPER, purpose="reuse"),
    replace(PAPER, purpose="reuse", chunk=14, sinks=2),
)
PYRAMIDS = (replace(PAPER, layers="pyramid"), replace(PAPER, layers="pyramid", chunk=14))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("options", MODES, ids=named)
def test_decoding_sees_exactly_the_kept_rows(bench: Open, family: str, options: SnapKV) -> None:
    assert_sees_what_is_kept(bench(family), options)


@pytest.mark.parametrize("options", PYRAMIDS, ids=named)
def test_layers_may_keep_different_numbers_of_rows(tmp_path: Path, options: SnapKV) -> None:
    made = Bench("reference", tmp_path, "llama")
    assert_sees_what_is_kept(made, options)


def assert_sees_what_is_kept(made: Bench, options: SnapKV) -> None:
    """The oracle keeps everything and masks what each head of each layer has forgotten."""
    decoder = made.evictable()
    assert isinstance(decoder, Evictable)
    cuts: list[tuple[int, list[np.ndarray]]] = []  # after so many tokens, these rows
    keep = decoder.keep
    decoder.keep = lambda rows: (cuts.append((decoder.length, list(rows))), keep(rows))  # type: ignore
    compact = Compacting(decoder, options)
    got = [compact.prefill(IDS[:40]).copy()]
    layers = len(made.spec.layers)
    assert (sum(compact.rows), compact.length) == (12 * layers, 40)
    assert len(cuts) == (1 if options.chunk is None else 3)
    got += [compact.step(token).copy() for token in IDS[40:44]]

    want = masked(made, cuts)
    assert all(made.close(a, b) for a, b in zip(got, want, strict=True))
    assert sum(compact.rows) == 16 * layers


def masked(made: Bench, cuts: list[tuple[int, list[np.ndarray]]]) -> list[np.ndarray]:
    """Logits after 40 tokens and four more; what was cut after a piece is hidden from all that follows."""
    full, plain, calls = made.oracle(), reference.attention_weights, iter(range(1000))
    layers = made.spec.layers
    seen = [np.zeros((layer.kv_heads, 0), np.int64) for layer in layers]  # true positions

    def weights(q: np.ndarray, k: np.ndarray, layer: object) -> np.ndarray:
        index = next(calls) % len(layers)
        out = plain(q, k, layer)  # type: ignore[arg-type]
        shared = len(out) // len(seen[index])
        for head, places in enumerate(seen[index]):
            gone = np.setdiff1d(np.arange(len(k) - len(q)), places)
            out[head * shared : (head + 1) * shared, :, gone] = 0
        return out / out.sum(axis=-1, keepdims=True)

    logits, start = [], 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference, "attention_weights", weights)
        for end, rows in [*cuts, *((n, []) for n in range(41, 45))]:
            logits.append(full.prefill(IDS[start:end]))
            new = np.arange(start, end)
            for index, held in enumerate(seen):
                held = np.concatenate((held, np.tile(new, (len(held), 1))), axis=1)
                seen[index] = np.take_along_axis(held, rows[index], axis=1) if rows else held
            start = end
    return logits[len(cuts) - 1 :]


@pytest.mark.parametrize("options", [*MODES, *PYRAMIDS], ids=named)
def test_a_capacity_of_the_whole_prompt_changes_nothing(bench: Open, options: SnapKV) -> None:
    made = bench("llama")
    plain = made.evictable()
    compact = Compacting(made.evictable(), replace(options, capacity=40))
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


@pytest.mark.parametrize("window", [3, 7])
def test_a_repetition_measures_what_attention_its_pieces_give(bench: Open, window: int) -> None:
    """The oracle reads each piece once more after a prompt, and its attention is looked at."""
    made, ids = bench("llama"), IDS[:20]
    decoder, full, plain = made.evictable(), made.oracle(), reference.attention_weights
    want = [np.zeros((layer.kv_heads, 20)) for layer in made.spec.layers]
    decoder.prefill(ids)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kvzip, "PIECE", window)
        patch.setattr(kvzip, "LEAD", 2)
        got = kvzip.repeated(decoder, ids, 4)
    full.prefill(ids)
    found: list[np.ndarray] = []

    def spy(q: np.ndarray, k: np.ndarray, layer: LayerSpec) -> np.ndarray:
        found.append(plain(q, k, layer))
        return found[-1]

    for at in range(4, 20, window):
        full.prefill(ids[at - 2 : at])
        found.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(reference, "attention_weights", spy)
            full.prefill(ids[at : at + window])
        full.rewind(20)
        for layer, part in enumerate(found):
            summed = part.sum(axis=1)[:, :20]  # [H, S]
            want[layer] = np.maximum(want[layer], summed.reshape(-1, 2, 20).max(axis=1))
    assert (decoder.length, set(decoder.rows)) == (20, {20})
    for layer, part in enumerate(got):
        np.testing.assert_allclose(part, want[layer], rtol=1e-3, atol=1e-5)


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
