"""Work on what a stranger wrote, in processes of their own with little time, memory and nothing else.

A library that crashes, or works for ever, takes only such a process with it. Used where no check of
ours can tell what is hostile: templates, which are programs, and grammars.

To start Python takes a tenth of a second, so processes are kept (`edge.system.workers`); each request is
answered by a fork of one, from which nothing comes back but the answer (`edge.system.child`).
"""

import atexit
import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge.system.wire import LATE, LONG, UNMADE
from edge.system.workers import Crew, Limits, Request, Start

__all__ = ["Limits", "ask", "close", "warm"]

_crews: dict[Path, Crew] = {}


def ask(
    script: Path, request: Mapping[str, Any], limits: Limits, *, stands: object = None
) -> dict[str, Any]:
    """What a script of ours answers to a request, both of them JSON; or {"error"}: why it could not.

    `stands`: what will be the same in the next request, which is so begun before it comes.
    """
    parts = (b"" if stands is None else _json(stands), _json(request))
    try:
        end, given = _crew(script).ask(Start.of(script), Request(*parts, limits))
    except OSError as error:
        return {"error": f"no process could be started for it: {error}"}
    if end in (LATE, LONG, UNMADE) or end < 0:
        return {"error": _why(end, limits)}
    if end:
        raise RuntimeError(f"{script.name} ended with {end}: {given.decode(errors='replace')}")
    return _read(given)


def warm(script: Path) -> None:
    """Begin to start a process, so that the first request need not wait for it."""
    with contextlib.suppress(OSError):  # `ask` will say so
        _crew(script).warm(Start.of(script))


def close() -> None:
    """End every process that is idle."""
    for crew in list(_crews.values()):
        crew.close()


def _crew(script: Path) -> Crew:
    return _crews.setdefault(script, Crew())


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _why(end: int, limits: Limits) -> str:
    if end == LATE:
        return f"it was still running after {limits.patience:g} seconds"
    if end == UNMADE:
        return "no process could be started for it: there are too many"
    if end == LONG:
        return f"its answer has more than {limits.answer:,} bytes"
    return f"it took more than {limits.seconds} seconds or {limits.megabytes} MiB"


def _read(given: bytes) -> dict[str, Any]:
    """An answer. Whoever broke out of a sandbox may have written it."""
    try:
        answer = json.loads(given)
    except (ValueError, RecursionError):
        answer = None
    return answer if isinstance(answer, dict) else {"error": "it gave no answer"}


def _disown() -> None:
    """At the end of this process, and in a fork of it, which starts processes of its own."""
    for crew in list(_crews.values()):
        crew.disown()
    _crews.clear()


atexit.register(_disown)
with contextlib.suppress(AttributeError):  # Windows, where nothing forks
    os.register_at_fork(after_in_child=_disown)
