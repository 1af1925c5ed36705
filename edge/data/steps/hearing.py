"""A recognizer that a step asks what each frame of a sound is: an artifact, or the part of one that speaks."""

from pathlib import Path

from edge.artifact import integrity
from edge.artifact.manifest import Artifact
from edge.artifact.pipeline import PipelineArtifact, is_pipeline
from edge.audio.alignment import heard
from edge.audio.spectra import MELS
from edge.errors import Unsupported
from edge.net import NetSpec
from edge.run.opening import open_net
from edge.text.spoken.symbols import table
from edge.typing import F32

PART = "recognizer"


class Hearing:
    """Log mel bands [T, 80] -> log-probabilities [T, V] of edge's symbols. On one thread: sums come out alike however
    many processes there are.
    """

    def __init__(self, model: str) -> None:
        artifact = _artifact(Path(model))
        spec = artifact.manifest.spec
        shown = dict(_shapes(spec)) if isinstance(spec, NetSpec) else {}
        wanted = {"mel": MELS["edge"].bands, "logits": len(table().symbols)}
        if any(shown.get(name) != size for name, size in wanted.items()):
            raise Unsupported(
                f"{model} recognizes no phonemes: it should take 80 mel bands and know 96 symbols",
                fix="give --model a recognizer, which `edge train recognizer` makes",
            )
        integrity.check(artifact)
        self._net = open_net(artifact, threads=1)

    def __call__(self, mel: F32) -> F32:
        return heard(self._net, mel)


def _artifact(folder: Path) -> Artifact:
    if not is_pipeline(folder):
        return Artifact.open(folder)
    parts = PipelineArtifact.open(folder).stages
    if PART not in parts:
        raise Unsupported(f"{folder} has no part {PART}", fix="give --model a recognizer")
    return parts[PART]


def _shapes(spec: NetSpec) -> list[tuple[str, object]]:
    return [(port.name, port.shape[-1]) for port in (*spec.config.inputs, *spec.config.outputs)]
