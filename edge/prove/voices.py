"""Proof that all networks that speak together are their source: a line in the voice of a buzz, from phonemes to sound.

Each side goes its whole way by itself, but that phonemes last as long on both: a length is a rounded number, and what
it is rounded from is compared network by network. The bound is the sum of the tolerances of all networks, as in
`edge.prove.pipelines`. P phonemes, T frames.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge import targets
from edge.artifact.manifest import recipe_of
from edge.artifact.pipeline import PipelineArtifact
from edge.audio.buzz import buzz
from edge.convert.networks import as_made
from edge.files.config import Config
from edge.pipelines.acoustics import Acoustics, Delivery, Line, Noise
from edge.pipelines.speech import LISTENER, Speech, open_speech
from edge.protocols import Net
from edge.run.strategy import Strategy
from edge.system.progress import Progress, silent
from edge.text.spoken.symbols import START, ids, table
from edge.typing import F32, I64

SPOKEN = 32  # phonemes
_MOST = 16  # frames of one: what is not trained may say that it lasts seconds
DELIVERY = Delivery(steps=2)


@dataclass(frozen=True, kw_only=True, slots=True)
class Spoken:
    """Of all networks together. `error`: of the sound, relative to its largest sample; `frames` of it."""

    passed: bool
    same_settings: bool
    frames: int
    error: float
    tolerance: float


def together(
    artifact: PipelineArtifact, source: Path, *, same: bool, progress: Progress = silent
) -> Spoken:
    """Say a line by the artifact's exact twins, and by their oracles; `same`: whether its settings are the source's."""
    parts = artifact.stages
    away = any(targets.refusal(part.manifest.target) is not None for part in parts.values())
    mine = open_speech(artifact, exact=True, strategy=Strategy(reference=away)).acoustics
    with ExitStack() as stack, progress("all networks together", 2) as advance:
        nets: dict[str, Net] = {}
        tolerance = 0.0
        for name, part in parts.items():
            if name == LISTENER:
                continue
            recipe = recipe_of(part.manifest)
            way = targets.runtime(part.manifest.target).numerics(recipe, exact=True)
            made = stack.enter_context(as_made(source, part.manifest))
            nets[name] = targets.oracle().net_oracle(made, recipe, numerics=way)
            tolerance += way.tolerance
        settings = Config(artifact.manifest.settings, str(artifact.folder))
        theirs = Speech(nets, settings, artifact.folder).acoustics
        frames, got = _said(mine, None)
        advance(1)
        _, want = _said(theirs, frames)
        advance(1)
    error = float(np.abs(got - want).max() / np.abs(want).max())
    return Spoken(
        passed=same and error <= tolerance,
        same_settings=same,
        frames=int(frames.sum()),
        error=error,
        tolerance=tolerance,
    )


def _said(acoustics: Acoustics, frames: I64 | None) -> tuple[I64, F32]:
    """How long each phoneme of the line lasts, if nobody says so, and its sound."""
    sounds = np.arange(table().marks, table().marks + SPOKEN)
    line = Line.plain(np.array([*ids((START,)), *sounds, *ids((".",))], np.int64))
    voice, noises = acoustics.voice(buzz()), Noise(0, 0)
    hidden = acoustics.hidden(line, voice)
    own = acoustics.frames(line, hidden, voice, DELIVERY, noises)
    frames = np.minimum(own, _MOST) if frames is None else frames
    prosody = acoustics.prosody(line, hidden, frames, voice, DELIVERY, noises)
    bands = acoustics.bands(prosody, voice, DELIVERY, noises)[None]
    mask = np.ones(bands.shape[:2], np.float32)
    audio: Mapping[str, F32] = acoustics.nets["vocoder"](mel=bands, frame_mask=mask)
    return frames, audio["audio"]
