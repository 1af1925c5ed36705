"""`edge serve --app`, without a browser: what it refuses, and what it writes of an artifact."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Edge
from fastapi.testclient import TestClient
from support import ROOT, converted, environment

from edge.serve import apps

STORIES = ROOT / "edge/models/edge-stories"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    folder = tmp_path / "dist"
    folder.mkdir()
    for name, text in {
        "index.html": "<p>here</p>",
        "sw.js": "",
        "offered.json": "{}",
        "a.wasm": "",
        "b.mjs": "",
    }.items():
        (folder / name).write_text(text)
    return folder


def test_an_artifact_is_written_as_an_app_loads_it_and_gone_afterwards(tmp_path: Path) -> None:
    artifact = converted(tmp_path / "it", STORIES)
    with apps.described(artifact) as folder:
        assert (folder / "app.json").is_file()
        with apps.described(folder) as same:
            assert same == folder
    assert not folder.exists()
    assert artifact.is_dir()


def test_a_page_is_isolated_and_every_file_is_told_as_what_it_is(
    page: Path, tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "app.json").write_text("{}")
    client = TestClient(apps.create(page, tmp_path / "model"), base_url="http://127.0.0.1")
    assert client.get("/offered.json").json() == {"folder": "model"}
    assert client.get("/model/app.json").json() == {}
    kinds = {"/": "text/html", "/a.wasm": "application/wasm", "/b.mjs": "text/javascript"}
    for path, kind in kinds.items():
        answer = client.get(path)
        assert answer.headers["content-type"].startswith(kind)
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["cross-origin-embedder-policy"] == "require-corp"
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (["--host", "0.0.0.0"], "browsers trust https and loopback alone"),
        (["--key", "k"], "--key: no part of --app"),
        (["--name", "mine"], "--name: no part of --app"),
        (["--threads", "2"], "--threads: no part of --app"),
        (["--snapkv", "64"], "--snapkv: no part of --app"),
    ],
)
def test_what_has_no_place_beside_a_page_is_refused(
    edge: Edge, page: Path, more: list[str], problem: str
) -> None:
    done = edge("serve", str(page), "--app", "--page", str(page), *more)
    assert done.code == 2
    assert problem in done.err


def test_what_is_no_page_and_no_model_is_told(edge: Edge, page: Path, tmp_path: Path) -> None:
    done = edge("serve", str(tmp_path), "--app", "--page", str(tmp_path))
    assert done.code == 2
    assert "holds no built page" in done.err
    assert "node build.mjs dist" in done.err
    done = edge("serve", "--app", "--page", str(page))
    assert done.code == 2
    assert "name an artifact" in done.err
    done = edge("serve", str(tmp_path / "none"), "--app", "--page", str(page))
    assert done.code in (2, 4)
    assert "none" in done.err
    assert "Traceback" not in done.err
    done = edge("serve", str(page), "--page", str(page))
    assert "--page: of --app alone" in done.err


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT], ids=lambda one: one.name)
def test_a_server_that_is_told_to_end_leaves_no_copy(
    page: Path, tmp_path: Path, told: signal.Signals
) -> None:
    artifact, place = converted(tmp_path / "it", STORIES), tmp_path / "temporary"
    place.mkdir()
    run = [sys.executable, "-m", "edge", "serve", str(artifact), "--app", "--page", str(page)]
    here = {**environment(), "TMPDIR": str(place)}
    with subprocess.Popen(
        [*run, "--port", "0"], stderr=subprocess.PIPE, text=True, env=here
    ) as process:
        assert process.stderr is not None
        assert "the app is at" in process.stderr.readline()
        assert list(place.iterdir()), "the folder that is served"
        process.send_signal(told)
        process.wait(60)
    assert not list(place.iterdir())
