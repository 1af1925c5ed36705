"""The core of the browser's app, in Node: what the golden files say, and the packaged model token for token."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT, converted, environment
from webapp import GOLDEN, WEB, beside, node, packages

from edge.apps.folder import write_app


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
def web(tmp_path_factory: pytest.TempPathFactory) -> Path:
    fetched = packages(tmp_path_factory.mktemp("packages"))
    return beside(fetched, tmp_path_factory.mktemp("apps"))


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
