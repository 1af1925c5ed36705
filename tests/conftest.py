"""What every test may ask for: shared data, and a home of its own."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def assets() -> Path:
    """Real weights, tokenizers and texts: `EDGE_ASSETS`, or the folder beside the project."""
    folder = Path(os.environ.get("EDGE_ASSETS", ROOT.parent / "shared" / "assets"))
    if not folder.is_dir():
        pytest.skip(f"shared data is not at {folder}: set EDGE_ASSETS")
    return folder


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test reads or writes what the user keeps."""
    monkeypatch.setenv("EDGE_HOME", str(tmp_path / "home"))
    yield
