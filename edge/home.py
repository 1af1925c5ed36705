"""Where edge keeps what it makes for the user: `EDGE_HOME`, or the platform's folder for data."""

import os
from pathlib import Path

from platformdirs import user_data_path


def home() -> Path:
    """The folder; it may not exist yet."""
    given = os.environ.get("EDGE_HOME")
    return Path(given).expanduser() if given else user_data_path("edge", appauthor=False)


def checkpoints() -> Path:
    """Checkpoints that `edge pull` fetched, each under its id."""
    return home() / "checkpoints"


def artifacts() -> Path:
    """Artifacts that `edge run` made on first use."""
    return home() / "artifacts"
