"""The sources of the app for iOS and macOS, compiled and run here by Debian's Swift.

It is fetched once into a cache: EDGE_APPS_CACHE names the cache.
"""

import importlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support import ROOT, lacking

APPLE = ROOT / "apps" / "apple"
sys.path.insert(0, str(APPLE))

import coreml_pipe  # noqa: E402
import demo_linux as demo_linux  # noqa: E402
import swift_linux  # noqa: E402

# Reads the files of Xcode's projects.
PARSER = "openstep-parser==2.0.3 --hash=sha256:f219954501e92ced2d3589781201786a930e9a8738128f193b4a425bbee517be"
SECONDS = 600  # for whatever is started: a busy machine takes long to compile


def built(scratch: Path, source: Path = APPLE) -> Path:
    """The folder of the package's programs, optimized; a test is skipped where Swift cannot be had.

    A warning is an error.
    """
    try:
        return swift_linux.build(scratch, source, SECONDS)
    except swift_linux.Unavailable as why:
        lacking("swift", f"Swift cannot be had: {why}")


def ran(
    program: Path, words: list[str], places: Mapping[str, Path], pipe: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program where its libraries are; `places`: folders by the names that it is to see."""
    command = [f"/build/{program.parent.name}/{program.name}", *words]
    every = {"/build": program.parent.parent, **places}
    return swift_linux.entered(command, every, SECONDS, pipe=pipe)


def asked(
    program: Path,
    words: list[str],
    places: Mapping[str, Path],
    kind: Callable[[Mapping[str, Path]], coreml_pipe.Answering] = coreml_pipe.Models,
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """The same, with this project's evaluator in Core ML's place -> how it ended, and the functions that it called.

    `kind`: who computes.
    """
    ours, theirs = socket.socketpair()
    models = kind(places)
    thread = threading.Thread(target=coreml_pipe.serve, args=(ours, models), daemon=True)
    thread.start()
    with theirs:
        done = ran(program, words, places, theirs.fileno())
    thread.join(SECONDS)
    return done, models.called


def literals(source: str) -> Iterator[tuple[str, str]]:
    """The string literals of a Swift file: what stands before each on its line, and its text with interpolations."""
    for line in source.splitlines():
        at = 0
        while (start := line.find('"', at)) >= 0:
            at, depth = start + 1, 0
            while line[at] != '"' or depth:
                if line[at] == "\\" and not depth:
                    depth, at = int(line[at + 1] == "("), at + 2
                    continue
                depth += depth and {"(": 1, ")": -1}.get(line[at], 0)
                at += 1
            at += 1
            yield line[:start], line[start + 1 : at - 1]


def mlx_pipe() -> ModuleType:
    """Python's MLX behind a pipe; a test is skipped where it is not installed."""
    pytest.importorskip("mlx.core")
    return importlib.import_module("mlx_pipe")


def project(file: Path) -> Any:
    """What an Xcode project's file says: its objects by their ids."""
    cache = Path(os.environ.get("EDGE_APPS_CACHE", Path.home() / ".cache" / "edge-apps"))
    kept = cache / "openstep-parser-2.0.3"
    if not kept.is_dir():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as made:
            (Path(made) / "wanted.txt").write_text(PARSER)
            options = [
                "--no-deps",
                "--only-binary=:all:",
                "--require-hashes",
                "--quiet",
                "--target",
                f"{made}/it",
            ]
            command = [sys.executable, "-m", "pip", "install", *options, "-r", f"{made}/wanted.txt"]
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=SECONDS, check=False
            )
            if done.returncode:
                lacking("swift", f"what reads a project cannot be had: {done.stderr[-500:]}")
            if not kept.exists():  # else another test was faster
                (Path(made) / "it").rename(kept)
    if str(kept) not in sys.path:
        sys.path.append(str(kept))
    parser = importlib.import_module("openstep_parser")
    return parser.OpenStepDecoder.ParseFromString(file.read_text())
