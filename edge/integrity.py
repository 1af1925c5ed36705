"""Whether an artifact's files are what its manifest says, found once a change and not at each load.

A file that was hashed is remembered by its size, its time of change and its inode, in `EDGE_HOME`:
the next load of an unchanged artifact costs one look at each file.
"""

import json
from contextlib import suppress
from pathlib import Path

from edge.artifact import Artifact, sha256
from edge.errors import Damaged
from edge.home import home

_LIMIT = 4096  # entries kept


def check(artifact: Artifact) -> None:
    """Refuse an artifact one of whose files is not the one that was converted."""
    known = _known()
    before = len(known)
    for name, wanted in artifact.manifest.files.items():
        file = artifact.folder / name
        stamp = _stamp(file)
        if known.get(stamp) == wanted:
            continue
        if sha256(file) != wanted:
            raise Damaged(
                f"{file} is not the file that was converted: its hash differs from edge.json",
                fix="convert again, or give --unchecked if you changed it yourself",
            )
        known[stamp] = wanted
    if len(known) > before:
        _remember(known)


def _stamp(file: Path) -> str:
    status = file.stat()
    return f"{file.resolve()} {status.st_size} {status.st_mtime_ns} {status.st_ino}"


def _file() -> Path:
    return home() / "checked.json"


def _known() -> dict[str, str]:
    """What was hashed before; a lost or broken memory only costs time."""
    try:
        found = json.loads(_file().read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def _remember(known: dict[str, str]) -> None:
    file = _file()
    partial = file.with_suffix(".partial")
    with suppress(OSError):  # a home that cannot be written: every load hashes
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(dict(list(known.items())[-_LIMIT:])))
        partial.replace(file)
