"""The core of the browser's app, in Node: what the golden files say, and the packaged model token for token."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT, converted, environment, lacking

from edge.apps.folder import write_app

WEB = ROOT / "apps" / "web"
GOLDEN = ROOT / "apps" / "golden"


def node() -> str:
    found = shutil.which("node")
    return found or lacking("node", "no node on the path: apt-get install nodejs npm")


def passes(folder: Path, name: str, **more: str) -> None:
    done = subprocess.run(
        [node(), "--test", f"test/{name}.test.js"],
        cwd=folder,
        env={**os.environ, **more},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The app's packages, fetched once: the lock file has the hash of each."""
    lock = hashlib.sha256((WEB / "package-lock.json").read_bytes()).hexdigest()[:16]
    cache = Path(os.environ.get("EDGE_APPS_CACHE", Path.home() / ".cache" / "edge-apps"))
    kept = cache / f"web-{lock}"
    if not (kept / "node_modules").is_dir():
        npm = shutil.which("npm") or lacking("node", "no npm on the path: apt-get install npm")
        made = tmp_path_factory.mktemp("packages")
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


@pytest.fixture(scope="module")
def web(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The app beside its packages; the golden files where it looks for them."""
    apps = tmp_path_factory.mktemp("apps")
    shutil.copytree(WEB, apps / "web", ignore=shutil.ignore_patterns("node_modules"))
    shutil.copytree(GOLDEN, apps / "golden")
    (apps / "web" / "node_modules").symlink_to(packages)
    return apps / "web"


def test_the_core_needs_no_package_and_does_what_edge_does() -> None:
    passes(WEB, "core")


def test_the_packaged_model_answers_token_for_token(web: Path, tmp_path: Path) -> None:
    made = converted(tmp_path / "it", ROOT / "edge/models/edge-stories")
    write_app(made, tmp_path / "app", force=False)
    passes(web, "model", EDGE_APP=str(tmp_path / "app"))


def test_the_golden_files_are_what_edge_gives() -> None:
    done = subprocess.run(
        [sys.executable, str(GOLDEN / "make.py"), "--check"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_golden_file_that_is_stale_is_told(tmp_path: Path) -> None:
    """Else freshness would not be checked."""
    shutil.copytree(GOLDEN, tmp_path / "golden")
    file = tmp_path / "golden" / "stops.json"
    file.write_text(file.read_text().replace('"stopped": true', '"stopped": false', 1))
    done = subprocess.run(
        [sys.executable, str(tmp_path / "golden" / "make.py"), "--check"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1
    assert "no longer what edge gives: stops.json" in done.stderr
