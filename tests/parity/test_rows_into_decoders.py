"""Rows in place of tokens: those of the tokens themselves change nothing, in pieces of any length; any others are
what they are in numpy.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from support import tiny

from edge import targets
from edge.artifact.manifest import Artifact
from edge.contracts import Opening
from edge.convert.conversion import convert
from edge.convert.options import Options
from edge.protocols import Spliced, SplicedEvictable, SplicedRoundable
from edge.quant.recipe import parse
from edge.run.opening import open_rounding, open_spliced
from edge.source.checkpoint import Checkpoint
from edge_runtimes.reference import oracle

MODULES = {
    "onnx": "onnxruntime",
    "mlx": "mlx.core",
    "torch": "torch",
    "gguf": "llama_cpp",
    "coreml": "coremltools",
}
FAMILIES = ("internlm2", "llama", "phi3")
IDS = [5, 17, 42, 9, 88, 3, 3, 61, 20, 34, 71, 2]


@pytest.fixture(scope="module", params=FAMILIES)
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without a window: GGUF's context ends where one begins."""
    window = {"sliding_window": None} if request.param == "phi3" else {}
    return tiny(tmp_path_factory.mktemp("rows") / "source", request.param, **window)


@pytest.fixture(scope="module", params=MODULES)
def decoder(
    request: pytest.FixtureRequest, source: Path, tmp_path_factory: pytest.TempPathFactory
) -> Spliced:
    target = request.param
    pytest.importorskip(MODULES[target])
    options = Options(target=target, quant="fp32", spliced=True)
    artifact = convert(source, tmp_path_factory.mktemp("rows") / "out", options)
    opening = Opening(
        artifact.folder, artifact.manifest.decoder, exact=True, reference=target == "coreml"
    )
    opened: Spliced = vars(targets.runtime(target))["open_spliced"](opening)
    return opened


def near(got: np.ndarray, want: np.ndarray, by: float = 2e-5) -> None:
    assert got.shape == want.shape
    assert np.abs(got - want).max() / np.abs(want).max() <= by


def test_it_is_one(decoder: Spliced) -> None:
    assert isinstance(decoder, Spliced)


def test_rows_of_tokens_are_the_tokens(decoder: Spliced) -> None:
    """Before, between and after tokens."""
    decoder.rewind(0)
    want = [decoder.prefill(IDS).copy(), decoder.step(7).copy()]
    rows = decoder.embed(IDS)
    assert rows.shape == (len(IDS), decoder.spec.width)
    for cuts in ((0, 12), (0, 1, 12), (0, 5, 6, 12), tuple(range(13))):
        for first in (0, 1):  # whether rows or tokens come first
            decoder.rewind(0)
            for i, (start, stop) in enumerate(pairwise(cuts)):
                got = (
                    decoder.prefill_rows(rows[start:stop])
                    if (i + first) % 2 == 0
                    else decoder.prefill(IDS[start:stop])
                )
            near(got.copy(), want[0])
            assert decoder.length == len(IDS)
            near(decoder.step(7), want[1])


def test_a_rewind_forgets_rows(decoder: Spliced) -> None:
    rows = decoder.embed(IDS)
    decoder.rewind(0)
    want = decoder.prefill(IDS).copy()
    decoder.rewind(4)
    decoder.prefill_rows(rows[::-1][:8])
    decoder.rewind(4)
    near(decoder.prefill_rows(rows[4:]), want)


def test_any_rows_are_those_of_numpy(source: Path, decoder: Spliced) -> None:
    """What another network made lies nowhere in the table."""
    rng = np.random.default_rng(0)
    size = float(np.abs(decoder.embed(IDS)).mean())
    rows = (size * rng.standard_normal((9, decoder.spec.width))).astype(np.float32)
    with Checkpoint.open(source) as checkpoint:
        pure = oracle(checkpoint, parse("fp32"))
        near(decoder.embed(IDS), pure.embed(IDS), 1e-6)
        pure.prefill(IDS[:3])
        want = [pure.prefill_rows(rows), pure.step(5)]
    decoder.rewind(0)
    decoder.prefill(IDS[:3])
    got = [decoder.prefill_rows(rows).copy(), decoder.step(5).copy()]
    for one, other in zip(got, want, strict=True):
        near(one, other, 1e-4)


