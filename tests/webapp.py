"""The browser's app as it is built and served: its page on loopback, isolated."""

import functools
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import npm
from support import ROOT

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
