"""Work on what a stranger wrote, in a process of its own with little time, memory and nothing else.

A library that crashes, or works for ever, takes only that process with it. Used where no check of
ours can tell what is hostile: templates, which are programs, and grammars.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What a process needs to start at all; no token or key of the user's is among it.
_PASSED = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TZ")


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """`seconds` of processor time; `patience` by the clock: a busy machine is no hostile input."""

    seconds: int
    patience: float
    megabytes: int


def ask(script: Path, request: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    """What a script of ours answers to a request, both of them JSON; or {"error"}: why it could not."""
    path = [entry for entry in sys.path if entry and Path(entry).is_absolute()]
    path.append(str(Path(__file__).parents[1]))  # an editable install is on no path
    also = {"path": path, "seconds": limits.seconds, "megabytes": limits.megabytes}
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(script)],
            input=json.dumps({**request, **also}).encode(),
            capture_output=True,
            timeout=limits.patience,
            check=False,
            env={name: os.environ[name] for name in _PASSED if name in os.environ},
        )
    except subprocess.TimeoutExpired:
        return {"error": f"it was still running after {limits.patience:g} seconds"}
    except OSError as error:
        return {"error": f"no process could be started for it: {error}"}
    if done.returncode < 0:
        return {"error": f"it took more than {limits.seconds} seconds or {limits.megabytes} MiB"}
    if done.returncode:
        tail = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise RuntimeError(f"{script.name} ended with {done.returncode}: {tail}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def limit(seconds: int, megabytes: int) -> None:
    """Bound this process from here on: time and memory, and not one more file, socket or process."""
    with contextlib.suppress(ImportError):  # Windows has none of these: there the clock decides
        import resource

        wanted = {
            resource.RLIMIT_CPU: seconds,
            resource.RLIMIT_AS: megabytes << 20,
            resource.RLIMIT_FSIZE: 0,
            resource.RLIMIT_CORE: 0,
            resource.RLIMIT_NOFILE: 3,  # what is open stays open
        }
        for what, value in wanted.items():
            # macOS refuses a limit of the address space.
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(what, (value, value))
