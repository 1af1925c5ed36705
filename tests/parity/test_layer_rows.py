"""Caches whose layers keep different numbers of rows, on every runtime that compacts."""

import numpy as np
import pytest
from decoders import ONE_TABLE, Open, benches

from edge.errors import Unsupported
from edge.protocols import Decoder
from edge_runtimes.reference import ops as reference

IDS = [int(i) for i in np.random.default_rng(5).integers(0, 97, 50)]
FAMILIES = ("llama", "openelm", "internlm2")


bench = benches("open_evictable")


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
