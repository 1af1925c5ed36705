"""The same rows on a Ray cluster of two workers as in this process, byte for byte; and a run that goes on there."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import Edge
from engines import CHINESE, content, lines, prose, run, stopped
from support import environment

from edge.artifact.publishing import partial_of
from edge.data.frame import sources

pytest.importorskip("ray", reason="ray is not installed: pip install -e '.[data]'")
pytestmark = pytest.mark.timeout(240)
_STORE = 80 << 20  # bytes, which Ray wants at least


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a cluster that a user began, with its head's way of asking clouds closed (`on_ray`)."""
    with tempfile.TemporaryDirectory(prefix="r") as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        (Path(folder) / "ray_bootstrap_config.yaml").write_text("{}\n")
        words = ["start", "--head", "--block", "--num-cpus=2", "--include-dashboard=false"]
        words += [f"--port={port}", f"--temp-dir={folder}", "--node-ip-address=127.0.0.1"]
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "ray.scripts.scripts",
                *words,
                f"--object-store-memory={_STORE}",
            ],
            env=environment() | {"HOME": folder},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            until_it_listens(port, process)
            yield f"127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(3)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def until_it_listens(port: int, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        assert process.poll() is None, "the cluster did not start"
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail("the cluster does not listen")


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of so few bytes that there are several."""
    monkeypatch.setattr(sources, "PART", 5000)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "src"
    folder.mkdir()
    for i in range(5):
        texts = [prose(100 * i + j) for j in range(20)]
        (folder / f"{i}.jsonl").write_bytes(lines([*texts, b"{", prose(7), CHINESE[i:], "short"]))
    return folder


# In a process apart: Ray ends the one that it works for when it loses sight of its node.
COMMAND = """from edge.command.cli import main
from edge.data.frame import sources
sources.PART = 5000; main()"""
REFUSED = """import sys
from pathlib import Path
from edge.data.frame.on_ray import Cluster
from edge.data.frame.sources import find
from edge.data.frame.work import opened, surveying
crew = Cluster(sys.argv[1])
asked = [surveying([source], 100, [".jsonl"]) for source in find(sys.argv[2:])]
Path(sys.argv[-1]).unlink()
answers = crew.each(asked)
print(len([opened(next(answers)) for _ in asked[1:]]))
try:
    opened(next(answers))
except Exception as error:
    print(type(error).__name__, error)
crew.close()"""


def python(code: str, *words: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=200, env=environment(), check=False
    )


@pytest.mark.parametrize(
    "options", [[], ["--set", "shuffle=yes", "--set", "shard=9KB", "--seed", "3"]], ids=str
)
def test_a_cluster_comes_to_the_same_bytes(
    edge: Edge, cluster: str, source: Path, tmp_path: Path, options: list[str]
) -> None:
    """Ray keeps no order by itself (ray#40216, ray#50890); copies are found whoever read them (data-juicer#971)."""
    words = ["data", "text", source, *options]
    here = edge(*words, "-o", tmp_path / "here", "--processes", "1")
    assert here.code == 0, here.err
    there = python(COMMAND, *words, "-o", tmp_path / "there", "--ray", cluster)
    assert there.returncode == 0, there.stderr
    assert content(tmp_path / "there") == content(tmp_path / "here")
    assert len(content(tmp_path / "here")) > 3 + bool(options)


def test_a_run_that_was_stopped_here_goes_on_there(
    cluster: str, source: Path, tmp_path: Path
) -> None:
    run([source], tmp_path / "whole")
    stopped(source, tmp_path / "out", 3)
    assert len(list(partial_of(tmp_path / "out").rglob("*.counts"))) == 3
    words = ["data", "text", source, "-o", tmp_path / "out", "--ray", cluster, "--resume"]
    done = python(COMMAND, *words)
    assert done.returncode == 0, done.stderr
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_a_refusal_of_a_worker_comes_here(cluster: str, source: Path) -> None:
    done = python(REFUSED, cluster, *sorted(source.iterdir()))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("4\nEdgeError"), done.stdout
    assert "4.jsonl cannot be read" in done.stdout


def test_nobody_at_an_address(edge: Edge, source: Path, tmp_path: Path) -> None:
    done = edge("data", "text", source, "-o", tmp_path / "out", "--ray", "127.0.0.1:9")
    assert (done.code, done.out) == (2, "")
    assert "no Ray cluster answers at 127.0.0.1:9" in done.err
    assert not (tmp_path / "out").exists()
