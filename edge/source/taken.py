"""A model that is published as a file of weights alone: the user's copy, with the config that it lacks, becomes
a checkpoint of this machine.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from edge.errors import EdgeError
from edge.files.hashing import sha256
from edge.source.checkpoint import Checkpoint
from edge.source.registry import Entry


def taken_in(entry: Entry | None, file: Path | None) -> dict[str, Any]:
    """Copy a file of weights; refuses one whose tensors are not the model's, and leaves nothing then."""
    if entry is None or entry.url is None or entry.config is None:
        raise EdgeError(
            "only a model that is published as a file alone takes --file", fix="leave it out"
        )
    if file is None:
        raise EdgeError(f"{entry.id} lies on no hub", fix=entry.way)
    if not file.is_file():
        raise EdgeError(f"there is no file {file}", fix=f"get {entry.url}")
    if entry.here():
        raise EdgeError(f"{entry.id} is here already", fix=f"edge rm {entry.id}")
    partial = entry.folder.with_name(f".{entry.id}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        (partial / "config.json").write_text(json.dumps(dict(entry.config), indent=1) + "\n")
        shutil.copyfile(file, partial / "pytorch_model.pt")
        with Checkpoint.open(partial):  # its tensors are those of its config
            digest = sha256(partial / "pytorch_model.pt")
        partial.rename(entry.folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return {"path": str(entry.folder), "source": entry.url, "files": {"pytorch_model.pt": digest}}
