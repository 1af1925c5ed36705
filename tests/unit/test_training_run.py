"""A run that was stopped goes on as if it had not been; what it writes is a checkpoint."""

import dataclasses
import json
from pathlib import Path

import pytest

from edge.errors import EdgeError
from edge.train import recipe as recipes

torch = pytest.importorskip("torch")

from runtimes.torch.optim import orthogonal  # noqa: E402
from runtimes.torch.train import STATE, Run, train  # noqa: E402

EXAMPLE = recipes.read(recipes.EXAMPLE)
TINY = dataclasses.replace(
    EXAMPLE,
    tokens=10_000,
    shape=recipes.Shape(width=32, layers=2, heads=1, kv_heads=1, ffn_width=32, context=128),
    stages=(dataclasses.replace(EXAMPLE.stages[1], batch=4),),
)


def start(out: Path) -> Run:
    out.mkdir()
    run = Run(TINY, out)
    run.compiled = False  # a compiler is not what is tested
    return run


def test_a_resumed_run_is_the_same_run(tmp_path: Path) -> None:
    whole = start(tmp_path / "whole")
    for _ in range(4):
        whole.step()

    first = start(tmp_path / "halves")
    for _ in range(2):
        first.step()
    first.save()
    second = Run(TINY, tmp_path / "halves")
    second.compiled = False
    second.restore()
    for _ in range(2):
        second.step()

    assert second.at == whole.at
    for name, weight in whole.weights.items():
        assert torch.equal(weight, second.weights[name]), name


def test_a_run_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / STATE).touch()
    with pytest.raises(EdgeError, match="already holds a run"):
        train(recipes.EXAMPLE, tmp_path)


def test_what_a_run_writes_is_a_checkpoint(tmp_path: Path) -> None:
    folder = start(tmp_path / "run").export()
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["Phi3ForCausalLM"]
    assert config["pad_token_id"] < config["vocab_size"]
    for name in ("model.safetensors", "tokenizer.json", "generation_config.json"):
        assert (folder / name).stat().st_size > 0


@pytest.mark.parametrize("shape", [(2, 16, 16), (1, 48, 16), (3, 16, 48)])
def test_orthogonal_flattens_singular_values(shape: tuple[int, int, int]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonal(x))
    assert values.min() > 0.3
    assert values.max() < 1.4


def test_a_recipe_with_an_unknown_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(recipes.EXAMPLE.read_text() + "\nspeed: 9\n")
    with pytest.raises(EdgeError, match="speed"):
        recipes.read(path)
    with pytest.raises(EdgeError, match="there is no recipe"):
        recipes.read(tmp_path / "none.yaml")
