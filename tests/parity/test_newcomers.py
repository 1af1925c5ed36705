"""What adding a family touches: a file in edge/families, one in tests/cases, an entry of models.yaml. And a
network that is no decoder: a file in edge/nn, one in edge/families, one in tests/towers.

In a copy of this tree, with nothing else written, the project's own tests find the newcomers, convert tiny
checkpoints of theirs to each target and prove them.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT, environment

FAMILIES = ("nova", "lyra", "vega")
NETWORK = {  # a network that the project has not
    "mixer.py": "edge/nn/mixer.py",
    "mixer_family.py": "edge/families/mixer.py",
    "mixer_tower.py": "tests/towers/mixer.py",
}
NEWCOMERS = Path(__file__).parents[1] / "newcomers"
KEPT = ("edge", "converters", "runtimes", "tests", "docs", "models.yaml", "pyproject.toml")
# Tests that know every family by itself, and the words of those that are asked of the new ones.
ASKED = {
    "tests/parity/test_references.py": "a_family_is_its_reference or every_family",
    "tests/parity/test_matrix.py": "refused or fp32 or (int4 and not asym and not g32 and not g64)",
    "tests/parity/test_fields.py": "",
    "tests/unit/test_names.py": "",
    "tests/unit/test_registry.py": "",
    "tests/unit/test_artifact.py": "reads_back",
    "tests/unit/test_mlx_folder.py": "",
    "tests/property/test_spec_json.py": "",
    "tests/parity/test_mlx.py": "",
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this tree, and the newcomers in it."""
    copy = tmp_path_factory.mktemp("newcomers") / "tree"
    copy.mkdir()
    for name in KEPT:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "newcomers")
            shutil.copytree(ROOT / name, copy / name, ignore=ignored, symlinks=True)
        else:
            shutil.copyfile(ROOT / name, copy / name)
    for family in FAMILIES:
        shutil.copyfile(NEWCOMERS / f"{family}.py", copy / "edge" / "families" / f"{family}.py")
        shutil.copyfile(NEWCOMERS / f"{family}_case.py", copy / "tests" / "cases" / f"{family}.py")
    for name, place in NETWORK.items():
        shutil.copyfile(NEWCOMERS / name, copy / place)
    with (copy / "models.yaml").open("a") as registry:
        registry.write((NEWCOMERS / "models.yaml").read_text())
    return copy


def ran(tree: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """pytest in the copy, which leaves nothing there."""
    home = {**environment(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-o",
        "addopts=",
        "-p",
        "no:cacheprovider",
        *words,
    ]
    return subprocess.run(
        command, cwd=tree, env=home, capture_output=True, text=True, check=False, timeout=280
    )


def test_a_family_is_one_file_a_case_and_an_entry(tree: Path) -> None:
    changed = {
        str(path.relative_to(tree))
        for path in tree.rglob("*")
        if path.is_file() and not same(path, ROOT / path.relative_to(tree))
    }
    added = {
        f"{folder}/{name}.py" for folder in ("edge/families", "tests/cases") for name in FAMILIES
    }
    assert changed == {"models.yaml", *added, *NETWORK.values()}


def same(path: Path, original: Path) -> bool:
    return original.is_file() and path.read_bytes() == original.read_bytes()


@pytest.mark.parametrize("file", ASKED)
def test_the_tests_of_families_find_it_and_pass(tree: Path, file: str) -> None:
    """On each target in full and in low precision; what llama.cpp cannot compute is refused by name."""
    words = f" and ({ASKED[file]})" if ASKED[file] else ""
    done = ran(tree, file, "-k", f"({' or '.join(FAMILIES)}){words}")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= len(FAMILIES)


def test_a_network_is_one_file_and_runs_on_every_target(tree: Path) -> None:
    """In full and in low precision: converted, proved, and equal to plain torch."""
    words = "(mixer and not published) or every_family"
    done = ran(tree, "tests/parity/test_towers.py", "-k", words)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 4 * 4 + 2  # targets, precisions; its reference, and who knows it


@pytest.mark.parametrize("left_out", ["tests/cases/nova.py", "models.yaml"])
def test_what_is_left_out_is_missed(tree: Path, left_out: str) -> None:
    """A family without a reference, a published config without an entry."""
    content = (tree / left_out).read_bytes()
    try:
        (tree / left_out).unlink()
        if (ROOT / left_out).is_file():
            shutil.copyfile(ROOT / left_out, tree / left_out)
        done = ran(
            tree, "tests/parity/test_references.py", "tests/unit/test_registry.py", "-k", "every"
        )
        assert done.returncode == 1, done.stdout[-2000:]
    finally:
        (tree / left_out).write_bytes(content)
