"""Servers of models and of the app in a browser."""

import sys
from collections.abc import Callable
from pathlib import Path

from edge.errors import EdgeError, Unsupported
from edge.pipelines.internvl import InternVL
from edge.pipelines.speech import Speech
from edge.run.model import Model


def serve_model(
    open_: Callable[[], Model | InternVL | Speech],
    *,
    host: str,
    port: int,
    key: str | None,
    names: tuple[str, ...],
) -> None:
    """Serve what is opened until interrupted; answers in progress are finished first."""
    try:
        from edge.serve.run import run
        from edge.serve.texts import Texts
    except ModuleNotFoundError as error:
        raise _unserved(error) from None
    opened = open_()
    if isinstance(opened, Speech):
        raise Unsupported(
            "a model that speaks is not served yet", fix="edge run MODEL TEXT -o out.wav"
        )
    model = opened.model if isinstance(opened, InternVL) else opened
    if model.template is None:
        print("edge: the model has no chat template: only /v1/completions answers", file=sys.stderr)
    run(Texts(model), host=host, port=port, key=key, names=names)


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
