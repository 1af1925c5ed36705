"""Servers of models and of the app in a browser."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edge.artifact.pipeline import PipelineArtifact
from edge.errors import EdgeError, Unsupported
from edge.pipelines.groma import Groma
from edge.pipelines.internvl import InternVL
from edge.pipelines.speech import Speech
from edge.run.model import Model

if TYPE_CHECKING:
    from edge.serve.offers import Offer
    from edge.serve.voices import Voices


def serve_model(
    open_: Callable[[], Model | InternVL | Groma | Speech],
    *,
    host: str,
    port: int,
    key: str | None,
    names: tuple[str, ...],
    speaking: Callable[[], Speech] | None = None,
    voices: Mapping[str, Path] | None = None,
) -> None:
    """Serve what is opened until interrupted; answers in progress are finished first. `speaking` opens what says the
    answers of a model that writes; `voices`: names and recordings that clients may ask for.
    """
    try:
        from edge.serve.recordings import check
        from edge.serve.run import run
    except ModuleNotFoundError as error:
        raise _unserved(error) from None
    files = voices or {}
    check(files)
    opened = open_()
    if isinstance(opened, Speech):
        if speaking is not None:
            raise EdgeError("a model that speaks says its own texts", fix="leave out --speak")
        offers: list[Offer] = [_voices(opened, files)]
    else:
        if speaking is None and files:
            raise EdgeError("--voice is of a model that speaks", fix="name one with --speak, too")
        voice = None if speaking is None else _voices(speaking(), files)
        offers = [_texts(opened, voice), *([] if voice is None else [voice])]
    run(*offers, host=host, port=port, key=key, names=names)


def _texts(opened: Model | InternVL | Groma, voice: "Voices | None") -> "Offer":
    from edge.serve.texts import Texts

    model = opened if isinstance(opened, Model) else opened.model
    if model.template is None:
        print("edge: the model has no chat template: only /v1/completions answers", file=sys.stderr)
    return Texts(model, voice)


def _voices(speech: Speech, files: Mapping[str, Path]) -> "Voices":
    from edge.serve.recordings import Recordings
    from edge.serve.voices import Voices

    name = PipelineArtifact.open(speech.folder).manifest.name
    return Voices(name, speech, Recordings.of(speech, files))


def serve_app(model: str | None, *, host: str, port: int, page: Path | None) -> None:
    """Serve the browser's app with a model until interrupted: an artifact's folder, or the one of `edge app`."""
    try:
        from edge.serve.apps import run
    except ModuleNotFoundError as error:
        raise _unserved(error) from None
    if model is None:
        raise EdgeError("--app serves a folder", fix="name an artifact, or what `edge app` wrote")
    run(Path(model), host, port, page=page)


def _unserved(error: ModuleNotFoundError) -> Unsupported:
    return Unsupported(
        f"edge serve needs the package {error.name}, which is not installed",
        fix="pip install 'edge-toolkit[serve]'",
    )
