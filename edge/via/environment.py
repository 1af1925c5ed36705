"""A Python environment of its own for software that cannot live in edge's: made on first use, kept
in `EDGE_HOME`, named after what it holds.

Nothing of the environment that edge runs in is seen there, and nothing here is imported from it.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge.artifact.publishing import alone
from edge.errors import Unsupported
from edge.system import processors
from edge.system.home import home

READY = "ready"  # written last: an environment without it was cut off
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Environment:
    """Where it lies."""

    folder: Path

    @property
    def python(self) -> Path:
        windows = os.name == "nt"
        return self.folder / ("Scripts/python.exe" if windows else "bin/python")

    def variables(self) -> dict[str, str]:
        """For a process inside: it asks nobody, and keeps its caches here."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        offline = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        return (
            processors.environment() | inherited | offline | {"HF_HOME": str(self.folder / "cache")}
        )


def ready(requirements: Path, say: Say) -> Environment:
    """The environment that holds these requirements; the first call installs them."""
    key = f"{platform.python_version()} {platform.machine()}\n{requirements.read_text()}"
    name = f"{requirements.stem}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    made = Environment(home() / "environments" / name)
    if (made.folder / READY).is_file():
        return made
    with alone(made.folder):
        shutil.rmtree(made.folder, ignore_errors=True)  # of a call that was cut off
        say(f"making an environment for {requirements.stem} in {made.folder}; this happens once")
        _run([sys.executable, "-m", "venv", str(made.folder)], say)
        pip = [str(made.python), "-I", "-m", "pip", "install", "--progress-bar", "off"]
        _run([*pip, "--requirement", str(requirements)], say)
        (made.folder / READY).touch()
    return made


def _run(command: list[str], say: Say) -> None:
    """A command whose lines are told as they come."""
    last = ""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            last = line.strip() or last
            say(line.rstrip())
    if process.returncode:
        raise Unsupported(
            f"an environment of its own could not be made: {last[:300]}",
            fix="make sure that pip reaches a package index, then try again",
        )
