"""Phi-3-small against a slow and obvious model of its own: loops in float64, from the published
description alone.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from references import phi3small as published
from support import checkpoint, config_of, converted, spec_of, weights_of

from edge import targets
from edge.artifact.manifest import Artifact
from edge.contracts import Opening
from edge.decode.switching import switching
from edge.errors import Damaged, Unsupported
from edge.nn.decoder import decoder as model
from edge.protocols import Decoder
from edge.prove.verify import verify
from edge.quant import recipe as recipes
from edge.run import opening
from edge.source.checkpoint import Checkpoint
from edge_runtimes.onnx import decoder as onnx_decoder

FORBIDDEN = [88, 90, 91]
IDS = np.random.default_rng(3).integers(0, 97, 60).tolist()
REAL = {
    "blocksparse_block_size": 64,
    "blocksparse_num_local_blocks": 16,
    "blocksparse_vert_stride": 8,
}
LONG = {
    "type": "su",
    "short_factor": [1 + 0.05 * i for i in range(8)],
    "long_factor": [1.5 + 1.7 * i for i in range(8)],
    "short_mscale": 1.05,
    "long_mscale": 1.25,
    "original_max_position_embeddings": 24,
}


def near(got: np.ndarray, want: np.ndarray) -> bool:
    """Relative to the largest; what is forbidden must be so in both."""
    finite = np.isfinite(want)
    assert np.array_equal(finite, np.isfinite(got))
    assert (got[~finite] == -np.inf).all()
    return bool(np.abs(got[finite] - want[finite]).max() <= 1e-4 * np.abs(want[finite]).max())


def numpy_decoder(source: Path) -> Decoder:
    found = Checkpoint.open(source)
    recipe = recipes.parse("fp32")
    return switching(
        found.spec,
        lambda _, part: targets.oracle().oracle(found, recipe, spec=part),
    )


def onnx(source: Path) -> Decoder:
    artifact = converted(source.with_name(source.name + "-onnx"), source)
    return opening.open_decoder(Artifact.open(artifact), threads=2, exact=False)


def torch(source: Path) -> Decoder:
    pytest.importorskip("torch")
    artifact = converted(source.with_name(source.name + "-torch"), source, target="torch")
    return opening.open_decoder(Artifact.open(artifact), threads=2, exact=False)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = config_of("phi3small")
    return checkpoint(tmp_path_factory.mktemp("small") / "it", config, weights_of(config))


@pytest.fixture(scope="module")
def want() -> np.ndarray:
    config = config_of("phi3small")
    return published(config, weights_of(config), IDS)


OPENERS = {"numpy": numpy_decoder, "onnx": onnx, "torch": torch}


@pytest.fixture(scope="module", params=OPENERS)
def decoder(request: pytest.FixtureRequest, source: Path) -> Decoder:
    return OPENERS[request.param](source)


def test_logits_of_every_position(decoder: Decoder, want: np.ndarray) -> None:
    decoder.rewind(0)
    assert near(decoder.score(IDS), want)


def test_chunks_steps_and_rewinds(decoder: Decoder, want: np.ndarray) -> None:
    """Block borders lie at multiples of 4: chunks start and end on, before and after them."""
    decoder.rewind(0)
    at = 0
    for size in (1, 7, 4, 13, 2, 1, 1, 5, 11):
        assert near(decoder.prefill(IDS[at : at + size])[None], want[at + size - 1][None])
        at += size
    for start in (33, 17, 8, 3):
        decoder.rewind(start)
        assert near(decoder.step(IDS[start])[None], want[start][None])
        assert near(decoder.prefill(IDS[start + 1 : 40])[None], want[39][None])


def test_sparsity_matters(source: Path, want: np.ndarray) -> None:
    dense = {**config_of("phi3small"), "dense_attention_every_n_layers": 1}
    logits = published(dense, weights_of(config_of("phi3small")), IDS)
    assert near(logits[:8], want[:8])
    assert not near(logits[8:], want[8:])


@pytest.mark.parametrize("heads", [2, 8])
def test_heads_shift_by_whole_steps(tmp_path: Path, heads: int) -> None:
    """Fewer heads than the stride move further apart; more begin again."""
    config = config_of("phi3small", hidden_size=8 * heads, num_attention_heads=heads)
    weights = weights_of(config)
    it = checkpoint(tmp_path / "it", config, weights)
    want = published(config, weights, IDS)
    for opener in OPENERS.values():
        assert near(opener(it).score(IDS), want)


def test_the_published_blocks_beyond_their_reach(tmp_path: Path) -> None:
    """64, 16 and 8 on one narrow layer: from 1,024 tokens on, keys are hidden."""
    config = config_of(
        "phi3small",
        **REAL,
        num_hidden_layers=1,
        num_attention_heads=8,
        max_position_embeddings=2048,
    )
    weights = weights_of(config)
    ids = np.random.default_rng(0).integers(0, 97, 1100).tolist()
    it = checkpoint(tmp_path / "it", config, weights)
    want = published(config, weights, ids)
    dense = published({**config, "dense_attention_every_n_layers": 1}, weights, ids)
    assert near(dense[:1024], want[:1024])
    assert not near(dense[1024:], want[1024:])
    for opener in OPENERS.values():
        assert near(opener(it).score(ids), want)


def test_a_short_context_needs_no_bias(source: Path, tmp_path: Path, want: np.ndarray) -> None:
    """Up to the reach of the local blocks the graph is that of dense attention."""
    short = converted(tmp_path / "short", source, context=8)
    whole = converted(tmp_path / "whole", source, context=9)
    assert b"sparse." not in (short / "model.onnx").read_bytes()
    assert b"sparse." in (whole / "model.onnx").read_bytes()
    opened = opening.open_decoder(Artifact.open(short), threads=1, exact=False)
    assert near(opened.score(IDS[:8]), want[:8])


def test_a_long_prompt_is_read_in_chunks_that_bound_the_bias(
    source: Path, want: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_decoder, "_BIASES", 4 * 9 * 512)
    artifact = Artifact.open(converted(source.with_name("chunks"), source))
    opened = onnx_decoder.OnnxDecoder(Opening(artifact.folder, artifact.manifest.spec))
    assert opened._chunk() == 9
    assert near(opened.prefill(IDS[:50])[None], want[49][None])
    assert near(opened.score(IDS[50:]), want[50:])


@pytest.mark.parametrize(
    ("rows", "heads", "tokens"),
    [(512, 0, 512), (1 << 17, 0, 64), (512, 32, 512), (8192, 32, 128), (1 << 17, 32, 8)],
)
def test_chunks(rows: int, heads: int, tokens: int) -> None:
    assert onnx_decoder.chunk(rows, heads) == tokens


@pytest.mark.parametrize("opener", OPENERS.values(), ids=OPENERS)
def test_longrope_on_both_sides(tmp_path: Path, opener: Any) -> None:
    config = config_of("phi3small", rope_scaling=LONG)
    weights = weights_of(config)
    decoder = opener(checkpoint(tmp_path / "it", config, weights))
    decoder.prefill(IDS[:20])
    for count in range(21, 29):  # across 24
        got = decoder.step(IDS[count - 1])
        assert near(got[None], published(config, weights, IDS[:count])[-1:]), count


@pytest.mark.parametrize("quant", ["fp16", "int8", "int4"])
def test_longrope_is_proved(tmp_path: Path, quant: str) -> None:
    config = config_of("phi3small", rope_scaling=LONG)
    source = checkpoint(tmp_path / "it", config, weights_of(config))
    report = verify(Artifact.open(converted(tmp_path / "out", source, quant)), source, tokens=12)
    assert report.passed, report


def test_torch_ops_compute_the_same(source: Path, want: np.ndarray) -> None:
    """In two sequences at once, by the blocks of the CPU and by the fused kernel of a GPU."""
    torch = pytest.importorskip("torch")
    from edge_runtimes.torch import attention
    from edge_runtimes.torch import ops as torch_ops

    with Checkpoint.open(source) as found:
        weights = {name: torch.from_numpy(found[name].copy()) for name in found.places}
        spec = found.spec
    tokens = torch.tensor([IDS, IDS[::-1]])
    both = model(torch_ops.TorchOps(weights), spec, tokens).numpy()
    assert near(both[0], want)
    assert near(
        both[1], published(config_of("phi3small"), weights_of(config_of("phi3small")), IDS[::-1])
    )
    for layer in spec.layers:
        q, k, v = (torch.randn(2, heads, 40, 16) for heads in (4, 2, 2))
        apart = attention.fused(q, k, v, layer) - attention.blocks(q, k, v, layer)
        assert apart.abs().max() < 1e-5


REFUSED: dict[str, dict[str, Any]] = {
    "hidden_act is 'silu'": {"hidden_act": "silu"},
    "ff_dim_multiplier is 3": {"ff_dim_multiplier": 3},
    "mup_use_scaling is False": {"mup_use_scaling": False},
    "rope_position_scale is 0.5": {"rope_position_scale": 0.5},
    "blocksparse_homo_head_pattern is True": {"blocksparse_homo_head_pattern": True},
    "reorder_and_upcast_attn is True": {"reorder_and_upcast_attn": True},
    "rope type 'yarn' is not supported": {"rope_scaling": {"type": "yarn"}},
}


@pytest.mark.parametrize("problem", REFUSED)
def test_what_cannot_be_honoured_is_named(problem: str) -> None:
    with pytest.raises(Unsupported, match=problem):
        spec_of(config_of("phi3small", **REFUSED[problem]))


@pytest.mark.parametrize(
    "key", ["gegelu_limit", "dense_attention_every_n_layers", "ff_intermediate_size"]
)
def test_a_null_that_means_something_is_refused(key: str) -> None:
    with pytest.raises(Unsupported, match=f"{key} is null"):
        spec_of({**config_of("phi3small"), key: None})


def test_ids_that_are_never_said() -> None:
    published_ids = spec_of(config_of("phi3small", vocab_size=100352, dummy_token_indices=None))
    want = [100256, 100258, 100259, 100260, 100264, 100265, *range(100267, 100352)]
    assert list(published_ids.forbidden) == want
    assert spec_of(config_of("phi3small", dummy_token_indices=None)).forbidden == ()
    assert spec_of(config_of("phi3small", dummy_token_indices=[])).forbidden == ()
    with pytest.raises(Damaged, match="forbidden id 97 of a vocabulary of 97"):
        spec_of(config_of("phi3small", dummy_token_indices=[97]))
