"""Checkpoints of codecs and of speech against the code that they are of: each network on numpy and on every target,
converted, proved, and far from nothing.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Recorder
from speaking import FLASHSPEECH, SPEAKING, Reference

from edge.convert.conversion import convert
from edge.convert.options import Options
from edge.convert.pipelines import convert_pipeline
from edge.errors import Damaged, Unsupported
from edge.families import family_of, pipelines
from edge.files.config import Config
from edge.names import shapes
from edge.net import NetSpec
from edge.pipelines.loading import load
from edge.prove import networks
from edge.prove import pipelines as pipeline_proofs
from edge.prove.networks import seeded, verify
from edge.quant.recipe import parse
from edge.run.first_use import artifact_of
from edge.run.opening import open_net_proof
from edge.source.checkpoint import Checkpoint
from edge.source.headers import Headers
from edge.source.naming import resolve
from edge.system.home import artifacts
from edge_runtimes.reference.decoder import net_oracle

TARGETS = ("onnx", "mlx", "coreml", "torch")
CLOSE = {"audio": 1e-4}  # of the largest number; 1e-5 of all else
SIZES = {"phonemes": 9, "prompt_frames": 12, "frames": 17}
Written = tuple[Path, Mapping[str, Reference]]
PIPELINES = {pipeline.name: pipeline for pipeline in pipelines() if pipeline.name in SPEAKING}
STAGES = [
    *((name, "") for name in SPEAKING if name not in PIPELINES),
    *((name, stage.name) for name, pipeline in PIPELINES.items() for stage in pipeline.stages),
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
    shown = {"internvl", "groma", "groma_detector"}  # pictures
    assert {pipeline.name for pipeline in pipelines()} - shown == set(PIPELINES)


@pytest.mark.parametrize(("name", "stage"), STAGES)
def test_numpy_computes_what_others_do(name: str, stage: str, written: dict[str, Written]) -> None:
    """Also where a codec's stride is odd (descript-audio-codec#42, #58, #68), books are small (transformers#34532),
    weights have a norm (onnxruntime#3143), and spectra are centred or not (vocos#18, istft-onnx#2).
    """
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


@pytest.mark.parametrize("quant", ["rtn-int8-g32", "rtn-int4-g32"])
@pytest.mark.parametrize("target", TARGETS)
def test_convolutions_are_of_few_bits(
    target: str, quant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "WORK", 1 << 24)
    prior = FLASHSPEECH["prior_encoder"]
    wide = {**prior["duration_predictor"], "input_size": 64, "filter_size": 64, "conv_layers": 2}
    folder = tmp_path / "source"
    references = SPEAKING["flashspeech"].write(
        folder, prior_encoder={**prior, "duration_predictor": wide}
    )
    options = Options(target=target, quant=quant, stage="duration")
    artifact = convert(folder, tmp_path / "out", options)
    report = verify(artifact, folder)
    assert report.passed, report
    assert all(matrix.error > 1e-4 for matrix in report.matrices if "conv" in matrix.name)
    inputs = whole(artifact.manifest.network)
    got = open_net_proof(artifact, exact=True)(**inputs)
    assert 1e-7 < apart(got, references["duration"](**inputs)) * 1e-5 < 0.5


@pytest.mark.parametrize(
    ("target", "quant"), [("onnx", "int8"), ("torch", "int8"), ("torch", "fp16"), ("mlx", "fp16")]
)
@pytest.mark.parametrize(("name", "stage"), [("vocos", None), ("dac", "decoder")])
def test_kernels_stay_floats_beside_few_bits(
    name: str, stage: str | None, target: str, quant: str, written: dict[str, Written], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Also where products are in half precision."""
    monkeypatch.setattr(networks, "WORK", 1 << 22)
    options = Options(target=target, quant=quant, stage=stage)
    artifact = convert(written[name][0], tmp_path / "out", options)
    report = verify(artifact, written[name][0])
    assert report.passed, report


@pytest.mark.parametrize("name", PIPELINES)
def test_all_networks_are_one_artifact(
    name: str, written: dict[str, Written], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "WORK", 1 << 22)
    folder = written[name][0]
    artifact = convert_pipeline(folder, tmp_path / "out", Options(target="torch", quant="fp32"))
    report = pipeline_proofs.verify(artifact, folder)
    assert report.passed
    assert (report.whole is not None) == PIPELINES[name].together
    changed = replace(
        artifact,
        manifest=replace(artifact.manifest, settings={**artifact.manifest.settings, "more": 4}),
    )
    assert not pipeline_proofs.verify(changed, folder).passed
    if PIPELINES[name].together:
        return
    with pytest.raises(Unsupported, match="nothing runs together yet"):
        load(tmp_path / "out")
    with pytest.raises(Unsupported, match="nothing runs together yet"):
        artifact_of(resolve(str(folder)))
    assert not artifacts().exists()  # which is said before anything is converted


def test_norms_of_weights_have_two_spellings(tmp_path: Path) -> None:
    """The one that was published, and the one that torch 2 writes."""
    from safetensors.numpy import load_file, save_file

    references = SPEAKING["encodec"].write(tmp_path / "it")
    file = tmp_path / "it" / "model.safetensors"
    old = {
        "parametrizations.weight.original0": "weight_g",
        "parametrizations.weight.original1": "weight_v",
    }
    found = load_file(file)
    for new, before in old.items():
        found = {name.replace(new, before): tensor for name, tensor in found.items()}
    save_file(found, file)
    with Checkpoint.open(tmp_path / "it", stage="decoder") as checkpoint:
        assert isinstance(checkpoint.spec, NetSpec)
        inputs = whole(checkpoint.spec)
        got = net_oracle(checkpoint, parse("fp32"))(**inputs)
    assert apart(got, references["decoder"](**inputs)) <= 1


@pytest.mark.parametrize(
    ("name", "fields", "hop"),
    [
        ("encodec", {}, 320),
        ("dac", {}, 512),
        ("dac", {"downsampling_ratios": [2, 4, 5, 8], "n_codebooks": 12}, 320),
    ],
)
def test_published_codecs_are_read(name: str, fields: dict[str, Any], hop: int) -> None:
    """Of their own code's tensors, without any numbers."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    kind = {"encodec": "Encodec", "dac": "Dac"}[name]
    config = getattr(transformers, f"{kind}Config")(**fields)
    with torch.device("meta"):
        state = getattr(transformers, f"{kind}Model")(config).state_dict()
    tensors = {key: tuple(tensor.shape) for key, tensor in state.items()}
    said = PIPELINES[name].fields.checked(Config(config.to_dict(), "config.json"))
    PIPELINES[name].check(tensors)
    for stage in PIPELINES[name].stages:
        own = stage.config(said)
        spec = family_of(own).spec(own)
        mine = {n: shape for key, shape in tensors.items() if (n := stage.own(key)) is not None}
        family_of(own).names.check(spec, mine)
        assert isinstance(spec, NetSpec)
        if stage.name == "encoder":
            assert spec.config.inputs[0].shape[2] == hop


@pytest.mark.parametrize("name", PIPELINES)
def test_every_tensor_is_of_one_network(name: str, written: dict[str, Written]) -> None:
    headers = Headers.of(written[name][0])
    pipeline = PIPELINES[name]
    specs = {stage.name: headers.of_stage(stage.name).spec() for stage in pipeline.stages}
    pipeline.connect(specs, name)
    pipeline.check(headers.entries())


PUBLISHED_ENCODER = {
    "encoder_layer": 6,
    "encoder_hidden": 512,
    "encoder_head": 8,
    "conv_filter_size": 2048,
    "conv_kernel_size": 9,
}
PUBLISHED_PREDICTOR = {
    "input_size": 512,
    "filter_size": 512,
    "kernel_size": 3,
    "conv_layers": 30,
    "cross_attn_per_layer": 3,
    "attn_head": 8,
}
PUBLISHED = {
    "model_type": "flashspeech",
    "latent_dim": 256,
    "prior_encoder": {
        "vocab_size": 100,
        "pitch_min": 50,
        "pitch_max": 1100,
        "pitch_bins_num": 512,
        "encoder": {**PUBLISHED_ENCODER, "use_cln": True},
        "duration_predictor": PUBLISHED_PREDICTOR,
        "pitch_predictor": {**PUBLISHED_PREDICTOR, "kernel_size": 5},
    },
    "diffusion": {
        "wavenet": {
            "input_size": 256,
            "hidden_size": 512,
            "out_size": 256,
            "num_layers": 40,
            "cross_attn_per_layer": 3,
            "dilation_cycle": 2,
            "attn_head": 8,
        }
    },
    "prompt_encoder": {**PUBLISHED_ENCODER, "use_cln": False},
    "query_emb": {"query_token_num": 32, "hidden_size": 512, "head_num": 8},
}
# Millions, as the public code counts them; the prompt's are its projection, its encoder and its queries.
MILLIONS = {
    "prompt": 0.13 + 69.2 + 1.07,
    "phonemes": 76.1,
    "duration": 34.2,
    "pitch": 49.9,
    "condition": 0.26,
    "denoiser": 147.5,
}


def test_published_sizes() -> None:
    whole = PIPELINES["flashspeech"].fields.checked(Config(PUBLISHED, "config.json"))
    found = {}
    for stage in PIPELINES["flashspeech"].stages:
        config = stage.config(whole)
        spec = family_of(config).spec(config)
        found[stage.name] = sum(map(prod, shapes(spec).values())) / 1e6
    assert found == pytest.approx(MILLIONS, rel=3e-3, abs=0.01)
    assert sum(found.values()) == pytest.approx(378.4, abs=0.1)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("flashspeech", {"query_emb": None}, "query_emb"),
        ("flashspeech", {"query_emb": {"query_token_num": 4}}, "head_num"),
        ("flashspeech", {"prompt_encoder": {"use_cln": True}}, "use_cln"),
        ("flashspeech", {"prior_encoder": {"encoder": {"use_cln": False}}}, "use_cln"),
        ("flashspeech", {"diffusion": {"wavenet": {"out_size": 7}}}, "out_size"),
        ("flashspeech", {"diffusion": {"wavenet": {"attn_head": 3}}}, "3 heads"),
        ("flashspeech", {"diffusion": {"wavenet": {"dilation_cycle": 40}}}, "cycle"),
        ("flashspeech", {"prompt_encoder": {"conv_kernel_size": 4}}, "kernel"),
        ("dac", {"downsampling_ratios": []}, "ratios"),
        ("dac", {"downsampling_ratios": [2, 1 << 20]}, "ratios"),
        ("dac", {"n_codebooks": 1 << 30}, "n_codebooks"),
        ("dac", {"encoder_hidden_size": 1 << 19}, "latent"),
        ("encodec", {"audio_channels": 2}, "audio_channels"),
        ("encodec", {"norm_type": "time_group_norm"}, "norm_type"),
        ("encodec", {"pad_mode": "constant"}, "pad_mode"),
        ("encodec", {"use_causal_conv": False}, "use_causal_conv"),
        ("encodec", {"num_lstm_layers": 99}, "memories"),
        ("encodec", {"dilation_growth_rate": 1 << 18}, "growth"),
        ("encodec", {"num_filters": 5}, "filters"),
        ("vocos", {"adanorm_num_embeddings": 4}, "bandwidth"),
        ("vocos", {"hop_length": 7}, "windows of 32"),
        ("vocos", {"padding": "reflect"}, "padding"),
    ],
)
def test_what_is_not_computed_is_refused_by_name(
    name: str, change: dict[str, Any], words: str
) -> None:
    fields = merged(SPEAKING[name].fields, change)
    config = Config(fields, "config.json")
    with pytest.raises((Damaged, Unsupported), match=words):
        read(name, config)


def read(name: str, config: Config) -> None:
    """Every network of a config."""
    if name not in PIPELINES:
        family_of(config).spec(config)
        return
    whole = PIPELINES[name].fields.checked(config)
    for stage in PIPELINES[name].stages:
        own = stage.config(whole)
        family_of(own).spec(own)


def merged(fields: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Tables within tables are changed, not replaced; null: gone. Of query_emb all."""
    out = dict(fields)
    for key, value in change.items():
        inner = out.get(key)
        whole = not isinstance(value, Mapping) or key == "query_emb"
        out[key] = value if whole or not isinstance(inner, Mapping) else merged(inner, value)
    return {key: value for key, value in out.items() if value is not None}
