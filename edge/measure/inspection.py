"""What a checkpoint or an artifact holds, from headers alone."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from edge.adapters import folder as adapters
from edge.artifact import network
from edge.artifact.manifest import Artifact, is_artifact
from edge.artifact.pipeline import PipelineArtifact, is_pipeline
from edge.audio.pitch import pitch
from edge.audio.prompts import Prompting, as_prompt
from edge.audio.sound import at_rate, is_sound, open_sound
from edge.audio.spectra import Framing
from edge.errors import EdgeError
from edge.families import Pipeline, pipeline_of
from edge.files.config import Config
from edge.files.hashing import sha256
from edge.gguf.foreign import artifact_at, kinds_of
from edge.gguf.shards import GGUFModel
from edge.names import Spec, shapes
from edge.net import NetSpec, Port
from edge.nn.tracing import least, traced
from edge.source.checkpoint import Checkpoint
from edge.source.headers import Headers, config_of
from edge.spec import DecoderSpec


def inspect(path: Path) -> dict[str, Any]:
    """A flat description, for people and for scripts."""
    if path.is_file():
        return _file(path)
    if network.is_network(path):
        return _module(path, network.read(path))
    if is_pipeline(path):
        return _several(PipelineArtifact.open(path))
    if is_artifact(path):
        return _artifact(Artifact.open(path))
    return _source(path)


def _source(path: Path) -> dict[str, Any]:
    """What artifacts are made from: a checkpoint, or an adapter of one."""
    if (path / "config.json").is_file():
        pipeline = pipeline_of(config_of(path))
        if pipeline is not None:
            return _several_of(pipeline, Headers.of(path))
        with Checkpoint.open(path) as checkpoint:
            return {
                "kind": "checkpoint",
                "family": checkpoint.family.name,
                **_numbers(checkpoint.spec),
                "files": {file.name: file.stat().st_size for file in checkpoint.files},
            }
    if (path / adapters.CONFIG).is_file():
        return _adapter(path)
    if not path.exists():
        raise EdgeError(f"there is no {path}", fix="check its name")
    raise EdgeError(
        f"{path} is no checkpoint, no artifact and no adapter",
        fix="name a folder with config.json, edge.json or adapter_config.json, or a GGUF file",
    )


def _sound(path: Path) -> dict[str, Any]:
    """A recording: how long, how loud, how high, and whether a voice can be imitated by it."""
    sound = open_sound(path)
    heard = at_rate(sound, Framing().rate).samples
    hertz = pitch(heard, Framing())
    try:
        voice = as_prompt(sound, Prompting())
        use = f"{voice.seconds:.1f} seconds of it"
        notes = voice.notes
    except EdgeError as error:
        use, notes = f"no: {error.problem}", sound.notes
    return {
        "kind": "sound",
        "seconds": round(sound.seconds, 3),
        "rate": sound.rate,
        "peak": round(float(np.abs(sound.samples).max()), 4),
        "loudness": round(float(np.sqrt(np.square(heard, dtype=np.float64).mean())), 4),
        "voiced": round(float((hertz > 0).mean()), 3) if hertz.size else 0.0,
        "pitch": round(float(np.median(hertz[hertz > 0])), 1) if hertz.any() else None,
        "voice": use,
        "notes": list(notes),
        "bytes": path.stat().st_size,
    }


def _file(path: Path) -> dict[str, Any]:
    """A sound, or a GGUF file of anyone's."""
    if is_sound(path):
        return _sound(path)
    manifest = artifact_at(path).manifest
    with GGUFModel(path) as file:
        tokens = [file.get(f"tokenizer.ggml.{key}", "-") for key in ("model", "pre")]
        return {
            "kind": "GGUF file",
            "name": manifest.name,
            "architecture": manifest.family,
            "recipe": manifest.recipe,
            "embed": manifest.embed,
            "head": manifest.head,
            "types": kinds_of(file),
            **_numbers(manifest.spec),
            "tokenizer": " ".join(str(part)[:60] for part in tokens),
            "chat_template": "tokenizer.chat_template" in file,
            "bytes": path.stat().st_size,
        }


def _adapter(folder: Path) -> dict[str, Any]:
    """What an adapter changes, and of which model it says that it is."""
    found, files = adapters.read(folder), adapters.files(folder)
    deltas = found.modules.values()
    inner = (re.fullmatch(r".*?\.(\d+)\..*", name) for name in found.modules)
    return {
        "kind": "adapter",
        "method": found.kind,
        "ranks": sorted({delta.rank for delta in deltas}),
        "scales": sorted({round(delta.scale, 6) for delta in deltas}),
        "modules": dict(Counter(name.rpartition(".")[2] for name in found.modules)),
        "layers": len({match[1] for match in inner if match}),
        "parameters": sum(delta.parameters for delta in deltas),
        "base": adapters.base(folder),
        "files": {file.name: file.stat().st_size for file in files},
        "sha256": {file.name: sha256(file) for file in files},
    }


