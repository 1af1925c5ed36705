"""LongRoPE against transformers on both sides of the original context, and across it."""

from pathlib import Path

import numpy as np
import pytest
from support import checkpoint, config_of, converted, weights_of

from edge import targets
from edge.artifact.manifest import Artifact
from edge.decode.switching import switching
from edge.protocols import Decoder
from edge.prove.verify import verify
from edge.quant import recipe as recipes
from edge.run import opening
from edge.source.checkpoint import Checkpoint
from edge.spec import parts

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

ORIGINAL, CONTEXT, PAIRS = 24, 96, 8
FACTORS = {
    "short_factor": [1 + 0.05 * i for i in range(PAIRS)],
    "long_factor": [1.5 + 1.7 * i for i in range(PAIRS)],
}
IDS = np.random.default_rng(0).integers(0, 97, 60).tolist()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = config_of(
        "phi3",
        sliding_window=262144,
        max_position_embeddings=CONTEXT,
        original_max_position_embeddings=ORIGINAL,
        rope_scaling={"type": "longrope", **FACTORS},
        pad_token_id=0,
        bos_token_id=1,
    )
    return checkpoint(tmp_path_factory.mktemp("longrope") / "it", config, weights_of(config))


@pytest.fixture(scope="module")
def published(source: Path) -> torch.nn.Module:
    return transformers.AutoModelForCausalLM.from_pretrained(source, dtype="float32").eval()


@pytest.fixture(scope="module", params=["numpy", "onnx", "torch", "mlx", "coreml", "gguf"])
def decoder(request: pytest.FixtureRequest, source: Path) -> Decoder:
    """Used again by every test: each rewinds it first, below the boundary from above it, too."""
    if request.param == "coreml":
        pytest.importorskip("coremltools")
        artifact = converted(source.with_name("coreml"), source, target="coreml")
        return opening.open_reference(Artifact.open(artifact), exact=True)
    if request.param != "numpy":
        artifact = converted(source.with_name(request.param), source, target=request.param)
        exact = request.param == "gguf"  # its fast attention is in fp16
        return opening.open_decoder(Artifact.open(artifact), threads=None, exact=exact)
    found = Checkpoint.open(source)
    pure, recipe = targets.oracle(), recipes.parse("fp32")
    return switching(
        found.spec,
        lambda _, part: pure.oracle(found, recipe, spec=part),
    )


def last(model: torch.nn.Module, count: int) -> np.ndarray:
    """Logits of the last of the first `count` tokens, read in one pass."""
    with torch.no_grad():
        return model(torch.tensor([IDS[:count]]), use_cache=False).logits[0, -1].numpy()


def near(got: np.ndarray, want: np.ndarray) -> bool:
    return bool(np.abs(got - want).max() <= 1e-4 * np.abs(want).max())


@pytest.mark.parametrize("count", [3, ORIGINAL - 1, ORIGINAL, ORIGINAL + 1, 60])
def test_a_prompt_of_any_length(decoder: Decoder, published: torch.nn.Module, count: int) -> None:
    decoder.rewind(0)
    assert near(decoder.prefill(IDS[:count]), last(published, count))


def test_steps_across_the_boundary_and_back(decoder: Decoder, published: torch.nn.Module) -> None:
    decoder.rewind(0)
    decoder.prefill(IDS[:20])
    for count in range(21, 33):
        assert near(decoder.step(IDS[count - 1]), last(published, count)), count
    decoder.rewind(10)
    assert near(decoder.step(IDS[10]), last(published, 11))


def test_the_boundary_matters(published: torch.nn.Module, decoder: Decoder) -> None:
    decoder.rewind(0)
    short = decoder.prefill(IDS[:ORIGINAL]).copy()
    decoder.rewind(0)
    assert decoder.length == 0
    assert not near(short, last(published, ORIGINAL + 1))


def test_both_parts_are_proved(source: Path, tmp_path: Path) -> None:
    artifact = Artifact.open(converted(tmp_path / "int4", source, "int4"))
    assert list(parts(artifact.manifest.spec)) == ["short-", ""]
    assert {"short-model.onnx", "model.onnx"} <= set(artifact.manifest.files)
    assert "genai_config.json" not in artifact.manifest.files
    report = verify(artifact, source, tokens=12)
    assert report.passed, report
    assert report.greedy_tokens == 24


def test_both_parts_of_core_ml_are_proved(source: Path, tmp_path: Path) -> None:
    pytest.importorskip("coremltools")
    artifact = Artifact.open(converted(tmp_path / "coreml", source, "int4", target="coreml"))
    report = verify(artifact, source, tokens=12)
    assert report.passed, report
    assert report.greedy_tokens == 24


def test_a_short_context_has_one_part(source: Path, tmp_path: Path) -> None:
    artifact = Artifact.open(converted(tmp_path / "short", source, context=ORIGINAL))
    assert list(parts(artifact.manifest.spec)) == [""]
    assert verify(artifact, source, tokens=8).passed
