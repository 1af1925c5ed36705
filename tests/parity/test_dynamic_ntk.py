"""A rotary base that grows with the context: against transformers' own at exactly that many tokens, and
against a model whose base is that number, at any.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from references import as_llama
from support import checkpoint, config_of, converted, spec_of, weights_of

from edge import targets
from edge.artifact.manifest import Artifact
from edge.decode.switching import switching
from edge.errors import Damaged, Unsupported
from edge.protocols import Decoder
from edge.prove.verify import verify
from edge.quant import recipe as recipes
from edge.run import opening
from edge.source.checkpoint import Checkpoint, with_context
from edge.spec import longest, parts

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


ORIGINAL, FACTOR, THETA, WIDTH = 24, 3.0, 10000.0, 16
LONGEST = 72
DYNAMIC: dict[str, Any] = {
    "max_position_embeddings": ORIGINAL,
    "rope_scaling": {"type": "dynamic", "factor": FACTOR},
}
IDS = np.random.default_rng(0).integers(0, 97, LONGEST).tolist()


def numpy_decoder(source: Path, context: int) -> Decoder:
    found = Checkpoint.open(source, context=context)
    recipe = recipes.parse("fp32")
    return switching(found.spec, lambda _, part: targets.oracle().oracle(found, recipe, spec=part))


def onnx_decoder(source: Path, context: int) -> Decoder:
    artifact = converted(source.with_name(f"onnx-{context}"), source, context=context)
    return opening.open_decoder(Artifact.open(artifact), threads=1, exact=False)


OPENERS = {"numpy": numpy_decoder, "onnx": onnx_decoder}


def last(model: torch.nn.Module, count: int) -> np.ndarray:
    with torch.no_grad():
        return model(torch.tensor([IDS[:count]]), use_cache=False).logits[0, -1].numpy()


def near(got: np.ndarray, want: np.ndarray) -> bool:
    return bool(np.abs(got - want).max() <= 1e-4 * np.abs(want).max())


def base(context: int) -> float:
    """The published formula."""
    if context <= ORIGINAL:
        return THETA
    return THETA * ((FACTOR * context / ORIGINAL) - (FACTOR - 1)) ** (WIDTH / (WIDTH - 2))


@pytest.mark.parametrize("opener", OPENERS.values(), ids=OPENERS)
@pytest.mark.parametrize("context", [ORIGINAL + 1, 40, LONGEST])
def test_llama_of_so_many_tokens(tmp_path: Path, opener: Any, context: int) -> None:
    config = config_of("llama", **DYNAMIC)
    source = checkpoint(tmp_path / "it", config, weights_of(config))
    published = transformers.AutoModelForCausalLM.from_pretrained(source, dtype="float32").eval()
    want = last(published, context)
    decoder = opener(source, context)
    assert near(decoder.prefill(IDS[:context]), want)
    decoder.rewind(0)
    decoder.prefill(IDS[:10])
    for token in IDS[10 : context - 1]:
        decoder.step(token)
    assert near(decoder.step(IDS[context - 1]), want)


@pytest.mark.parametrize("opener", OPENERS.values(), ids=OPENERS)
def test_internlm2_on_both_sides_and_across(tmp_path: Path, opener: Any) -> None:
    config = config_of("internlm2", **DYNAMIC)
    weights = weights_of(config)
    decoder = opener(checkpoint(tmp_path / "it", config, weights), LONGEST)
    plain, grown = (as_llama({**config, "rope_theta": base(n)}, weights) for n in (1, LONGEST))
    assert not near(last(plain, ORIGINAL + 1), last(grown, ORIGINAL + 1))
    decoder.prefill(IDS[:20])
    for count in range(21, 31):
        want = last(plain if count <= ORIGINAL else grown, count)
        assert near(decoder.step(IDS[count - 1]), want), count
    decoder.rewind(12)
    assert near(decoder.step(IDS[12]), last(plain, 13))
    assert near(decoder.prefill(IDS[13:]), last(grown, LONGEST))


def test_both_parts_are_proved(tmp_path: Path) -> None:
    config = config_of("internlm2", **DYNAMIC)
    source = checkpoint(tmp_path / "it", config, weights_of(config))
    artifact = Artifact.open(converted(tmp_path / "out", source, "int4", context=60))
    assert [part.context for part in parts(artifact.manifest.spec).values()] == [ORIGINAL, 60]
    report = verify(artifact, source, tokens=12)
    assert report.passed, report
    assert report.greedy_tokens == 24


def test_the_published_context_has_one_part_and_no_growth(tmp_path: Path) -> None:
    dynamic, plain = (
        config_of("llama", **{**DYNAMIC, "rope_scaling": scaling})
        for scaling in (DYNAMIC["rope_scaling"], None)
    )
    assert list(parts(spec_of(dynamic))) == [""]
    graphs = []
    for name, config in (("dynamic", dynamic), ("plain", plain)):
        source = checkpoint(tmp_path / name, config, weights_of(config))
        folder = converted(tmp_path / f"{name}-out", source)
        graphs.append([(folder / f).read_bytes() for f in ("model.onnx", "model.onnx.data")])
    assert graphs[0] == graphs[1]


def test_the_longest_context() -> None:
    spec = spec_of(config_of("llama", **DYNAMIC))
    assert longest(spec) == LONGEST
    assert with_context(spec, LONGEST).context == LONGEST
    with pytest.raises(Unsupported, match="a context of 73 tokens was asked for, the model has 72"):
        with_context(spec, LONGEST + 1)
    assert longest(spec_of(config_of("llama"))) == 64


def test_settings_without_meaning_are_refused() -> None:
    with pytest.raises(Damaged, match="'factor' is missing"):
        spec_of(config_of("llama", rope_scaling={"type": "dynamic"}))
    with pytest.raises(Unsupported, match="more than one rotated pair"):
        spec_of(config_of("llama", head_dim=2, **DYNAMIC))
