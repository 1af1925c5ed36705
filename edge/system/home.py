"""Where edge keeps what it makes for the user: `EDGE_HOME`, or the platform's folder for data."""

import os
from pathlib import Path

from platformdirs import user_data_path

from edge.errors import EdgeError


def home() -> Path:
    """The folder; it may not exist yet."""
    given = os.environ.get("EDGE_HOME")
    try:
        place = Path(given) if given else user_data_path("edge", appauthor=False)
        place = place.expanduser()  # which the platform's may still need
    except RuntimeError:  # no HOME, and no entry among the system's users
        raise EdgeError("this user has no home folder", fix="set EDGE_HOME to a folder") from None
    if place.exists() and not place.is_dir():
        raise EdgeError(
            f"edge keeps things in {place}, which is a file", fix="set EDGE_HOME to a folder"
        )
    return place


def checkpoints() -> Path:
    """Checkpoints that `edge pull` fetched, each under its id."""
    return home() / "checkpoints"


def artifacts() -> Path:
    """Artifacts that `edge run` made on first use."""
    return home() / "artifacts"
