"""The browser's app as it is built and served: its packages fetched once, its page on loopback, isolated."""

import functools
import hashlib
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support import ROOT, lacking

WEB = ROOT / "apps" / "web"
GOLDEN = ROOT / "apps" / "golden"
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cache-Control": "no-store",
}


def node() -> str:
    found = shutil.which("node")
    return found or lacking("node", "no node on the path: apt-get install nodejs npm")


def packages(made: Path) -> Path:
    """node_modules, fetched into a cache outside the checkout: the lock file has the hash of each package."""
    lock = hashlib.sha256((WEB / "package-lock.json").read_bytes()).hexdigest()[:16]
    cache = Path(os.environ.get("EDGE_APPS_CACHE", Path.home() / ".cache" / "edge-apps"))
    kept = cache / f"web-{lock}"
    if not (kept / "node_modules").is_dir():
        npm = shutil.which("npm") or lacking("node", "no npm on the path: apt-get install npm")
        for name in ("package.json", "package-lock.json"):
            shutil.copy(WEB / name, made / name)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=made, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"npm could not fetch the app's packages: {done.stderr[-300:]}")
        cache.mkdir(parents=True, exist_ok=True)
        if not kept.exists():
            shutil.move(made, kept)
    return kept / "node_modules"


def beside(packages: Path, apps: Path) -> Path:
    """A copy of the app, with its packages and the golden files where it looks for them."""
    shutil.copytree(WEB, apps / "web", ignore=shutil.ignore_patterns("node_modules"))
    shutil.copytree(GOLDEN, apps / "golden")
    (apps / "web" / "node_modules").symlink_to(packages)
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
