"""A data engine killed at any moment: nothing looks finished, and resumed it comes to the bytes of a run that nobody
killed; no row is there twice (ray#60983: what was written and not yet marked was written again).
"""

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engines import content, lines, prose, run
from support import environment

from edge.artifact.publishing import partial_of
from edge.data.frame import sources

KILLS = int(os.environ.get("EDGE_KILLS", "3"))
# What Python tells of before it does it, and after which another process would find something else.
MOMENTS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir"}
COMMAND = """from edge.command.cli import main
from edge.data.frame import sources
sources.PART = 1000; main()"""
OPTIONS = {"shard": "1500", "shuffle": "yes"}

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork"), reason="a process that dies is a fork here"
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two parts, copies across them, rows that go and lines that are none."""
    folder = tmp_path_factory.mktemp("kill") / "src"
    folder.mkdir()
    texts = [prose(seed, 60) for seed in range(6)]
    (folder / "a.jsonl").write_bytes(lines([*texts[:4], b"{", "short"]))
    (folder / "b.jsonl").write_bytes(lines([texts[1], *texts[4:], texts[0] + " And more."]))
    return folder


@pytest.fixture(scope="module")
def whole(source: Path) -> dict[str, bytes]:
    """What comes out where nobody is killed."""
    run([source], source.parent / "whole", **OPTIONS)
    return content(source.parent / "whole")


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of so few bytes that there are several."""
    monkeypatch.setattr(sources, "PART", 1800)


def dying(moment: int, folder: Path, do: Callable[[], Any]) -> bool:
    """Do it in a process that dies, without another word, when it touches the folder for the moment-th time ->
    whether it lived.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    try:
        counted = itertools.count(1)

        def watch(event: str, arguments: tuple[Any, ...]) -> None:
            if (
                event in MOMENTS
                and str(arguments[0]).startswith(str(folder))
                and next(counted) == moment
            ):
                os._exit(9)

        sys.addaudithook(watch)
        do()
        os._exit(0)
    finally:
        os._exit(1)


def test_killed_at_every_moment_and_resumed(
    source: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    """Each moment in turn, until there are none; each time resumed in one go."""
    kills = 0
    for moment in itertools.count(1):
        out = tmp_path / str(moment) / "out"
        out.parent.mkdir()
        lived = dying(moment, out.parent, lambda out=out: run([source], out, **OPTIONS))
        if lived:
            break
        kills += 1
        assert not out.exists() or content(out) == whole
        run([source], out, resume=True, **OPTIONS)
        assert content(out) == whole
        assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert content(out) == whole
    assert kills >= 100, "too few moments to mean anything"


@pytest.mark.parametrize("seed", range(2))
def test_killed_again_and_again(
    source: Path, whole: dict[str, bytes], tmp_path: Path, seed: int
) -> None:
    """One folder, and each process goes on with what the one before left."""
    rng, out = random.Random(seed), tmp_path / "out"
    for _ in range(8):
        dying(rng.randint(5, 60), tmp_path, lambda: run([source], out, resume=True, **OPTIONS))
        assert not out.exists() or content(out) == whole
    run([source], out, resume=True, **OPTIONS)
    assert content(out) == whole


@pytest.mark.timeout(300 + 10 * KILLS)
def test_killed_with_its_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By SIGKILL, of a command with two processes, which leave with it."""
    big = tmp_path / "src"
    big.mkdir()
    for i in range(4):
        (big / f"{i}.jsonl").write_bytes(lines([prose(1000 * i + j) for j in range(60)]))
    monkeypatch.setattr(sources, "PART", 1 << 16)
    run([big], tmp_path / "whole")
    want, interrupted = content(tmp_path / "whole"), 0
    for kill in range(KILLS):
        out = tmp_path / f"out{kill}"
        process = command(big, out)
        while finished(out) < 40 * (kill % 6) and process.poll() is None:  # of some 300
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        interrupted += not out.exists()
        run([big], out, resume=True)
        assert content(out) == want
    assert interrupted >= KILLS // 3, "the kills came too late to mean anything"
    for _ in range(200):
        if not working(big):
            break
        time.sleep(0.05)
    assert not working(big), "a process outlived the one that it worked for"


def finished(out: Path) -> int:
    """Parts of a run that were finished."""
    return len(list((partial_of(out) / "work").glob("*.counts")))


def command(source: Path, out: Path) -> "subprocess.Popen[bytes]":
    words = ["data", "text", str(source), "-o", str(out), "--processes", "2"]
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *words],
        env=environment() | {"MARK": str(source)},
        stdout=subprocess.DEVNULL,
    )


def working(source: Path) -> list[str]:
    """Processes that were begun for these sources."""
    mark = f"MARK={source}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.append(process.name)
        except OSError:
            continue
    return found
