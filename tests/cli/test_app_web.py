"""The core of the browser's app, in Node: what the golden files say, and the packaged model token for token."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from npm import node
from support import ROOT, converted, environment
from webapp import GOLDEN, WEB, copied

from edge.apps.folder import write_app
from edge.decode.generate import generate
from edge.run.model import load
from edge.text.chat import Message


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
    return copied(tmp_path_factory.mktemp("apps"))


def test_the_core_needs_no_package_and_does_what_edge_does() -> None:
    passes(WEB, "core")


def test_the_packaged_model_answers_token_for_token(web: Path, tmp_path: Path) -> None:
    made = converted(tmp_path / "it", ROOT / "edge/models/edge-stories")
    write_app(made, tmp_path / "app", force=False)
    passes(web, "model", EDGE_APP=str(tmp_path / "app"))


@pytest.mark.parametrize("quant", ["int8", "int4"])
def test_rounded_weights_answer_as_their_exact_twin(web: Path, tmp_path: Path, quant: str) -> None:
    """ONNX Runtime in WebAssembly rounds no activation, whichever graph it opens."""
    made = converted(tmp_path / "it", ROOT / "edge/models/edge-stories", quant)
    write_app(made, tmp_path / "app", force=False)
    model = load(made, exact=True)
    ids = model.encode([Message("user", "Tell me a story about Marla.")])
    tokens = list(generate(model.source, ids, max_tokens=48, stop_ids=model.stop_ids))
    told = json.dumps({"ids": ids, "tokens": tokens})
    passes(web, "rounded", EDGE_APP=str(tmp_path / "app"), EDGE_ANSWER=told)


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
