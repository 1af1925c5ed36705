"""The proof of networks that point at regions together: what passes on every target, and what alone makes it fail."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gromas
import numpy as np
import pytest

import edge.prove.pointing
from edge.artifact.manifest import MANIFEST
from edge.artifact.pipeline import PipelineArtifact
from edge.convert.options import Options
from edge.convert.pipelines import convert_pipeline
from edge.errors import EdgeError
from edge.pipelines.groma import Eyes, Seen
from edge.prove.oracles import Oracles
from edge.prove.pipelines import TOKENS, verify
from edge.prove.pointing import Pointed, together

pytest.importorskip("torch")
pytest.importorskip("transformers")
WAYS: Mapping[str, tuple[str, str, str | None, Mapping[str, tuple[str, str | None]]]] = {
    "onnx, as usual": ("onnxruntime", "onnx", None, {}),
    "mlx fp32": ("mlx.core", "mlx", "fp32", {}),
    "torch int8 in groups": ("torch", "torch", "rtn-int8-g32", {}),
    "coreml fp32": ("coremltools", "coreml", "fp32", {}),
    "gguf beside onnx": ("llama_cpp", "onnx", "fp32", {"text": ("gguf", "q8_0")}),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("groma") / "mini"
    gromas.write(folder)
    return folder


@pytest.fixture(scope="module")
def made(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "it"
    return convert_pipeline(source, out, Options(target="torch", quant="fp32")).folder


@pytest.fixture
def artifact(made: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(made, tmp_path / "it"))


def proved(folder: Path, source: Path) -> Pointed:
    return together(PipelineArtifact.open(folder), source, TOKENS, same=True)


@pytest.mark.parametrize("way", WAYS)
def test_all_together_are_the_source(source: Path, tmp_path: Path, way: str) -> None:
    module, target, quant, parts = WAYS[way]
    pytest.importorskip(module)
    options = Options(target=target, quant=quant)
    whole = together(
        convert_pipeline(source, tmp_path / "it", options, parts), source, TOKENS, same=True
    )
    assert whole.passed, whole
    assert min(whole.regions) > 3
    assert whole.proposals_error <= 1e-5
    assert whole.logits_error <= 1e-5
    assert (whole.greedy_tokens, whole.greedy_differing) == (2 * TOKENS, 0)
    assert whole.regions_differing == 0


def test_each_network_and_all_together(made: Path, source: Path) -> None:
    report = verify(PipelineArtifact.open(made), source, tokens=4)
    assert report.passed
    assert all(one["passed"] for one in report.networks.values())
    assert report.networks.keys() == {"vision", "proposer", "maps", "regions", "bridge", "text"}
    assert isinstance(report.whole, Pointed)
    assert report.whole.greedy_tokens == 8


def changed(artifact: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = artifact / MANIFEST
    said = json.loads(file.read_text())
    change(said["settings"])
    file.write_text(json.dumps(said))


@pytest.mark.parametrize("change", [{"score": 0.2}, {"overlap": 0.5}, {"most": 9}])
def test_regions_that_are_chosen_otherwise(
    artifact: Path, source: Path, change: dict[str, float]
) -> None:
    """No network by itself is made by that."""
    changed(artifact, lambda settings: settings.update(change))
    report = verify(PipelineArtifact.open(artifact), source, tokens=4)
    assert all(one["passed"] for one in report.networks.values())
    assert isinstance(report.whole, Pointed)
    assert not report.whole.same_settings
    assert not report.passed


def of_the_artifact_alone(monkeypatch: pytest.MonkeyPatch, wrong: Callable[[Seen], Seen]) -> None:
    """What it sees is something else; what its oracles see is not."""
    look = Eyes.look

    def looked(self: Eyes, *args: Any) -> Seen:
        found = look(self, *args)
        oracle = any("reference" in type(net).__module__ for net in self.nets.values())
        return found if oracle else wrong(found)

    monkeypatch.setattr(Eyes, "look", looked)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda seen: replace(seen, rows=seen.rows[::-1].copy()),
        lambda seen: replace(seen, maps={n: x * np.float32(1.01) for n, x in seen.maps.items()}),
    ],
    ids=["rows in other places", "maps a little brighter"],
)
def test_what_is_seen_otherwise(
    artifact: Path, source: Path, monkeypatch: pytest.MonkeyPatch, wrong: Callable[[Seen], Seen]
) -> None:
    of_the_artifact_alone(monkeypatch, wrong)
    whole = proved(artifact, source)
    assert not whole.passed
    assert whole.logits_error > whole.logits_tolerance
    assert whole.proposals_error <= whole.proposals_tolerance


@pytest.mark.parametrize(
    ("wrong", "differing"),
    [
        (lambda seen: replace(seen, boxes=seen.boxes + np.float32(0.02)), True),
        (lambda seen: replace(seen, scores=seen.scores * np.float32(0.99)), False),
        (lambda seen: replace(seen, boxes=seen.boxes * np.float32("nan")), None),
    ],
    ids=["boxes farther right", "scores a little lower", "boxes that are no numbers"],
)
def test_what_is_proposed_otherwise(
    artifact: Path,
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
    wrong: Callable[[Seen], Seen],
    differing: bool | None,
) -> None:
    """Boxes fail even where the regions' order is the same, for rows are made of the artifact's own."""
    of_the_artifact_alone(monkeypatch, wrong)
    if differing is None:
        with pytest.raises(EdgeError, match="no numbers"):
            proved(artifact, source)
        return
    whole = proved(artifact, source)
    assert not whole.passed
    assert whole.proposals_error > whole.proposals_tolerance
    assert (whole.regions_differing > 0) == differing


def test_a_token_that_the_oracle_would_not_choose(
    artifact: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    greedy = edge.prove.pointing.decoders.greedy

    def other(*args: Any) -> Any:
        tokens, logits, tps = greedy(*args)
        tokens[-1] = int(logits[-1].argmin())
        return tokens, logits, tps

    monkeypatch.setattr(edge.prove.pointing.decoders, "greedy", other)
    whole = proved(artifact, source)
    assert (whole.passed, whole.greedy_differing) == (False, 2)


def test_regions_of_an_oracle_that_forgets_whom_the_question_is_about(
    artifact: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = Oracles.logits

    def turned(self: Oracles, ids: list[int], rows: np.ndarray, chosen: list[int]) -> np.ndarray:
        swapped = np.concatenate([rows[:-2], rows[-2:][::-1]])
        return logits(self, ids, swapped, chosen)

    monkeypatch.setattr(Oracles, "logits", turned)
    assert not proved(artifact, source).passed
