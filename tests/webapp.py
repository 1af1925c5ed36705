"""The browser's app as it is built and served: its page on loopback, isolated."""

import functools
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import npm
from support import ROOT, environment

WEB = ROOT / "apps" / "web"
GOLDEN = ROOT / "apps" / "golden"
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cache-Control": "no-store",
}


def copied(apps: Path) -> Path:
    """The app, with its packages and the golden files where it looks for them."""
    shutil.copytree(WEB, apps / "web", ignore=shutil.ignore_patterns("node_modules", "dist"))
    shutil.copytree(GOLDEN, apps / "golden")
    npm.beside(WEB, apps / "web")
    return apps / "web"


def built(apps: Path) -> Path:
    """The page as it is served, from a copy of the app there."""
    web = copied(apps)
    done = subprocess.run(
        [npm.node(), "build.mjs", "dist"], cwd=web, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return web / "dist"


@contextmanager
def offering(folder: Path, page: Path) -> Iterator[str]:
    """The address of `edge serve FOLDER --app`."""
    run = [sys.executable, "-m", "edge", "serve", str(folder), "--app", "--page", str(page)]
    with subprocess.Popen(
        [*run, "--port", "0"], stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        assert "the app is at http://127.0.0.1:" in said, said
        yield said.split()[-1]
        process.terminate()


class _Isolated(SimpleHTTPRequestHandler):
    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    handler = functools.partial(_Isolated, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
