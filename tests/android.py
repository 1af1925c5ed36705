"""The Kotlin compiler, for the Android app's core: fetched by a lock file that carries its hash."""

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import npm
from support import ROOT, lacking

ANDROID = ROOT / "apps" / "android"
CORE = ANDROID / "core" / "src"
SECONDS = 300  # for whatever is started: a busy machine takes long to compile


def java() -> str:
    found = shutil.which("java")
    if not found:
        lacking("java", "java is not on the path: install a JDK of version 17 or newer")
    return found


def kotlin(folder: Path) -> Path:
    """The folder of the Kotlin compiler; `folder`: where a link to it may lie."""
    if not (folder / "node_modules").exists():
        npm.beside(ANDROID, folder)
    return folder / "node_modules" / "kotlin-compiler"


def sources(*kinds: str) -> list[Path]:
    """Kotlin files of the core: of "main", of "test"."""
    return sorted(file for kind in kinds for file in (CORE / kind).rglob("*.kt"))


def compiled(compiler: Path, files: Iterable[Path], classpath: Iterable[Path], out: Path) -> Path:
    """Classes of these files, in the folder `out`. A warning is an error."""
    java()
    command = ["bash", compiler / "bin" / "kotlinc", "-Werror", "-jvm-target", "1.8", "-d", out]
    paths = ["-classpath", ":".join(map(str, classpath))]
    done = ran([*map(str, command), *paths, *map(str, files)])
    assert done.returncode == 0, done.stderr[-4000:]
    return out


def ran(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
