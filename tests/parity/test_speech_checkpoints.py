"""Checkpoints of codecs and of speech against the code that they are of: each network on numpy and on every target,
converted, proved, and far from nothing.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from conftest import Recorder
from speaking import SPEAKING, Reference

from edge.convert.conversion import convert
from edge.convert.options import Options
from edge.families import pipelines
from edge.net import NetSpec
from edge.prove import networks
from edge.prove.networks import seeded, verify
from edge.quant.recipe import parse
from edge.run.opening import open_net_proof
from edge.source.checkpoint import Checkpoint
from edge.source.headers import Headers
from edge_runtimes.reference.decoder import net_oracle

TARGETS = ("onnx", "mlx", "coreml", "torch")
CLOSE = {"audio": 1e-4}  # of the largest number; 1e-5 of all else
SIZES = {"phonemes": 9, "prompt_frames": 12, "frames": 17}
Written = tuple[Path, Mapping[str, Reference]]
SEVERAL = {pipeline.name: pipeline for pipeline in pipelines() if pipeline.name in SPEAKING}
STAGES = [
    *((name, "") for name in SPEAKING if name not in SEVERAL),
    *((name, stage.name) for name, pipeline in SEVERAL.items() for stage in pipeline.stages),
]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Written]:
    folder = tmp_path_factory.mktemp("speaking")
    return {name: (folder / name, it.write(folder / name)) for name, it in SPEAKING.items()}


def whole(spec: NetSpec, sizes: Mapping[str, int] = SIZES) -> dict[str, np.ndarray]:
    """Inputs of two, of which everything counts: what is not ours knows no masks."""
    named = {**sizes, "batch": 2}
    inputs = seeded(spec, {size.name: named[size.name] for size in spec.config.sizes}, 5)
    for port in spec.config.inputs:
        if port.values == "mask":
            inputs[port.name][:] = 1
    return inputs


def apart(got: Mapping[str, np.ndarray], want: Mapping[str, np.ndarray]) -> float:
    """The largest difference, of the largest number, beside what is close."""
    assert got.keys() == want.keys()
    worst = 0.0
    for name, expected in want.items():
        assert got[name].shape == expected.shape, name
        error = np.abs(got[name] - expected).max() / np.abs(expected).max()
        worst = max(worst, error / CLOSE.get(name, 1e-5))
    return worst


def test_every_checkpoint_of_speech_is_here() -> None:
    assert {pipeline.name for pipeline in pipelines()} - {"internvl"} == set(SEVERAL)


@pytest.mark.parametrize(("name", "stage"), STAGES)
def test_numpy_computes_what_others_do(name: str, stage: str, written: dict[str, Written]) -> None:
    folder, references = written[name]
    with Checkpoint.open(folder, stage=stage or None) as checkpoint:
        assert isinstance(checkpoint.spec, NetSpec)
        oracle = net_oracle(checkpoint, parse("fp32"))
        for sizes in (dict.fromkeys(SIZES, 1), SIZES):
            inputs = whole(checkpoint.spec, sizes)
            assert apart(oracle(**inputs), references[stage](**inputs)) <= 1


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("name", "stage"), STAGES)
def test_a_target_is_its_source(
    name: str, stage: str, target: str, written: dict[str, Written], tmp_path: Path, record: Recorder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(networks, "WORK", 1 << 24)  # proofs of a second, not of minutes
    folder, references = written[name]
    options = Options(target=target, quant="fp32", stage=stage or None)
    artifact = convert(folder, tmp_path / "out", options)
    report = verify(artifact, folder)
    record(family=artifact.manifest.family, target=target, recipe="fp32", error=report.error)
    assert report.passed, report
    inputs = whole(artifact.manifest.network)
    got = open_net_proof(artifact, exact=True)(**inputs)
    assert apart(got, references[stage](**inputs)) <= 1


@pytest.mark.parametrize("name", SEVERAL)
def test_every_tensor_is_of_one_network(name: str, written: dict[str, Written]) -> None:
    headers = Headers.of(written[name][0])
    pipeline = SEVERAL[name]
    specs = {stage.name: headers.of_stage(stage.name).spec() for stage in pipeline.stages}
    pipeline.connect(specs, name)
    pipeline.check(headers.entries())
