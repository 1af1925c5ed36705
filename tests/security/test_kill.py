"""A conversion killed at any moment leaves nothing that looks finished; the next one goes on with what
is there, and is whole.
"""

import errno
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from conftest import Edge
from support import environment, tiny

from edge.artifact.manifest import Artifact, is_artifact
from edge.artifact.publishing import partial_of, publishing
from edge.convert import one_pass
from edge.convert.conversion import convert
from edge.convert.one_pass import JOURNAL
from edge.convert.options import Options
from edge.errors import EdgeError

KILLS = int(os.environ.get("EDGE_KILLS", "12"))
SHAPE = {"vocab_size": 30_000, "num_hidden_layers": 40, "intermediate_size": 1_500}


# The journal is brought up to date every few rows, where it is every 64 MB of a large model.
COMMAND = """from edge.command.cli import main
from edge.convert import one_pass
one_pass._MARK = 1 << 18; main()"""
# The user interrupts it as soon as something is in the journal.
INTERRUPTED = f"""import edge.convert.one_pass, os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
mark = edge.convert.one_pass.Journal.mark
def marked(journal, names):
    mark(journal, names)
    os.kill(os.getpid(), signal.SIGINT)
edge.convert.one_pass.Journal.mark = marked
{COMMAND}"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("kill") / "source", **SHAPE)


@pytest.fixture(scope="module")
def undisturbed(source: Path) -> tuple[Mapping[str, str], float]:
    """Hashes of a whole artifact, and the seconds that a process takes to write it."""
    out = source.parent / "undisturbed"
    process = begin(source, out)
    until_writing(process, out, None)
    start = time.monotonic()
    while not is_artifact(out) and process.poll() is None:
        time.sleep(0.001)
    seconds = time.monotonic() - start
    assert process.wait(60) == 0
    return Artifact.open(out).manifest.files, seconds


def begin(source: Path, out: Path, code: str = COMMAND) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, "convert", str(source), "-o", str(out)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        cwd=source.parent,
    )


def touched(out: Path) -> int | None:
    """When a conversion to `out` last began."""
    lock = out.with_name(f".{out.name}.lock")
    try:
        return lock.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def until_writing(process: subprocess.Popen[str], out: Path, before: int | None) -> None:
    while touched(out) in (None, before):
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)


@pytest.mark.timeout(300 + 10 * KILLS)
def test_killed_at_any_moment(
    source: Path, undisturbed: tuple[Mapping[str, str], float], tmp_path: Path
) -> None:
    """One output folder for all of them, so that each also meets what the last one left."""
    hashes, seconds = undisturbed
    rng, out = random.Random(0), tmp_path / "out"
    interrupted = resumed = 0
    for kill in range(KILLS):
        before = touched(out)
        process = begin(source, out)
        until_writing(process, out, before)
        time.sleep((kill + rng.random()) / KILLS * seconds)
        process.kill()
        process.communicate(timeout=60)
        if is_artifact(out):
            artifact = Artifact.open(out)
            assert artifact.check_hashes() == ()
            assert artifact.manifest.files == hashes
            out.rename(tmp_path / f"finished-{kill}")
        else:
            interrupted += 1
            assert not out.exists()
            resumed += (partial_of(out) / JOURNAL).exists()
    assert resumed >= KILLS // 6, "no conversion left anything to go on with"
    assert interrupted >= KILLS // 3, "the kills came too late to mean anything"
    again = convert(source, out, Options())
    assert again.manifest.files == hashes
    assert again.check_hashes() == ()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_full_disk_is_said_and_the_conversion_goes_on(
    edge: Edge, source: Path, undisturbed: tuple[Mapping[str, str], float], tmp_path: Path
) -> None:
    """The disk is full after some weights, and again has room for the next try."""
    out, room = tmp_path / "out", 1 << 21
    with pytest.MonkeyPatch.context() as patch:
        write = os.pwrite

        def until_full(file: int, content: bytes, offset: int) -> int:
            nonlocal room
            room -= len(content)
            if room < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(file, content, offset)

        patch.setattr(os, "pwrite", until_full)
        patch.setattr(one_pass, "_MARK", 1 << 18)
        done = edge("convert", source, "-o", out)
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 2), done.err
    assert f"no space is left for {out}" in done.err
    assert not out.exists()
    plan = edge("convert", source, "-o", out, "--dry-run", "--json").json
    assert plan["resumes"]
    with pytest.MonkeyPatch.context() as patch:  # what is there needs no more room
        free = type("Usage", (), {"free": plan["bytes"] + (64 << 20) - (1 << 20)})
        patch.setattr(shutil, "disk_usage", lambda _: free)
        assert edge("convert", source, "-o", tmp_path / "another").code == 2
        assert edge("convert", source, "-o", out).code == 0
    assert Artifact.open(out).manifest.files == undisturbed[0]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_interrupted_by_the_user(source: Path, tmp_path: Path) -> None:
    process = begin(source, tmp_path / "out", INTERRUPTED)
    talk = process.communicate(timeout=30)
    assert process.returncode == 130, talk
    assert "Traceback" not in talk[1]
    assert list(tmp_path.iterdir()) == []


def test_two_conversions_into_one_place(tmp_path: Path) -> None:
    out = tmp_path / "it"
    with publishing(out, force=False) as first:
        (first / "file").write_text("of the first")
        with pytest.raises(EdgeError, match="another command"), publishing(out, force=False):
            pytest.fail("the second began")
        assert (first / "file").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"it"}
