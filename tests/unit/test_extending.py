"""What docs/extending.md says, done in a copy of the tree: files are added, and nothing else is touched."""

import ast
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import CONFIGS, ROOT, tiny
from test_architecture import RULES, Rule

import edge.decode

ADDED = ROOT / "tests" / "extending"
FILES = sorted(path.relative_to(ADDED) for path in ADDED.rglob("*.py"))
TARGET = "doubles"
MODEL = ROOT / "edge" / "models" / "edge-stories"
LONG = 120  # seconds; a process starts several times


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project without its packaged model, and with what was added."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("edge", "converters", "runtimes"):
        ignored = shutil.ignore_patterns("__pycache__", "edge-stories")
        shutil.copytree(ROOT / name, tree / name, ignore=ignored)
    shutil.copy(ROOT / "models.yaml", tree)
    (tree / "names").mkdir()  # that these folders have where they are installed
    for name in ("converters", "runtimes"):
        (tree / "names" / f"edge_{name}").symlink_to(tree / name)
    for file in FILES:
        assert not (tree / file).exists(), f"{file} is added, not changed"
        (tree / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ADDED / file, tree / file)
    return tree


def python(tree: Path, *args: str | Path) -> subprocess.CompletedProcess[str]:
    """Where this copy is the project, and the tests' own helpers can be had."""
    paths = os.pathsep.join(map(str, (tree, tree / "names", ROOT / "tests")))
    return subprocess.run(
        [sys.executable, *map(str, args)],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )


def command(tree: Path, *args: str | Path) -> subprocess.CompletedProcess[str]:
    return python(tree, "-m", "edge", *args)


def said(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    assert done.returncode in (0, 1), done.stderr
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_what_is_added_keeps_the_rules(rule: Rule) -> None:
    for file in FILES:
        assert not list(rule(file, ast.parse((ADDED / file).read_text()))), file


def test_a_target_is_added_by_a_converter_and_a_runtime(tree: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "onnx"
    for target, folder in ((TARGET, out), ("onnx", other)):
        done = command(tree, "convert", MODEL, "--to", target, "--quant", "fp32", "-o", folder)
        assert done.returncode == 0, done.stderr
    proof = said(command(tree, "verify", out, "--against", MODEL, "--tokens", "12", "--json"))
    assert proof["passed"]
    assert 0 < float(str(proof["logits_error"])) < 1e-5, "float64 is near float32, and not it"
    runs = [
        command(tree, "run", folder, "Once upon a time", "--max-tokens", "12", "--json")
        for folder in (out, other)
    ]
    answers = [said(done)["tokens"] for done in runs]
    assert len(list(answers[0])) == 12  # type: ignore[call-overload]
    assert answers[0] == answers[1], "the same model, on another target"
    assert said(command(tree, "inspect", out, "--json"))["target"] == TARGET


def test_a_proof_of_the_added_target_can_fail(tree: Path, tmp_path: Path) -> None:
    source, out = tiny(tmp_path / "source"), tmp_path / "out"
    assert command(tree, "convert", source, "--to", TARGET, "--quant", "fp32", "-o", out).stdout
    file = out / "weights.safetensors"
    data = bytearray(file.read_bytes())
    data[-2] ^= 1  # of the last weight
    file.write_bytes(data)
    done = command(tree, "verify", out, "--against", source, "--tokens", "20", "--json")
    assert done.returncode == 1
    assert said(done)["differing_bytes"] == 1


def test_the_added_target_refuses_what_it_does_not_hold(tree: Path, tmp_path: Path) -> None:
    source = tiny(tmp_path / "source")
    done = command(
        tree, "convert", source, "--to", TARGET, "--quant", "int4", "-o", tmp_path / "out"
    )
    assert done.returncode == 3
    assert f"{TARGET} cannot hold embed as rtn-int4-g32: it holds fp32" in done.stderr
    assert not (tmp_path / "out").exists()


def test_every_family_runs_on_the_added_target(tree: Path, tmp_path: Path) -> None:
    """None of them is known to it."""
    (tmp_path / "out").mkdir()
    done = python(tree, ROOT / "tests" / "every_family.py", TARGET, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(CONFIGS)


class Words:
    """`edge.protocols.Decoder`: what comes next depends on the last two tokens, by a table of chance."""

    def __init__(self, seed: int) -> None:
        self.seed, self.tokens = seed, list[int]()

    @property
    def length(self) -> int:
        return len(self.tokens)

    def prefill(self, tokens: Sequence[int]) -> np.ndarray:
        self.tokens += tokens
        return self.after(self.tokens)

    def rewind(self, length: int) -> None:
        del self.tokens[length:]

    def after(self, tokens: Sequence[int]) -> np.ndarray:
        return np.random.default_rng((self.seed, *tokens[-2:])).normal(size=4).astype(np.float32)


@pytest.fixture(scope="module")
def search() -> Callable[..., tuple[int, ...]]:
    """The added algorithm, where the package would hold it."""
    with pytest.MonkeyPatch.context() as patch:
        folders = [*edge.decode.__path__, str(ADDED / "edge" / "decode")]
        patch.setattr(edge.decode, "__path__", folders)
        from edge.decode import beams  # type: ignore[attr-defined]
    found: Callable[..., tuple[int, ...]] = beams.search
    return found


def chance(words: Words, prompt: Sequence[int], answer: Sequence[int]) -> float:
    """The product of an answer's probabilities, a token at a time."""
    total = 1.0
    for at, token in enumerate(answer):
        powers = [math.exp(x) for x in words.after([*prompt, *answer[:at]])]
        total *= powers[token] / sum(powers)
    return total


PROMPTS = st.lists(st.integers(0, 3), min_size=1, max_size=3)


@given(seed=st.integers(0, 10**6), prompt=PROMPTS)
def test_the_law_of_an_added_algorithm(search: Any, seed: int, prompt: list[int]) -> None:
    """As many beams as there are answers find the likeliest of all, and one is greedy."""
    words, size = Words(seed), 3
    likeliest = max(product(range(4), repeat=size), key=lambda it: chance(words, prompt, it))
    assert search(words, prompt, beams=4**size, tokens=size) == likeliest
    greedy: list[int] = []
    for _ in range(size):
        greedy.append(int(words.after([*prompt, *greedy]).argmax()))
    assert search(words, prompt, beams=1, tokens=size) == tuple(greedy)
