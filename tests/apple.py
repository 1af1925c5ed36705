"""The sources of the app for iOS and macOS, compiled and run here by Debian's Swift.

It is fetched once into a cache: EDGE_APPS_CACHE names the cache.
"""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from support import ROOT, lacking

APPLE = ROOT / "apps" / "apple"
sys.path.insert(0, str(APPLE))

import swift_linux  # noqa: E402

SECONDS = 600  # for whatever is started: a busy machine takes long to compile


def built(product: str, scratch: Path, source: Path = APPLE) -> Path:
    """A program of the package, optimized; a test is skipped where Swift cannot be had. A warning is an error."""
    try:
        return swift_linux.build(product, scratch, source, SECONDS)
    except swift_linux.Unavailable as why:
        lacking("swift", f"Swift cannot be had: {why}")


def ran(
    program: Path, words: list[str], places: Mapping[str, Path]
) -> subprocess.CompletedProcess[str]:
    """Run a program where its libraries are; `places`: folders by the names that it is to see."""
    command = [f"/build/{program.parent.name}/{program.name}", *words]
    return swift_linux.entered(command, {"/build": program.parent.parent, **places}, SECONDS)
