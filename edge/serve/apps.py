"""The browser's app with a model for it, on loopback: isolated, so that ONNX Runtime may take several threads there.

The model runs in the browser; this server only hands out files.
"""

import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from edge.apps.folder import is_app, write_app
from edge.errors import EdgeError
from edge.serve.guard import LOOPBACK, Guard, Limits
from edge.serve.run import until_told

BUILT = Path(__file__).parents[2] / "apps" / "web" / "dist"  # in a clone
OFFER = "offered.json"  # what the page asks for, wherever it lies: which model comes with it
_MODEL = "model"
# A page of its own origin alone, which a browser then trusts with shared memory.
_ISOLATED = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cache-Control": "no-cache",
}

_KINDS = {".wasm": "application/wasm", ".js": "text/javascript", ".mjs": "text/javascript"}


def run(artifact: Path, host: str, port: int, *, page: Path | None) -> None:
    """Serve the page, and the folder that `edge app` wrote or would write of an artifact, until interrupted."""
    if host not in LOOPBACK:
        raise EdgeError(
            f"a page at {host} is not isolated: browsers trust https and loopback alone",
            fix="leave out --host; or put apps/web/dist and the folder of `edge app` on a server with https",
        )
    built = page_of(page)
    # Told to end, the process would else leave a copy of the model behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with described(artifact) as model:
        until_told(create(built, model), host, port, what="the app is")


def create(page: Path, model: Path) -> FastAPI:
    """The application: a built page, and a model's folder below it."""
    app = FastAPI(title="edge", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, hosts=(), key=None, limits=Limits())

    @app.get(f"/{OFFER}")
    async def offered(request: Request) -> Response:
        return JSONResponse({"folder": _MODEL}, headers=_ISOLATED)

    app.mount(f"/{_MODEL}", _Files(directory=model))
    app.mount("/", _Files(directory=page, html=True))
    return app


class _Files(StaticFiles):
    """Files of one folder, each told as what it is: a script of no known kind would not run."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        found = await super().get_response(path, scope)
        found.headers.update(_ISOLATED)
        kind = _KINDS.get(Path(path).suffix)
        if kind and found.status_code == 200:
            found.headers["Content-Type"] = kind
        return found


def page_of(folder: Path | None) -> Path:
    """A folder that `apps/web/build.mjs` wrote."""
    built = folder or BUILT
    if not all((built / name).is_file() for name in ("index.html", "sw.js", OFFER)):
        raise EdgeError(
            f"{built} holds no built page" if folder else "the page of the app is not built",
            fix="in a clone of this project: cd apps/web && npm ci --ignore-scripts && node build.mjs dist; "
            "elsewhere name what that wrote with --page",
        )
    return built


@contextmanager
def described(artifact: Path) -> Iterator[Path]:
    """An artifact as an app loads it: in a folder that is gone afterwards, unless it is one already."""
    if is_app(artifact):
        yield artifact
        return
    with tempfile.TemporaryDirectory() as place:
        write_app(artifact, Path(place) / _MODEL, force=False, test=False)
        yield Path(place) / _MODEL
