"""A newcomer adds a method: one file in a copy of the tree, and the command line has it wherever a target
holds what its codes mean; elsewhere it is refused by name.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT, dividing, environment, nothing_left, tiny

from edge import targets
from edge.quant.methods import methods

# Floats of four bits with a sign, two of exponent and one of fraction: QLoRA's FP4.
LEVELS = '''"""Levels of a four-bit float."""

from functools import partial

from edge.quant.bounds import by_levels
from edge.quant.levels import quantize
from edge.quant.methods import Method, grid

HALF = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
LEVELS = (*(-value for value in reversed(HALF)), *HALF)
METHOD = Method(
    name="e2m1",
    schemes=grid("e2m1", bits=(4,), zeros=("levels",)),
    quantize=partial(quantize, levels=LEVELS),
    bound=by_levels,
    levels=LEVELS,
)
'''
# Integers as `rtn` makes them, of other scales: what every target holds.
INTEGERS = '''"""Round to nearest, the end that has no code chosen by what is lost."""

import numpy as np

from edge.quant.bounds import by_steps
from edge.quant.methods import Method, grid
from edge.quant.rtn import in_groups
from edge.quant.tensor import QTensor, rounded


def quantize(weights, scheme):
    """weights [N, K] -> codes and scales, all positive or all negative."""
    half, grouped = 1 << (scheme.bits - 1), in_groups(weights, scheme)
    made = []
    for sign in (1, -1):
        scales = rounded(np.float32(sign / half) * np.abs(grouped).max(axis=2), scheme.number)
        steps = np.rint(grouped / np.where(scales, scales, 1)[:, :, None]) + half
        codes = np.clip(steps, 0, 2 * half - 1).astype(np.uint8).reshape(len(weights), -1)
        made.append(QTensor(codes, scales, scheme, weights.shape[1]))
    return min(made, key=lambda one: float(np.square(one.dequantize() - weights).sum()))


METHOD = Method(
    name="sign2",
    schemes=grid("sign2", bits=(4, 8), zeros=("middle",)),
    quantize=quantize,
    bound=by_steps,
)
'''


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source tree with two files more; all others are links to it."""
    folder = tmp_path_factory.mktemp("tree")
    for name in ("converters", "runtimes", "models.yaml", "tests", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    for place in ("edge", "edge/quant"):
        (folder / place).mkdir()
        for file in (ROOT / place).iterdir():
            if file.name not in ("quant", "__pycache__"):
                (folder / place / file.name).symlink_to(file)
    for name, text in {"e2m1": LEVELS, "sign2": INTEGERS}.items():
        file = folder / "edge/quant" / f"{name}.py"
        assert not file.is_symlink(), f"the project has a method {name}: call this one otherwise"
        file.write_text(text)
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("source") / "it", "llama", **dividing("llama"))


def python(tree: Path, *args: object) -> subprocess.CompletedProcess[str]:
    """A process that sees the newcomer's tree alone."""
    return subprocess.run(
        [sys.executable, *map(str, args)],
        cwd=tree,
        env=environment(tree),
        capture_output=True,
        text=True,
        check=False,
    )


def edge(tree: Path, *args: object) -> subprocess.CompletedProcess[str]:
    return python(tree, "-m", "edge", *args)


HELD = [
    *(("e2m1-g32-fp16", target) for target in ("coreml", "torch")),
    *(("sign2-int4-g32-fp16", target) for target in targets.names("converters")),
]


@pytest.mark.parametrize(("recipe", "target"), HELD)
def test_it_converts_and_is_proved_where_its_codes_are_held(
    recipe: str, target: str, tree: Path, source: Path, tmp_path: Path
) -> None:
    if target == "gguf":
        pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    out = tmp_path / "it"
    made = edge(tree, "convert", source, "--to", target, "--quant", recipe, "-o", out)
    assert made.returncode == 0, made.stderr
    proved = edge(tree, "verify", out, "--against", source, "--tokens", 12, "--json")
    assert proved.returncode == 0, proved.stdout + proved.stderr
    manifest = json.loads((out / "edge.json").read_text())
    assert manifest["recipe"] == recipe
    assert manifest["verified"]["passed"]
    farthest = manifest["verified"]["farthest_matrix"]
    assert 0.01 < farthest["error"] < farthest["bound"]


@pytest.mark.parametrize("target", sorted({*targets.names("converters")} - {"coreml", "torch"}))
def test_it_is_refused_by_name_elsewhere(
    target: str, tree: Path, source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "it"
    made = edge(tree, "convert", source, "--to", target, "--quant", "e2m1", "-o", out)
    assert made.returncode == 3
    assert f"{target} cannot hold " in made.stderr
    assert "as e2m1-g32: it holds" in made.stderr
    assert "fix: use " in made.stderr
    assert nothing_left(out)


def test_its_law_is_tested_at_once(tree: Path) -> None:
    """The property tests of methods find it, too."""
    ran = python(
        tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/property/test_methods.py",
        "-k", "(e2m1 or sign2) and (near or mean or past or cut)",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout
    assert ran.stdout.split()[0] == 8 * ".", "two methods, four laws"


def test_what_it_does_not_make_is_refused_in_its_own_words(tree: Path, source: Path) -> None:
    for recipe, problem in (("e2m1-g48", "groups of 48"), ("sign2-int5", "5 bits")):
        made = edge(tree, "convert", source, "--quant", recipe, "--dry-run")
        assert made.returncode == 2
        assert problem in made.stderr
        assert f"with {recipe.split('-')[0]} use " in made.stderr


def test_it_is_listed_at_once(tree: Path) -> None:
    listed = json.loads(edge(tree, "list", "--recipes", "--json").stdout)["recipes"]
    rows = {row["method"]: row for row in listed}
    assert {*methods(), "e2m1", "sign2"} == set(rows)
    assert rows["sign2"]["recipe"] == "sign2-int4-g32"
    assert (rows["e2m1"]["recipe"], rows["e2m1"]["groups"]) == ("e2m1-g32", [32, 64, 128])
    told = edge(tree, "list", "--recipes").stdout
    assert "e2m1-g32" in told
