"""An artifact ready to use, whatever kind of model it holds: what `edge.load` is."""

from pathlib import Path
from typing import Any

from edge.gguf.foreign import artifact_at
from edge.net import NetSpec
from edge.run.classifier import load_classifier
from edge.run.model import load as load_decoder


def load(path: Path | str, **options: Any) -> Any:
    """A decoder of text as an `edge.run.model.Model`, which has `generate` and `chat`; a network with a head
    over pictures as an `edge.run.classifier.Classifier`, which has `classify`. `options`: those of
    `edge.run.model.load` and `edge.run.classifier.load_classifier`.
    """
    artifact = artifact_at(Path(path))
    if isinstance(artifact.manifest.spec, NetSpec):
        return load_classifier(artifact, **options)
    return load_decoder(path, **options)
