"""Listen, until told to stop: answers in progress are finished first."""

import sys

import uvicorn

from edge.errors import EdgeError
from edge.model import Model
from edge.serve.app import LOOPBACK, Limits, create

GRACE = 30  # seconds that an answer in progress may take after Ctrl-C


def run(model: Model, host: str, port: int, *, key: str | None, names: tuple[str, ...]) -> None:
    """Serve a model on an address; anything but loopback needs a key."""
    if host not in LOOPBACK and not key:
        raise EdgeError(
            f"{host} can be reached by others, so clients must give a key",
            fix="give --key or set EDGE_API_KEY, or listen on 127.0.0.1",
        )
    if model.template is None:
        print("edge: the model has no chat template: only /v1/completions answers", file=sys.stderr)
    app = create(model, hosts=(host, *names), key=key, limits=Limits())
    shown = f"[{host}]" if ":" in host else host
    print(f"edge: serving {model.artifact.manifest.name} at http://{shown}:{port}", file=sys.stderr)
    uvicorn.run(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=GRACE)
