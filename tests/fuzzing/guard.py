"""Watches what a reader touches: Python says so through its audit events, on every thread."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {
    "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.symlink", "os.link", "os.truncate", "os.chmod",
    "shutil.rmtree", "shutil.move",
}  # fmt: skip
_SCRIPTS = ("_render.py", "_trial.py", "_matching.py")
_NEVER = {"socket.connect", "socket.bind", "os.system", "os.exec", "os.posix_spawn", "os.fork"}
_NEVER |= {"pickle.find_class", "ctypes.dlopen", "urllib.Request", "ftplib.connect"}


class Guard:
    """From its making on, only `folder` may be written, and only it and the program's files read."""

    def __init__(self, folder: Path) -> None:
        self._mine = (str(folder), str(folder.resolve()))
        library = {sys.prefix, sys.base_prefix, str(Path(__file__).resolve().parents[2])}
        self._program = (
            *library,
            "/proc/self",
            "/etc/localtime",
            "/usr/share/zoneinfo",
            "/dev/null",
            *("/sys/devices/system/cpu", "/sys/fs/cgroup"),  # how many processors there are
            "/proc/cpuinfo",  # and what they can do
        )
        self._found: list[str] = []
        self._on = False
        sys.addaudithook(self._hear)

    def watch(self, call: Callable[[], str | None]) -> str | None:
        """What went wrong in a call: its own answer, or else what it touched."""
        self._found.clear()
        self._on = True
        problem = call()
        self._on = False
        return problem or (f"touches {self._found[0]}" if self._found else None)

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if not self._on:
            return
        changes = event in _CHANGES and not self._allowed(args[0], self._mine)
        starts = event == "subprocess.Popen" and Path(args[1][-1]).name not in _SCRIPTS
        if event == "open":
            self._opened(*args)
        elif changes or starts or event in _NEVER:
            self._found.append(f"{event} {args!r:.200}")

    def _opened(self, path: Any, mode: str | None, flags: int) -> None:
        writes = bool(flags & _WRITES) or any(letter in (mode or "") for letter in "wax+")
        if isinstance(path, int):
            return
        places = self._mine if writes else (*self._mine, *self._program)
        if not self._allowed(path, places) and not (writes and os.fsdecode(path) == "/dev/null"):
            self._found.append(f"{'writes' if writes else 'reads'} {path!r:.200}")

    def _allowed(self, path: Any, places: tuple[str, ...]) -> bool:
        full = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - resolve() itself opens
        return any(full == place or full.startswith(place + "/") for place in places)
