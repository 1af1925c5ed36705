"""The proof of several networks together: what passes on every target, and what alone makes it fail."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import internvls
import numpy as np
import pytest

import edge.prove.pipelines
from edge.artifact.manifest import MANIFEST
from edge.artifact.pipeline import PipelineArtifact, fingerprint
from edge.convert.options import Options
from edge.convert.pipelines import convert_pipeline
from edge.errors import EdgeError
from edge.files.hashing import sha256
from edge.pipelines.internvl import InternVL
from edge.pipelines.splicing import SplicingDecoder
from edge.prove.oracles import Oracles
from edge.prove.pipelines import TOKENS, Whole, together, verify

pytest.importorskip("torch")
pytest.importorskip("transformers")
WAYS: Mapping[str, tuple[str, str, str, Mapping[str, tuple[str, str | None]]]] = {
    "onnx int8": ("onnxruntime", "onnx", "int8", {}),
    "mlx fp16": ("mlx.core", "mlx", "fp16", {}),
    "torch fp16": ("torch", "torch", "fp16", {}),
    "coreml int8": ("coremltools", "coreml", "int8", {}),
    "gguf beside onnx": ("llama_cpp", "onnx", "fp32", {"text": ("gguf", "q8_0")}),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("internvl") / "mini"
    internvls.write(folder)
    return folder


@pytest.fixture(scope="module")
def made(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnxruntime")
    out = tmp_path_factory.mktemp("out") / "it"
    return convert_pipeline(source, out, Options(target="onnx", quant="int8")).folder


@pytest.fixture
def artifact(made: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(made, tmp_path / "it"))


def proved(folder: Path, source: Path) -> Whole:
    return together(PipelineArtifact.open(folder), source, TOKENS)


@pytest.mark.parametrize("way", WAYS)
def test_all_together_are_the_source(source: Path, tmp_path: Path, way: str) -> None:
    module, target, quant, parts = WAYS[way]
    pytest.importorskip(module)
    options = Options(target=target, quant=quant)
    whole = together(convert_pipeline(source, tmp_path / "it", options, parts), source, TOKENS)
    assert whole.passed, whole
    assert whole.tiles == (1, 3)
    assert whole.logits_error <= 1e-5
    # Three tolerances; where the decoder's twin rounds, what that moves.
    assert (whole.logits_tolerance > 3e-3) == (way == "gguf beside onnx")
    assert (whole.greedy_tokens, whole.greedy_differing) == (2 * TOKENS, 0)


def changed(artifact: Path, part: str, change: Callable[[dict[str, Any]], object]) -> None:
    """A manifest that says something else, of a network or of the whole, which vouches for its networks."""
    for name in dict.fromkeys((part, "")):
        file = artifact / name / MANIFEST
        said = json.loads(file.read_text())
        if name == part:
            change(said)
        if not name:
            said["stages"] = {one: fingerprint(artifact / one) for one in said["stages"]}
        file.write_text(json.dumps(said))


def test_one_scale_of_the_projector(artifact: Path, source: Path) -> None:
    onnx = pytest.importorskip("onnx")
    folder = artifact / "projector"
    graph = onnx.load(folder / "model.onnx", load_external_data=False).graph
    (scales,) = (t for t in graph.initializer if t.name == "down.int8-row.scales")
    at = int(next(field.value for field in scales.external_data if field.key == "offset"))
    content = bytearray((folder / "model.onnx.data").read_bytes())
    content[at : at + 4] = (np.frombuffer(content, "<f4", 1, at) * 2).astype("<f4").tobytes()
    (folder / "model.onnx.data").write_bytes(content)
    digest = sha256(folder / "model.onnx.data")
    changed(artifact, "projector", lambda d: d["files"].update({"model.onnx.data": digest}))
    whole = proved(artifact, source)
    assert not whole.passed
    assert whole.logits_error > 3 * whole.logits_tolerance
    report = verify(PipelineArtifact.open(artifact), source, tokens=4)
    assert not report.passed
    assert report.networks["text"]["passed"]
    assert report.whole.greedy_tokens == 8


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("", lambda d: d["settings"].update(system="Lie.")),
        ("", lambda d: d["settings"].update(most=11)),
        ("vision", lambda d: d["vision"]["preparation"].update(mean=[0.5, 0.5, 0.5])),
    ],
    ids=["another system message", "fewer tiles", "other colours"],
)
def test_what_no_network_by_itself_is_made_by(
    artifact: Path, source: Path, part: str, change: Any
) -> None:
    changed(artifact, part, change)
    report = verify(PipelineArtifact.open(artifact), source, tokens=4)
    assert all(one["passed"] for one in report.networks.values())
    assert not report.whole.same_settings
    assert not report.whole.passed
    assert not report.passed


def test_rows_in_other_places(
    artifact: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the artifact alone, its rows turned round: each network is right, and all together are not."""
    show = SplicingDecoder.show
    oracles = Oracles.logits

    def turned(self: SplicingDecoder, rows: np.ndarray) -> None:
        show(self, rows[::-1])

    def honest(*args: Any) -> np.ndarray:
        with pytest.MonkeyPatch.context() as back:
            back.setattr(SplicingDecoder, "show", show)
            return oracles(*args)

    assert proved(artifact, source).passed
    monkeypatch.setattr(SplicingDecoder, "show", turned)
    monkeypatch.setattr(Oracles, "logits", honest)
    whole = proved(artifact, source)
    assert whole.same_settings
    assert not whole.passed


def other_token(tokens: list[int], logits: np.ndarray) -> None:
    """The last, after which nothing follows, is the least likely."""
    tokens[-1] = int(logits[-1].argmin())


def one_moved(_tokens: list[int], logits: np.ndarray) -> None:
    """The least likely of the last position."""
    logits[-1, logits[-1].argmin()] *= 1.05


def a_nan(_tokens: list[int], logits: np.ndarray) -> None:
    logits[0, 0] = np.nan


@pytest.mark.parametrize(
    ("change", "differing", "first"),
    [(other_token, 2, TOKENS - 1), (one_moved, 0, None), (a_nan, 0, None)],
)
def test_what_the_artifact_says_is_compared(
    artifact: Path,
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[list[int], np.ndarray], None],
    differing: int,
    first: int | None,
) -> None:
    greedy = edge.prove.verify.greedy

    def other(*args: Any) -> Any:
        tokens, logits, tps = greedy(*args)
        change(tokens, logits)
        return tokens, logits, tps

    monkeypatch.setattr(edge.prove.verify, "greedy", other)
    whole = proved(artifact, source)
    assert not whole.passed
    assert (whole.greedy_differing, whole.first_differing) == (differing, first)


def test_pictures_that_fit_the_context(source: Path, tmp_path: Path) -> None:
    """Three tiles are eight rows more than one."""

    def made(context: int | None) -> PipelineArtifact:
        options = Options(target="torch", quant="fp32", context=context)
        return convert_pipeline(source, tmp_path / str(context), options)

    whole = made(None)
    one, three = edge.prove.pipelines._questions(InternVL(whole), TOKENS)
    needed = len(three.ids) + TOKENS
    assert len(three.ids) == len(one.ids) + 8
    assert together(made(needed), source, TOKENS).tiles == (1, 3)
    less = made(needed - 1)
    assert together(less, source, TOKENS).tiles == (1,)
    with pytest.raises(EdgeError, match=f"{TOKENS + 8} tokens and a picture do not fit"):
        together(less, source, TOKENS + 8)
