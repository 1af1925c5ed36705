"""All runtimes are a Decoder, and behave alike on what the protocol says."""

import numpy as np
import pytest
from support import converted, tiny

from edge import targets
from edge.artifact.manifest import Artifact
from edge.contracts import Opening
from edge.errors import EdgeError
from edge.protocols import Decoder
from edge.quant import recipe as recipes
from edge.source.checkpoint import Checkpoint

IDS = [5, 17, 42, 9, 88, 3, 3, 61, 20, 34, 71, 2]


# How a decoder is opened: plainly, to forget rows, and to stop early.
DOORS = {"open": {}, "open_evictable": {}, "open_exits": {"exit_": 1}}
OPENED = ["reference", *(f"{name} {door}" for name in ("onnx", "torch", "mlx") for door in DOORS)]


@pytest.fixture(scope="module", params=OPENED)
def decoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    folder = tmp_path_factory.mktemp("protocol")
    source = tiny(folder / "source", "phi3")
    if request.param == "reference":
        checkpoint = Checkpoint.open(source)
        return targets.oracle().oracle(checkpoint, recipes.parse("fp32"))
    name, door = request.param.split()
    pytest.importorskip({"onnx": "onnxruntime", "mlx": "mlx.core"}.get(name, name))
    artifact = converted(folder / "artifact", source, target=name, exits=(1,))
    spec, threads = Artifact.open(artifact).manifest.spec, None if name == "mlx" else 1
    opening = Opening(artifact, spec, threads=threads)
    opened: Decoder = getattr(targets.runtime(name), door)(opening, **DOORS[door])
    return opened


@pytest.fixture(autouse=True)
def _fresh(decoder: Decoder) -> None:
    decoder.rewind(0)


def test_it_is_one(decoder: Decoder) -> None:
    assert isinstance(decoder, Decoder)
    assert decoder.capacity == decoder.spec.context == 64
    assert decoder.length == 0


def test_shapes_and_lengths(decoder: Decoder) -> None:
    vocab = decoder.spec.vocab
    assert decoder.prefill(IDS).shape == (vocab,)
    assert decoder.length == len(IDS)
    assert decoder.step(7).shape == (vocab,)
    assert decoder.score(IDS[:5]).shape == (5, vocab)
    assert decoder.length == len(IDS) + 6
    decoder.rewind(3)
    assert decoder.length == 3


def test_prefill_step_and_score_agree(decoder: Decoder) -> None:
    scored = decoder.score(IDS).copy()
    decoder.rewind(0)
    steps = np.stack([decoder.step(token).copy() for token in IDS])
    np.testing.assert_allclose(steps, scored, atol=2e-5)
    decoder.rewind(0)
    np.testing.assert_allclose(decoder.prefill(IDS), scored[-1], atol=2e-5)


def test_what_was_forgotten_leaves_no_trace(decoder: Decoder) -> None:
    want = decoder.prefill(IDS).copy()
    decoder.rewind(4)
    decoder.score([90, 91, 92, 93, 94])
    decoder.rewind(4)
    np.testing.assert_allclose(decoder.prefill(IDS[4:]), want, atol=2e-5)


def test_a_full_cache_is_our_own_mistake(decoder: Decoder) -> None:
    decoder.prefill([1] * 64)
    with pytest.raises(AssertionError):
        decoder.step(1)


@pytest.mark.parametrize("name", ["reference", "nonsense", "../onnx", ""])
def test_what_is_no_runtime_is_refused(name: str) -> None:
    with pytest.raises(EdgeError, match="target"):
        targets.runtime(name)
