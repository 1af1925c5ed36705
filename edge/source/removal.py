"""What edge keeps of a model, removed: its checkpoint, its pin, and artifacts made from it."""

import shutil
from pathlib import Path
from typing import Any

from edge.errors import EdgeError
from edge.source.naming import kept_name
from edge.source.pull import forget, is_source
from edge.source.registry import nearest
from edge.system.home import artifacts, checkpoints, home


def remove(model: str) -> dict[str, Any]:
    """By an id, a repository, or the name of a folder that was kept."""
    if not (is_source(model) or is_source(f"any/{model}")):  # as a path it may be everything
        raise nearest(model)
    name = kept_name(model)
    folders = [checkpoints() / name, *artifacts().glob(f"{name}-*")]
    found = [folder for folder in folders if folder.is_dir() and contains(folder)]
    freed = sum(file.lstat().st_size for folder in found for file in folder.rglob("*"))
    for folder in found:
        shutil.rmtree(folder)
    if not forget(name) and not found:
        raise EdgeError(f"nothing is kept of {model!r}", fix="`edge list` shows what there is")
    return {"removed": [str(folder) for folder in found], "bytes": freed}


def contains(folder: Path) -> bool:
    """Whether a folder lies where edge keeps things: nothing else is ever removed."""
    return folder.resolve().is_relative_to(home().resolve())
