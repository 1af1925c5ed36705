"""int8 caches on every runtime that offers them, against an oracle that rounds alike."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from decoders import Bench, Open, offering
from support import converted, tiny

from edge.artifact.manifest import Artifact
from edge.decode import rounding
from edge.decode.generate import generate
from edge.decode.lookup import Lookup
from edge.decode.rounding import Rounding, cache_of
from edge.decode.snapkv import CompactingDecoder, SnapKV
from edge.decode.speculate import Speculation
from edge.errors import Unsupported
from edge.protocols import Roundable
from edge.run import opening
from edge.source.checkpoint import Checkpoint
from edge.spec import DecoderSpec
from edge_runtimes.reference.decoder import ReferenceDecoder, checkpoint_weights
from edge_runtimes.reference.ops import Cache

IDS = [int(i) for i in np.random.default_rng(4).integers(0, 97, 60)]
FAMILIES = ("llama", "openelm", "internlm2", "mistral", "phi3small", "qwen2", "qwen3")
CUT = SnapKV(capacity=24, window=4, kernel=3)
NEAR = (
    2e-3  # of the largest logit: a number on a tie goes either way, and rows after it inherit that
)
USUAL = 3e-4


@dataclass
class RoundedCache(Cache):
    """Numpy's cache [S, G, W], by the plainest reading of what a scale is."""

    scales: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def append(self, index: int, k: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if index in self.scales:
            k, v = (_near(x, s) for x, s in zip((k, v), self.scales[index], strict=True))
        return super().append(index, k, v)

    def round(self, spec: DecoderSpec) -> None:
        half = spec.rope.width // 2
        for index, keys in self.keys.items():
            largest = np.abs(keys).max(axis=0)  # [G, W]
            for i in range(half):
                pair = np.sqrt(keys[:, :, i] ** 2 + keys[:, :, i + half] ** 2).max(axis=0)
                largest[:, i] = largest[:, i + half] = pair
            scales = largest * 1.25 / 127, np.abs(self.values[index]).max(axis=0) * 1.25 / 127
            self.scales[index] = scales
            self.keys[index] = _near(keys, scales[0])
            self.values[index] = _near(self.values[index], scales[1])


def _near(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return (np.clip(np.round(x / scale), -128, 127) * scale).astype(np.float32)


@pytest.fixture(params=offering("open_rounding")[1:])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    return lambda family: Bench(request.param, tmp_path / family, family)


def oracle_of(made: Bench) -> tuple[ReferenceDecoder, RoundedCache]:
    cache = RoundedCache()
    weights = checkpoint_weights(Checkpoint.open(made.source))
    return ReferenceDecoder(made.spec, weights, cache=cache), cache


def off(got: np.ndarray, want: np.ndarray) -> float:
    real = np.isfinite(want)  # ids that are never predicted
    return float(np.abs(got[real] - want[real]).max() / np.abs(want[real]).max())


@pytest.mark.parametrize("family", FAMILIES)
def test_rounded_rows_are_what_the_oracle_rounds(bench: Open, family: str) -> None:
    """Steps, a chunk and a rewind after it; without rounding the oracle is farther off."""
    made = bench(family)
    decoder, (oracle, cache) = made.roundable(), oracle_of(made)
    assert isinstance(decoder, Roundable)
    plain = made.oracle()
    for one in (decoder, oracle, plain):
        one.prefill(IDS[:40])
    assert not decoder.rounded
    decoder.round()
    cache.round(made.spec)
    assert decoder.rounded
    got = [decoder.step(IDS[40]).copy(), *decoder.score(IDS[41:46]).copy()]
    want = [oracle.step(IDS[40]), *oracle.score(IDS[41:46])]
    float_ = [plain.step(IDS[40]), *plain.score(IDS[41:46])]
    errors = [off(a, b) for a, b in zip(got, want, strict=True)]
    assert max(errors) <= NEAR
    assert np.median(errors) <= USUAL
    assert np.median([off(a, b) for a, b in zip(float_, want, strict=True)]) > 3 * USUAL
    decoder.rewind(42)
    oracle.rewind(42)
    assert off(decoder.step(7), oracle.step(7)) <= NEAR


def test_a_cut_cache_is_rounded_to_what_it_keeps(bench: Open) -> None:
    made = bench("llama")
    decoder, (oracle, cache) = made.roundable(), oracle_of(made)
    for one in (decoder, oracle):
        CompactingDecoder(one, CUT).prefill(IDS[:40])
    decoder.round()
    cache.round(made.spec)
    assert decoder.rows == (24,) * len(made.spec.layers)
    for token in IDS[40:43]:
        assert off(decoder.step(token), oracle.step(token)) <= NEAR
    logits, votes = decoder.observe(IDS[43:47])
    wanted, seen = oracle.observe(IDS[43:47])
    assert off(logits, wanted) <= NEAR
    for a, b in zip(votes, seen, strict=True):
        np.testing.assert_allclose(a, b, atol=5e-3)


def test_a_new_sequence_begins_in_float32(bench: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounding, "ENOUGH", 32)
    made = bench("llama")
    cache = made.roundable()
    decoder = Rounding(cache, cache)
    answers = []
    for _ in range(2):
        decoder.rewind(0)
        assert cache_of(decoder) == ((0, 0, 0), 4)
        answers.append([decoder.prefill(IDS[:30]).copy()])
        assert cache_of(decoder)[1] == 4, "too short to measure"
        answers[-1] += [decoder.step(token).copy() for token in IDS[30:40]]
        assert cache_of(decoder) == ((40, 40, 40), 1)
    assert all(np.array_equal(a, b) for a, b in zip(*answers, strict=True))
    float_ = made.oracle()
    assert made.close(answers[0][0], float_.prefill(IDS[:30]))
    got = [made.close(a, float_.step(t)) for a, t in zip(answers[0][1:], IDS[30:40], strict=True)]
    assert got[:2] == [True, True], "the 32nd token is the last in float32"
    assert not any(got[3:])


def test_drafts_are_verified_over_int8(bench: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounding, "ENOUGH", 20)
    made, answers = bench("llama"), []
    for drafting in (False, True):
        cache = made.roundable()
        decoder = Rounding(CompactingDecoder(cache, CUT), cache)
        source = Speculation(decoder, Lookup(decoder), 3) if drafting else decoder
        answers.append(list(generate(source, IDS[:40], max_tokens=20)))
    assert answers[0] == answers[1]


def test_a_fork_goes_its_own_way(bench: Open) -> None:
    cache = bench("llama").roundable()
    cache.prefill(IDS[:30])
    cache.round()
    other = cache.fork([np.array([[0, 5, 28, 29]] * 2)] * 3)
    first = other.step(7).copy()
    cache.step(8)
    other.rewind(30)
    assert np.array_equal(other.step(7), first)
    assert (cache.rows, other.rows) == ((31,) * 3, (5,) * 3)


@pytest.mark.parametrize("target", ["gguf", "mlx", "torch"])
def test_a_runtime_without_it_refuses(target: str, tmp_path: Path) -> None:
    if target in offering("open_rounding"):
        pytest.skip(f"{target} has an int8 cache")
    try:
        artifact = Artifact.open(converted(tmp_path / "o", tiny(tmp_path / "s"), target=target))
    except Unsupported as error:
        pytest.skip(str(error))
    with pytest.raises(Unsupported, match="onnx"):
        opening.open_rounding(artifact, threads=None)


def test_two_sets_of_rotary_factors_are_refused(tmp_path: Path) -> None:
    scaling = {"type": "longrope", "short_factor": [1.0] * 8, "long_factor": [2.0] * 8}
    more = {"original_max_position_embeddings": 32, "rope_scaling": scaling}
    source = tiny(tmp_path / "s", "phi3", sliding_window=None, **more)
    artifact = Artifact.open(converted(tmp_path / "o", source))
    with pytest.raises(Unsupported, match="no int8 cache"):
        opening.open_rounding(artifact, threads=None)
