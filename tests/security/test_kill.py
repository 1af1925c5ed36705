"""A conversion killed at any moment leaves nothing that looks finished, and the next one is whole."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from support import environment, tiny

from edge.artifact import Artifact, is_artifact
from edge.convert import Options, convert

KILLS = 10
VOCAB = 60_000  # a conversion of a good part of a second


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("kill") / "source", vocab_size=VOCAB)


@pytest.fixture(scope="module")
def undisturbed(source: Path) -> tuple[Mapping[str, str], float, float]:
    """Hashes of a whole artifact; when a process begins to write, and when it is done."""
    out = source.parent / "undisturbed"
    start = time.monotonic()
    process = begin(source, out)
    while not (out.parent / f".{out.name}.partial").exists() and process.poll() is None:
        time.sleep(0.002)
    began = time.monotonic() - start
    assert process.wait(60) == 0
    return Artifact.open(out).manifest.files, began, time.monotonic() - start


def begin(source: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "edge.cli", "convert", str(source), "-o", str(out)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        cwd=source.parent,
    )


def test_killed_at_any_moment(
    source: Path, undisturbed: tuple[Mapping[str, str], float, float], tmp_path: Path
) -> None:
    """One output folder for all of them, so that each also meets what the last one left."""
    hashes, began, ended = undisturbed
    rng, out = random.Random(0), tmp_path / "out"
    interrupted = 0
    for kill in range(KILLS):
        process = begin(source, out)
        # Evenly over the time of writing, and a little past its end.
        part = (kill + rng.random()) / KILLS
        time.sleep(began + part * (ended - began) * 1.1)
        process.kill()
        process.wait(60)
        process.communicate()
        if is_artifact(out):
            artifact = Artifact.open(out)
            assert artifact.check_hashes() == ()
            assert artifact.manifest.files == hashes
            out.rename(tmp_path / f"finished-{kill}")
        else:
            interrupted += 1
            assert not out.exists()
    assert interrupted >= KILLS // 3, "the kills came too late to mean anything"
    again = convert(source, out, Options())
    assert again.manifest.files == hashes
    assert again.check_hashes() == ()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_interrupted_by_the_user(
    source: Path, undisturbed: tuple[Mapping[str, str], float, float], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = begin(source, out)
    while not (tmp_path / ".out.partial").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    talk = process.communicate(timeout=30)
    assert process.returncode == 130, talk
    assert "Traceback" not in talk[1]
    assert list(tmp_path.iterdir()) == []
