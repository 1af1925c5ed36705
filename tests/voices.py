"""A small voice of random weights, on every target and in numpy, and recordings to imitate."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from speaking import SPEAKING

from edge.artifact.pipeline import PipelineArtifact
from edge.audio.sound import Sound
from edge.audio.wav import WavWriter
from edge.convert.pipelines import settings_of
from edge.families import pipeline_of
from edge.files.config import Config
from edge.pipelines.speech import Speech
from edge.protocols import Net
from edge.quant.recipe import parse
from edge.source.checkpoint import Checkpoint
from edge.source.headers import config_of
from edge_runtimes.reference.decoder import net_oracle

RATE = 16_000


def write(folder: Path, **changes: Any) -> Path:
    """The checkpoint of such a voice."""
    SPEAKING["edge_speech"].write(folder, **changes)
    return folder


def in_numpy(folder: Path) -> Speech:
    """Its checkpoint, by the oracle."""
    pipeline = pipeline_of(config_of(folder))
    assert pipeline is not None
    nets: dict[str, Net] = {}
    for stage in pipeline.stages:
        checkpoint = Checkpoint.open(folder, stage=stage.name)  # read from as long as it is used
        nets[stage.name] = net_oracle(checkpoint, parse("fp32"))
    return Speech(nets, Config(settings_of(pipeline, folder), str(folder)), folder)


@cache
def hum(seconds: float = 2.0, hertz: float = 120.0, rate: int = RATE) -> Sound:
    """A buzz that rises and falls, between two silences: what a voice is to everything but an ear."""
    at = np.arange(int(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(hertz * (1 + 0.2 * np.sin(2 * np.pi * at))) / rate
    buzz = sum(np.sin(k * phase) / k for k in range(1, 12))
    loud = 0.3 + 0.2 * np.sin(2 * np.pi * 3 * at)
    samples = (loud * buzz * 0.4).astype(np.float32)
    return Sound(samples=samples, rate=rate)


def recorded(file: Path, sound: Sound) -> Path:
    with file.open("wb") as stream, WavWriter(stream, sound.rate) as writer:
        writer.write(sound.samples)
    return file


def stages_of(artifact: PipelineArtifact) -> Mapping[str, str]:
    return {name: part.manifest.target for name, part in artifact.stages.items()}