def _artifact(artifact: Artifact) -> dict[str, Any]:
    manifest = artifact.manifest
    return {
        "kind": "artifact",
        "name": manifest.name,
        "target": manifest.target,
        "family": manifest.family,
        "recipe": manifest.recipe,
        "embed": manifest.embed,
        "head": manifest.head,
        "overrides": dict(manifest.overrides),
        "calibration": manifest.calibration,
        **_numbers(manifest.spec),
        "bytes": artifact.nbytes,
        "files": {name: (artifact.folder / name).stat().st_size for name in manifest.files},
        "verified": None if manifest.verified is None else manifest.verified.get("passed"),
    }


def _several(artifact: PipelineArtifact) -> dict[str, Any]:
    """The proof of each network is kept with that of the whole."""
    proof = Config(dict(artifact.manifest.verified or {}), str(artifact.folder))
    proofs = proof.table("networks") or Config({}, proof.where)
    return {
        "kind": "artifact of several networks",
        "name": artifact.manifest.name,
        "family": artifact.manifest.family,
        "bytes": artifact.nbytes,
        "verified": _passed(proof),
        **{
            name: {**_artifact(stage), "verified": _passed(proofs.table(name))}
            for name, stage in artifact.stages.items()
        },
    }


def _passed(proof: Config | None) -> Any:
    return None if proof is None else proof.data.get("passed")


def _several_of(pipeline: Pipeline, headers: Headers) -> dict[str, Any]:
    parts = {stage.name: headers.of_stage(stage.name) for stage in pipeline.stages}
    return {
        "kind": "checkpoint of several networks",
        "family": pipeline.name,
        "parameters": sum(parameters(part.spec()) for part in parts.values()),
        **{
            name: {"family": part.family.name, **_numbers(part.spec())}
            for name, part in parts.items()
        },
    }


def _module(folder: Path, found: network.Network) -> dict[str, Any]:
    sizes = {name: (folder / name).stat().st_size for name in found.files}
    return {
        "kind": found.kind,
        "name": found.name,
        "target": found.target,
        "via": found.via,
        "architecture": found.architecture,
        "task": found.task,
        "entry": found.entry,
        "inputs": {port.name: _shape(port) for port in found.inputs},
        "outputs": {port.name: _shape(port) for port in found.outputs},
        "bytes": sum(sizes.values()),
        "files": sizes,
        "verified": None if found.verified is None else found.verified.get("passed"),
    }


def _shape(port: network.Port | Port) -> str:
    return f"{port.type}[{', '.join(map(str, port.shape))}]"


def _numbers(spec: Spec) -> dict[str, Any]:
    return _spec(spec) if isinstance(spec, DecoderSpec) else _network(spec)


def _network(spec: NetSpec) -> dict[str, Any]:
    """Of a network that is no decoder; its work is that of the smallest call."""
    config = spec.config
    return {
        "network": spec.kind,
        "parameters": parameters(spec),
        "inputs": {port.name: _shape(port) for port in config.inputs},
        "outputs": {port.name: _shape(port) for port in config.outputs},
        "sizes": {size.name: [size.least, size.most] for size in config.sizes},
        "gflop": round(2 * traced(spec, **least(spec))[0].work / 1e9, 3),
    }


def _spec(spec: DecoderSpec) -> dict[str, Any]:
    kinds = Counter(
        (layer.heads, layer.kv_heads, layer.head_width, layer.ffn_width) for layer in spec.layers
    )
    return {
        "parameters": parameters(spec),
        "context": spec.context,
        "vocab": spec.vocab,
        "width": spec.width,
        "layers": len(spec.layers),
        "heads": sorted({layer.heads for layer in spec.layers}),
        "kv_heads": sorted({layer.kv_heads for layer in spec.layers}),
        "head_width": sorted({layer.head_width for layer in spec.layers}),
        "ffn_width": sorted({layer.ffn_width for layer in spec.layers}),
        "window": sorted({layer.window for layer in spec.layers if layer.window is not None}),
        "layer_kinds": len(kinds),
        "tied": spec.tied,
    }


def parameters(spec: Spec) -> int:
    """How many weights a spec has; a tied head counts once."""
    total = 0
    for shape in shapes(spec).values():
        count = 1
        for size in shape:
            count *= size
        total += count
    return total
