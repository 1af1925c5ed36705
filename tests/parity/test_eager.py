"""Compacted caches and early exits where arrays are computed at once, on MLX and torch: what only these
can do, and what rounding may change.
"""

import gc
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import VOCAB, converted, dividing, tiny

from edge import targets
from edge.artifact.manifest import Artifact, recipe_of
from edge.contracts import Opening
from edge.decode.compact import CompactDrafter
from edge.decode.exits import ExitDecoder
from edge.decode.generate import generate
from edge.decode.layerskip import SelfDrafter
from edge.decode.lookup import Lookup
from edge.decode.snapkv import SnapKV
from edge.decode.speculate import Speculation
from edge.errors import Unsupported
from edge.protocols import EarlyExit, Evictable
from edge.run import opening
from edge.source.checkpoint import Checkpoint
from edge_runtimes.reference.decoder import ReferenceDecoder, checkpoint_weights
from edge_runtimes.reference.exits import ExitReferenceDecoder

PROMPT = [int(i) for i in np.random.default_rng(3).integers(0, VOCAB, 40)]
PARTIAL = {"partial_rotary_factor": 0.75, "num_hidden_layers": 3}
MODULES = {"mlx": "mlx.core", "torch": "torch"}


@pytest.fixture(params=sorted(MODULES))
def name(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(MODULES[request.param])
    return str(request.param)


def made(
    folder: Path, name: str, family: str = "llama", quant: str = "fp32", **changes: object
) -> tuple[Artifact, Checkpoint]:
    """An artifact that keeps an exit after its first layer, and its source."""
    source = tiny(folder / "source", family, **changes)
    artifact = converted(folder / "out", source, quant, target=name, exits=(1,))
    return Artifact.open(artifact), Checkpoint.open(source)


def near(got: np.ndarray, want: np.ndarray, tolerance: float = 1e-4) -> bool:
    seen = np.isfinite(want)  # a forbidden id is at minus infinity
    assert np.array_equal(np.isfinite(got), seen)
    return bool(np.abs(got[seen] - want[seen]).max() <= tolerance * np.abs(want[seen]).max())


def reference(source: Checkpoint) -> ReferenceDecoder:
    return ReferenceDecoder(source.spec, checkpoint_weights(source))


# Compacted caches

SEEING_ALL = {
    "llama": {"num_hidden_layers": 3},
    "openelm": {},
    "internlm2": {"num_hidden_layers": 3},
    "phi3": {"sliding_window": None, **PARTIAL},
}


@pytest.mark.parametrize("family", SEEING_ALL)
def test_votes_are_the_oracle_s(name: str, family: str, tmp_path: Path) -> None:
    artifact, source = made(tmp_path, name, family, **SEEING_ALL[family])
    decoder, oracle = opening.open_evictable(artifact, threads=None), reference(source)
    decoder.prefill(PROMPT[:25])
    oracle.prefill(PROMPT[:25])
    (logits, votes), (want, wanted) = (d.observe(PROMPT[25:]) for d in (decoder, oracle))
    assert near(logits, want)
    for got, vote, layer in zip(votes, wanted, source.spec.layers, strict=True):
        assert got.shape == (layer.heads, 40)
        np.testing.assert_allclose(got, vote, rtol=1e-4, atol=1e-5)


Open = Callable[[Artifact], Evictable]


def by_default(artifact: Artifact) -> Evictable:
    return opening.open_evictable(artifact, threads=None)


def compiled(artifact: Artifact) -> Evictable:
    flexible = pytest.importorskip("edge_runtimes.mlx.flexible")
    found: Evictable = flexible.FlexibleMlxDecoder(
        Opening(artifact.folder, artifact.manifest.spec), compiled=True
    )
    return found


@pytest.mark.parametrize(
    ("name", "family", "opened"),
    [
        *((name, family, by_default) for name in sorted(MODULES) for family in SEEING_ALL),
        ("mlx", "llama", compiled),
    ],
)
def test_each_layer_may_keep_as_many_rows_as_it_likes(
    name: str, family: str, opened: Open, tmp_path: Path
) -> None:
    """Positions stay true; steps, chunks and rewinds are over what each layer has kept."""
    pytest.importorskip(MODULES[name])
    artifact, source = made(tmp_path, name, family, **SEEING_ALL[family])
    rng = np.random.default_rng(8)
    rows = [
        np.stack([np.sort(rng.permutation(40)[: 9 + 5 * at]) for _ in range(layer.kv_heads)])
        for at, layer in enumerate(source.spec.layers)
    ]

    def said(decoder: Evictable) -> list[np.ndarray]:
        decoder.prefill(PROMPT)
        decoder.step(5)  # over all rows
        decoder.rewind(40)
        decoder.keep(rows)
        assert (decoder.length, decoder.rows) == (40, tuple(9 + 5 * at for at in range(3)))
        out = [decoder.step(token).copy() for token in (7, 8, 9)]
        out.append(decoder.score([10, 11, 12, 13]).copy())
        decoder.rewind(41)
        assert (decoder.length, decoder.rows) == (41, tuple(10 + 5 * at for at in range(3)))
        out += [decoder.step(14).copy(), decoder.prefill([15, 16, 17]).copy()]
        decoder.rewind(0)
        assert (decoder.length, set(decoder.rows)) == (0, {0})
        return [*out, decoder.prefill(PROMPT[:9]).copy(), decoder.step(18).copy()]

    got, want = said(opened(artifact)), said(reference(source))
    assert all(near(a, b) for a, b in zip(got, want, strict=True))


def test_a_compacted_cache_takes_less_memory(name: str, tmp_path: Path) -> None:
    artifact, source = made(tmp_path, name, max_position_embeddings=4096)
    decoder = by_default(artifact)
    decoder.prefill(PROMPT * 60)
    if name == "mlx":
        pytest.importorskip("mlx.core").clear_cache()  # of what reading the prompt took
    whole = held(name)
    layers, places = len(source.spec.layers), np.tile(np.arange(100), (2, 1))
    other = decoder.fork([places] * layers)
    assert held(name) < 1.2 * whole, "a fork shares the weights"
    del other
    decoder.keep([places] * layers)
    decoder.step(1)
    row = 2 * layers * 2 * 16 * 4  # bytes, in float32
    assert whole - held(name) > row * (2400 - 512)


def held(name: str) -> int:
    """Bytes of all arrays that live, and of those that MLX keeps for later ones."""
    if name == "mlx":
        import mlx.core as mx

        return int(mx.get_active_memory() + mx.get_cache_memory())
    import torch

    gc.collect()
    alive = (found.untyped_storage() for found in gc.get_objects() if type(found) is torch.Tensor)
    return sum({storage.data_ptr(): storage.nbytes() for storage in alive}.values())


NOT_SEEING_ALL = {
    "mistral": {"num_hidden_layers": 3},
    "phi3": PARTIAL,
    "phi3small": {},
}


@pytest.mark.parametrize("family", NOT_SEEING_ALL)
def test_with_a_window_lookup_drafts_and_rows_stay(name: str, family: str, tmp_path: Path) -> None:
    artifact, source = made(tmp_path, name, family, **NOT_SEEING_ALL[family])
    decoder, prompt = by_default(artifact), PROMPT[:20] * 2
    want = list(generate(reference(source), prompt, max_tokens=20))
    drafted = Speculation(decoder, Lookup(decoder), 4)
    assert list(generate(drafted, prompt, max_tokens=20)) == want
    assert drafted.tally.drafted > 0
    rows = [np.tile(np.arange(5), (layer.kv_heads, 1)) for layer in source.spec.layers]
    for refused in (
        lambda: decoder.keep(rows),
        lambda: decoder.fork(rows),
        lambda: decoder.observe([1]),
    ):
        with pytest.raises(Unsupported, match="window or is block-sparse"):
            refused()
    assert set(decoder.rows) == {decoder.length}


# Early exits


def early(artifact: Artifact, draft_vocab: int | None = None) -> EarlyExit:
    spec = replace(artifact.manifest.spec, draft_vocab=draft_vocab)
    module = targets.runtime(artifact.manifest.target)
    return ExitDecoder(module.open_exits(Opening(artifact.folder, spec), exit_=1))  # type: ignore[attr-defined]


@pytest.mark.parametrize("count", [1, 40, 90, VOCAB, None])
@pytest.mark.parametrize(
    ("family", "quant", "changes"),
    [
        ("llama", "fp32", {}),
        ("llama", "rtn-int4-g32", {"tie_word_embeddings": True, **dividing("llama")}),
        ("openelm", "fp32", {}),
        ("phi3small", "fp32", {}),
    ],
)
def test_drafts_are_of_the_first_ids(
    name: str,
    family: str,
    quant: str,
    changes: dict[str, object],
    count: int | None,
    tmp_path: Path,
) -> None:
    """A draft's logits are those of the whole head, minus infinity from some id on; the answer's are
    of all.
    """
    artifact, source = made(tmp_path, name, family, quant, **changes)
    recipe = recipe_of(artifact.manifest)
    numerics = targets.runtime(name).numerics(recipe, exact=False)  # type: ignore[call-arg]
    weights = checkpoint_weights(source, recipe, vectors=numerics.vectors)
    oracle = ExitDecoder(ExitReferenceDecoder(source.spec, weights, 1))
    decoder = early(artifact, count)
    assert near(decoder.prefill(PROMPT[:9]), oracle.prefill(PROMPT[:9]), numerics.tolerance)
    for token in (3, 96, 4):
        got, want = decoder.draft(token), oracle.draft(token)
        want[count or VOCAB :] = -np.inf
        assert near(got, want, numerics.tolerance)
    assert near(decoder.finish(5), oracle.finish(5), numerics.tolerance)
    assert decoder.length == oracle.length == 13


def test_whatever_is_read_next_forgets_drafts(name: str, tmp_path: Path) -> None:
    artifact, source = made(tmp_path, name, num_hidden_layers=3)
    plain, decoder = reference(source), early(artifact)
    want = plain.score(PROMPT[:14])
    decoder.prefill(PROMPT[:9])
    decoder.draft(1)
    decoder.draft(2)
    assert decoder.length == 9, "a draft counts when it is finished"
    assert near(decoder.step(PROMPT[9]), want[9])
    decoder.draft(3)
    assert near(decoder.score(PROMPT[10:12]), want[10:12])
    decoder.draft(4)
    assert near(decoder.prefill(PROMPT[12:14]), want[13])
    decoder.draft(PROMPT[9])
    decoder.rewind(9)
    assert near(decoder.finish(PROMPT[9])[0], want[9]), "nothing was drafted since"


def test_a_draft_may_fill_the_cache(name: str, tmp_path: Path) -> None:
    """Growing on the way, and never past its end."""
    artifact, source = made(tmp_path, name, max_position_embeddings=600)
    decoder, ids = early(artifact), (PROMPT * 15)[:600]
    want = reference(source).score(ids)
    decoder.prefill(ids[:250])
    for start, stop in ((250, 259), (259, 270)):
        for token in ids[start : stop - 1]:
            decoder.draft(token)
        assert near(decoder.finish(ids[stop - 1]), want[start:stop])
    decoder.score(ids[270:505])
    for token in ids[505:520]:
        decoder.draft(token)
    assert near(decoder.finish(ids[520]), want[505:521])
    decoder.score(ids[521:596])
    for token in ids[596:600]:
        decoder.draft(token)
    with pytest.raises(AssertionError):
        decoder.draft(0)
    decoder.rewind(595)
    for token in ids[595:599]:
        decoder.draft(token)
    assert near(decoder.finish(ids[599]), want[595:600])


# Rounding


@pytest.mark.parametrize("quant", ["bf16", "int4", "int8"])
@pytest.mark.parametrize("family", ["llama", "openelm", "internlm2"])
def test_rounding_alone_changes_an_answer(
    name: str, family: str, quant: str, tmp_path: Path
) -> None:
    """Greedy answers by every means are the plain one, or first differ where the plain run holds the two
    tokens apart by less than what it rounds: how far it is from the same weights in numpy.
    """
    artifact, source = made(tmp_path, name, family, quant, **dividing(family))
    plain = opening.open_decoder(artifact, threads=None, exact=False)
    prompt = PROMPT[:30]
    want = list(generate(plain, prompt, max_tokens=30))
    plain.rewind(0)
    scores = plain.score([*prompt, *want])
    oracle = targets.oracle().oracle(source, recipe_of(artifact.manifest))
    error = float(np.abs(scores - oracle.score([*prompt, *want])).max())
    assert error < 0.2 * np.abs(scores).max()
    for drafted in strategy(artifact):
        got = list(generate(drafted, prompt, max_tokens=30))
        assert drafted.tally.drafted > 0
        first = next((i for i in range(30) if got[i] != want[i]), None)
        if first is not None:
            row = scores[len(prompt) + first - 1]
            assert row.max() - row[got[first]] <= 2 * error


def strategy(artifact: Artifact) -> Sequence[Speculation]:
    exiting = opening.open_exits(artifact, exit_=1, threads=None)
    both = CompactDrafter(by_default(artifact), SnapKV(capacity=12, window=4, kernel=3))
    looking = by_default(artifact)
    return (
        Speculation(exiting, SelfDrafter(exiting), 4),
        Speculation(both, both, 4),
        Speculation(looking, Lookup(looking), 4),
    )
