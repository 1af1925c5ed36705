"""npm packages that tests need, fetched once into a cache outside the checkout. A lock file has the hash of each."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from support import lacking

_FETCH = "npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier --prefer-offline"
_FILES = ("package.json", "package-lock.json")


def node() -> str:
    found = shutil.which("node")
    if not (found and shutil.which("npm")):
        lacking("node", "node and npm are not on the path: install Node.js 20 or newer")
    return found


def beside(source: Path, folder: Path) -> None:
    """Put what the lock file of `source` names beside a program, as its node_modules.

    EDGE_APPS_CACHE names the cache.
    """
    node()
    lock = hashlib.sha256(b"".join((source / name).read_bytes() for name in _FILES)).hexdigest()
    cache = Path(os.environ.get("EDGE_APPS_CACHE", Path.home() / ".cache" / "edge-apps"))
    kept = cache / lock[:16] / "node_modules"  # by this name packages find each other
    if not kept.is_dir():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as made:
            for name in _FILES:
                shutil.copy(source / name, made)
            _fetch(Path(made))
            if not kept.exists():  # else another test was faster
                (Path(made) / "node_modules").rename(kept)
    (folder / "node_modules").symlink_to(kept)


def _fetch(folder: Path) -> None:
    try:
        done = subprocess.run(
            _FETCH.split(), cwd=folder, capture_output=True, text=True, timeout=300
        )
        problem = done.stderr[-500:] if done.returncode else ""
    except subprocess.TimeoutExpired:
        problem = "it takes more than five minutes"
    if problem:
        lacking("node", f"npm packages cannot be had: {problem}")
