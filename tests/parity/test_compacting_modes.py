"""Laws of every way of choosing rows, on every runtime that offers compacted caches: decoding sees
exactly what was kept, and a repetition measures attention.
"""

from dataclasses import replace

import numpy as np
import pytest
from decoders import ONE_TABLE, Bench, Open, benches

from edge.decode import kvzip
from edge.decode.generate import generate
from edge.decode.snapkv import CompactingDecoder, SnapKV
from edge.errors import Unsupported
from edge.protocols import Evictable
from edge.spec import LayerSpec
from edge_runtimes.reference import ops as reference

IDS = [int(i) for i in np.random.default_rng(5).integers(0, 97, 50)]
FAMILIES = ("llama", "openelm", "internlm2")
PAPER = SnapKV(capacity=12, window=4, kernel=3)
MODES = (
    PAPER,
    replace(PAPER, sinks=2),
    replace(PAPER, chunk=14),
    replace(PAPER, purpose="reuse"),
    replace(PAPER, purpose="reuse", chunk=14, sinks=2),
)
PYRAMIDS = (replace(PAPER, layers="pyramid"), replace(PAPER, layers="pyramid", chunk=14))


def named(options: SnapKV) -> str:
    """What differs from the paper."""
    parts = {"sinks": options.sinks, "chunk": options.chunk, "reuse": options.purpose == "reuse"}
    parts["pyramid"] = options.layers == "pyramid"
    return "-".join(name for name, given in parts.items() if given) or "paper"


bench = benches("open_evictable")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("options", MODES, ids=named)
def test_decoding_sees_exactly_the_kept_rows(bench: Open, family: str, options: SnapKV) -> None:
    assert_sees_what_is_kept(bench(family), options)


@pytest.mark.parametrize("options", PYRAMIDS, ids=named)
def test_layers_may_keep_different_numbers_of_rows(bench: Open, options: SnapKV) -> None:
    made = bench("llama")
    if made.runtime in ONE_TABLE:
        with pytest.raises(Unsupported, match="one table of"):
            CompactingDecoder(made.evictable(), options).prefill(IDS[:40])
        return
    assert_sees_what_is_kept(made, options)


@pytest.mark.parametrize("options", [*MODES, *PYRAMIDS], ids=named)
def test_a_capacity_of_the_whole_prompt_changes_nothing(bench: Open, options: SnapKV) -> None:
    made = bench("llama")
    plain = made.evictable()
    compact = CompactingDecoder(made.evictable(), replace(options, capacity=40))
    want = list(generate(plain, IDS[:40], max_tokens=8))
    got = list(generate(compact, IDS[:40], max_tokens=8))
    assert max(compact.rows) == compact.length == 47
    assert got == want


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
        np.testing.assert_allclose(
            part, want[layer], rtol=5 * max(2e-4, made.tolerance), atol=made.tolerance
        )


def assert_sees_what_is_kept(made: Bench, options: SnapKV) -> None:
    """The oracle keeps everything and masks what each head of each layer has forgotten."""
    decoder = made.evictable()
    assert isinstance(decoder, Evictable)
    cuts: list[tuple[int, list[np.ndarray]]] = []  # after so many tokens, these rows
    keep = decoder.keep
    decoder.keep = lambda rows: (cuts.append((decoder.length, list(rows))), keep(rows))  # type: ignore
    compact = CompactingDecoder(decoder, options)
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
