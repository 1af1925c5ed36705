"""The sources of the app for iOS and macOS, compiled and run here by Debian's Swift.

It is fetched once into a cache: EDGE_APPS_CACHE names the cache.
"""

import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from support import ROOT, lacking

APPLE = ROOT / "apps" / "apple"
sys.path.insert(0, str(APPLE))

import coreml_pipe  # noqa: E402
import swift_linux  # noqa: E402

SECONDS = 600  # for whatever is started: a busy machine takes long to compile


def built(product: str, scratch: Path, source: Path = APPLE) -> Path:
    """A program of the package, optimized; a test is skipped where Swift cannot be had. A warning is an error."""
    try:
        return swift_linux.build(product, scratch, source, SECONDS)
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
    program: Path, words: list[str], places: Mapping[str, Path]
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """The same, with this project's evaluator in Core ML's place -> how it ended, and the functions that it called."""
    ours, theirs = socket.socketpair()
    models = coreml_pipe.Models(places)
    thread = threading.Thread(target=coreml_pipe.serve, args=(ours, models), daemon=True)
    thread.start()
    with theirs:
        done = ran(program, words, places, theirs.fileno())
    thread.join(SECONDS)
    return done, models.called
