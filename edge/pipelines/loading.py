"""An artifact ready to use, whatever kind of model it holds: what `edge.load` is."""

from pathlib import Path
from typing import Any

from edge.artifact.pipeline import is_pipeline
from edge.convert.options import refuse_given
from edge.gguf.foreign import artifact_at
from edge.net import NetSpec
from edge.pipelines.runners import open_pipeline
from edge.run.beside import ONE_DECODER
from edge.run.classifier import load_classifier
from edge.run.model import load as load_decoder


def load(path: Path | str, **options: Any) -> Any:
    """A decoder of text as an `edge.run.model.Model`, which has `generate` and `chat`; a network with a head
    over pictures as an `edge.run.classifier.Classifier`, which has `classify`; several that answer about
    pictures as an `edge.pipelines.internvl.InternVL`, which has `generate(prompt, images=[…])` and `chat`, or as an
    `edge.pipelines.groma.Groma`, whose `generate` takes `boxes`, too, and whose answers name regions; a voice
    as an `edge.pipelines.speech.Speech`, which has `speak(text, voice=…)`.
    `options`: those of `edge.run.model.load`, `load_classifier` and `open_pipeline`.
    """
    several = is_pipeline(Path(path))
    artifact = None if several else artifact_at(Path(path))
    if artifact is not None and not isinstance(artifact.manifest.spec, NetSpec):
        return load_decoder(path, **options)
    refuse_given(ONE_DECODER, {"adapter": options.pop("adapter", None)})
    return (
        open_pipeline(Path(path), **options)
        if artifact is None
        else load_classifier(artifact, **options)
    )