def test_an_artifact_says_whether_it_takes_rows(source: Path, tmp_path: Path) -> None:
    plain = convert(source, tmp_path / "plain", Options(target="onnx", quant="int8"))
    assert not plain.manifest.decoder.spliced
    assert not (plain.folder / "rows.onnx").exists()
    taking = convert(source, tmp_path / "rows", Options(target="onnx", quant="int8", spliced=True))
    assert Artifact.open(taking.folder).manifest.decoder.spliced
    assert (taking.folder / "rows.onnx").stat().st_size < 60_000
    sizes = [(a.folder / "model.onnx.data").stat().st_size for a in (plain, taking)]
    assert sizes[0] == sizes[1], "no weight is stored twice"


def test_rows_go_through_several_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Core ML a large model is cut between layers: rows enter the first package alone."""
    converter = pytest.importorskip("edge_converters.coreml.convert")
    source = tiny(tmp_path / "source", "llama", num_hidden_layers=3, max_position_embeddings=128)
    monkeypatch.setattr(converter, "LIMIT", 100_000)
    options = Options(target="coreml", quant="fp32", spliced=True)
    artifact = convert(source, tmp_path / "out", options)
    assert len(list(artifact.folder.glob("model-*.mlpackage"))) > 1
    opening = Opening(artifact.folder, artifact.manifest.decoder, exact=True, reference=True)
    decoder: Spliced = targets.runtime("coreml").open_spliced(opening)  # type: ignore[attr-defined]
    many = (IDS * 4)[:40]
    want = decoder.prefill(many)
    rows = decoder.embed(many)
    decoder.rewind(0)
    near(decoder.prefill_rows(rows), want)


@pytest.mark.parametrize("target", [name for name in MODULES if name != "coreml"])
def test_what_rows_are_worth_is_what_their_tokens_are(
    source: Path, target: str, tmp_path: Path
) -> None:
    """By the decoder that compacts caches of tokens, which is proved elsewhere."""
    pytest.importorskip(MODULES[target])
    runtime = vars(targets.runtime(target))
    artifact = convert(source, tmp_path / "out", Options(target=target, quant="fp32", spliced=True))
    opening = Opening(artifact.folder, artifact.manifest.decoder)
    tokens, rows = (runtime[f"open_{name}"](opening) for name in ("evictable", "spliced"))
    assert isinstance(rows, SplicedEvictable)
    tokens.prefill(IDS[:5])
    rows.prefill_rows(rows.embed(IDS[:5]))
    want, votes = tokens.observe(IDS[5:])
    got, seen = rows.observe_rows(rows.embed(IDS[5:]))
    near(got, want)
    for mine, theirs in zip(seen, votes, strict=True):
        near(mine, theirs)
    kept = [np.tile(np.array([0, 3, 4, 9, 11]), (part.kv_heads, 1)) for part in rows.spec.layers]
    forks = tokens.fork(kept), rows.fork(kept)
    near(forks[1].step(7), forks[0].step(7))
    tokens.keep(kept)
    rows.keep(kept)
    assert rows.rows == tokens.rows == (5,) * len(kept)
    for token in (7, 21):
        near(rows.step(token), tokens.step(token))


def test_rows_of_tokens_are_the_tokens_in_an_int8_cache(source: Path, tmp_path: Path) -> None:
    """Rounded in the middle; rows and tokens follow."""
    pytest.importorskip("onnxruntime")
    artifact = convert(source, tmp_path / "it", Options(target="onnx", quant="fp32", spliced=True))
    tokens = open_rounding(artifact, threads=None)
    rows = open_spliced(artifact, rounding=True)
    assert isinstance(rows, SplicedRoundable)
    near(rows.prefill_rows(rows.embed(IDS)), tokens.prefill(IDS))
    for one in (rows, tokens):
        one.round()
        assert one.rounded
    near(rows.step(7).copy(), tokens.step(7).copy(), 1e-4)
    near(rows.prefill_rows(rows.embed(IDS[:5])).copy(), tokens.prefill(IDS[:5]).copy(), 1e-4)
    rows.rewind(0)
    assert not rows.rounded
    tokens.rewind(0)
    near(rows.prefill(IDS), tokens.prefill(IDS))
