"""What a run of FlashSpeech makes: a checkpoint of several networks, as the recipe's `model` says, and those that are
joined to it: a vocoder and a recognizer from checkpoints of their own.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge.audio.spectra import MELS, Mel
from edge.data.utterances import FRAMING
from edge.errors import EdgeError
from edge.families import Pipeline, family_of, pipeline_of
from edge.files.config import Config
from edge.names import Location
from edge.net import NetConfig, NetSpec
from edge.nn.speech.vocos import VocosSpec
from edge.source.checkpoint import Checkpoint
from edge.source.finite import whole
from edge.typing import F32

# The stages that are learned, in the order in which one gives what another takes.
LEARNED = ("prompt", "phonemes", "duration", "pitch", "condition", "denoiser")
REFINERS = ("duration_refiner", "pitch_refiner")
SPREAD = 0.5  # the standard deviation of latents that a consistency model takes for granted
_WHERE = "the recipe's model"


@dataclass(frozen=True, kw_only=True, slots=True)
class Joined:
    """A network that is already trained: where it lies, and what it is in numbers."""

    folder: Path
    config: Config
    spec: NetSpec

    def weights(self) -> Iterator[tuple[str, F32]]:
        with Checkpoint.open(self.folder) as checkpoint:
            for name in checkpoint.places:
                yield name, whole(checkpoint, name)


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeechModel:
    """`specs`: of each network, also of those that are `joined`; `places`: of their weights in the tensors of the whole
    checkpoint; a latent is (log mel - mean) / scale; `texts`: the files beside the weights.
    """

    pipeline: Pipeline
    specs: Mapping[str, NetSpec]
    places: Mapping[str, Mapping[str, Location]]
    joined: Mapping[str, Joined]
    mean: float
    scale: float
    texts: Mapping[str, bytes]

    def learned(self) -> tuple[str, ...]:
        return tuple(name for name in (*LEARNED, *REFINERS) if name in self.specs)

    def kind(self, config: Config) -> tuple[str, ...]:
        """The networks that another checkpoint of this kind has."""
        found = pipeline_of(config)
        return () if found is None else tuple(stage.name for stage in found.stages)

    def latent(self, mel: F32) -> F32:
        """Log mel bands [T, 80] -> [T, 80]."""
        return (mel - np.float32(self.mean)) / np.float32(self.scale)


def speech_model(
    model: Mapping[str, Any], joined: Mapping[str, Path], latent: tuple[float, float]
) -> SpeechModel:
    """Of a recipe's `model`; refuses numbers that are no networks, or networks that do not fit. `latent`: mean and
    scale, where the recipe has none.
    """
    parts = {name: _joined(folder) for name, folder in joined.items()}
    data = {"latent": {"mean": latent[0], "scale": latent[1]}, **model}
    data |= {name: dict(part.config.data) for name, part in parts.items()}
    config = Config(data, _WHERE)
    pipeline = pipeline_of(config)
    if pipeline is None or not set(LEARNED) <= {stage.name for stage in pipeline.stages}:
        raise EdgeError(
            f"{_WHERE} is of no kind whose networks speak",
            fix="give `model_type: edge_speech`, and what the recipe speaks has there",
        )
    homeless = sorted(parts.keys() - {stage.name for stage in pipeline.stages})
    if homeless:
        raise EdgeError(
            f"{_WHERE} has no place for a {homeless[0]}", fix="leave it out of the recipe"
        )
    _check_mel(config)
    # Without a vocoder it is learned all the same, and one can be joined when the run is resumed.
    named = (*LEARNED, *REFINERS, *parts)
    pipeline = replace(pipeline, stages=tuple(s for s in pipeline.stages if s.name in named))
    specs, places = {}, {}
    for stage in pipeline.stages:
        own = stage.config(pipeline.fields.checked(config))
        family = family_of(own)
        spec = family.spec(own)
        assert isinstance(spec, NetSpec), "speech is made by networks that are no decoders"
        specs[stage.name], places[stage.name] = spec, family.names.places(spec)
    _check_vocoder(parts)
    pipeline.connect(specs, _WHERE)
    numbers = config.table("latent")
    assert numbers is not None
    return SpeechModel(
        pipeline=pipeline,
        specs=specs,
        places=places,
        joined=parts,
        mean=numbers.number("mean", low=-1e3),
        scale=numbers.number("scale"),
        texts={"config.json": (json.dumps(data, indent=2) + "\n").encode()},
    )


def joined_network(folder: Path) -> Joined:
    """A network in a folder, to look through; refuses a decoder of text."""
    return _joined(folder)


def takes_mel(part: Joined) -> str:
    """The input of a frozen network that is a spectrogram of ours; refuses one that has none, or no features."""
    bands = MELS["edge"].bands
    found = [port.name for port in part.spec.config.inputs if port.shape[1:] == ("frames", bands)]
    if len(found) != 1 or "features" not in _outputs(part.spec.config):
        raise EdgeError(
            f"{part.folder} is no network from frames of {bands} mel bands to features",
            fix="name a recognizer that edge train recognizer made",
        )
    return found[0]


def statistics(mels: Iterator[F32]) -> tuple[float, float]:
    """Mean and scale by which log mel bands become latents of the deviation that noise is scaled for."""
    count, total, squares = 0, 0.0, 0.0
    for mel in mels:
        wide = mel.astype(np.float64)
        count, total, squares = (
            count + wide.size,
            total + float(wide.sum()),
            squares + float((wide**2).sum()),
        )
    mean = total / count
    deviation = max(1e-3, squares / count - mean**2) ** 0.5
    return round(mean, 4), round(deviation / SPREAD, 4)


def _joined(folder: Path) -> Joined:
    with Checkpoint.open(folder) as checkpoint:
        if not isinstance(checkpoint.spec, NetSpec):
            raise EdgeError(
                f"{folder} is a decoder of text",
                fix="name a folder that edge train vocoder, or recognizer, made",
            )
        return Joined(folder=folder, config=checkpoint.config, spec=checkpoint.spec)


def _outputs(config: NetConfig) -> list[str]:
    return [port.name for port in config.outputs]


def _check_mel(config: Config) -> None:
    name = config.text("mel", "edge")
    mel: Mel | None = MELS.get(name)
    if mel is None or mel != MELS["edge"] or config.integer("latent_dim") != mel.bands:
        raise EdgeError(
            f"{_WHERE} has {config.integer('latent_dim')} bands of the mel {name!r:.40}, and prepared speech has "
            f"{MELS['edge'].bands} of the mel 'edge'",
            fix="give `mel: edge` and `latent_dim: 80`",
        )


def _check_vocoder(parts: Mapping[str, Joined]) -> None:
    for part in parts.values():
        spec = part.spec.config
        if not isinstance(spec, VocosSpec):
            continue
        bands = MELS["edge"].bands
        if (spec.channels, spec.hop, spec.padding) != (bands, FRAMING.hop, "same"):
            raise EdgeError(
                f"{part.folder} makes sound of {spec.channels} mel bands, {spec.hop} samples a frame, padding "
                f"{spec.padding}; the networks give {bands}, {FRAMING.hop}, same",
                fix="name a vocoder that edge train vocoder made",
            )
