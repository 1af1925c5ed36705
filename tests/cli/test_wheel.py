"""What a user installs: everything that is needed lies in the wheel, and it works from there."""

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support import ROOT

NAMES = {"edge": "edge", "converters": "edge_converters", "runtimes": "edge_runtimes"}
PACKAGED = ROOT / "edge" / "models" / "edge-stories"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: building leaves folders in the tree that it builds."""
    if not importlib.util.find_spec("setuptools"):
        pytest.skip("setuptools is not installed")
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"
    tree.mkdir()
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.split("\n"):
        if name and (ROOT / name).is_file() and not name.startswith("tests/"):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_bytes((ROOT / name).read_bytes())
    build = ["pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(folder), "."]
    done = subprocess.run(
        [sys.executable, "-m", *build], cwd=tree, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (found,) = folder.glob("*.whl")
    return found


def test_what_the_wheel_holds(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    sources = {
        str(Path(name, path.relative_to(ROOT / folder)))
        for folder, name in NAMES.items()
        for path in (ROOT / folder).rglob("*.py")
    }
    assert sources <= names
    assert "edge/models.yaml" in names
    assert not [name for name in names if name.startswith(("tests", "bench", "apps"))]
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == set(NAMES.values()), "no name of its own that may be anybody's"


def test_the_wheel_holds_the_packaged_model(wheel: Path) -> None:
    if not (PACKAGED / "config.json").is_file():
        pytest.skip("the packaged model is not there yet")
    with zipfile.ZipFile(wheel) as file:
        sizes = {info.filename: info.file_size for info in file.infolist()}
    folder = "edge/models/edge-stories/"
    assert {folder + path.name for path in PACKAGED.iterdir()} <= set(sizes)
    assert sum(size for name, size in sizes.items() if name.startswith(folder)) <= 12e6
    reader = {
        name: size for name, size in sizes.items() if name.startswith("edge/models/edge-reads/")
    }
    assert "edge/models/edge-reads/model.safetensors" in reader
    assert sum(reader.values()) <= 9e6


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """The wheel unpacked where nothing else of the project is, as an installer does."""
    folder = wheel.parent / "site"
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder)
    return folder


def call(installed: Path, home: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from edge.command.cli import main; main()", *args],
        cwd=home,
        env={**os.environ, "PYTHONPATH": str(installed), "EDGE_HOME": str(home / "home")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_installed_wheel_lists_its_models(installed: Path, tmp_path: Path) -> None:
    done = call(installed, tmp_path, "list", "--json")
    assert done.returncode == 0, done.stderr
    models = json.loads(done.stdout)["models"]
    assert {"edge-stories", "phi-3-mini-4k"} <= {model["id"] for model in models}
    where = subprocess.run(
        [sys.executable, "-c", "import edge; print(edge.__file__)"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.startswith(str(installed)), "the wheel is what was run"


def test_the_installed_wheel_runs_its_model(installed: Path, tmp_path: Path) -> None:
    if not (PACKAGED / "config.json").is_file():
        pytest.skip("the packaged model is not there yet")
    done = call(installed, tmp_path, "run", "Once upon a time", "--max-tokens", "8", "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout.splitlines()[-1])["tokens"]) == 8


def test_the_entry_point_is_there(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        (name,) = [n for n in file.namelist() if n.endswith("entry_points.txt")]
        assert "edge = edge.command.cli:main" in file.read(name).decode()
