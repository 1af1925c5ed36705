"""A run is the same by one process and by two, which torchrun starts: on CPUs, over gloo."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import environment
from training import CURRICULA, on_stories, on_text, speaking, texts

from edge.errors import EdgeError, Unsupported
from edge.source.checkpoint import Checkpoint
from edge.train import recipe as recipes
from edge.train.adapter import AdapterRecipe
from edge.train.recipe import NONE, TrainingRecipe
from edge.train.rows import KINDS

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

from edge.train.course import STATE  # noqa: E402
from edge_runtimes.torch import ranks  # noqa: E402
from edge_runtimes.torch.loop import begun  # noqa: E402
from edge_runtimes.torch.ranks import Ranks  # noqa: E402
from edge_runtimes.torch.run import Run  # noqa: E402


def written(recipe: TrainingRecipe, file: Path) -> Path:
    """A recipe as a file."""
    name = next(name for name, kind in KINDS.items() if isinstance(recipe.rows, kind))
    table = {key: _given(value) for key, value in dataclasses.asdict(recipe).items()}
    table[name] = table.pop("rows")
    table = _given(table)
    file.write_text(yaml.safe_dump(json.loads(json.dumps(table))))
    assert recipes.read(file) == recipe
    return file


def _given(value: Any) -> Any:
    """Without what a recipe leaves out."""
    if not isinstance(value, dict):
        return value
    return {key: one for key, one in value.items() if one not in (None, ())}


def torchrun(
    recipe: Path, out: Path, *more: str, count: int = 2
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(count)]
    command += ["--master-port", "0", "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    return subprocess.run(
        [*command, "-m", "edge", "train", str(recipe), "-o", str(out), "--json", *more],
        capture_output=True,
        text=True,
        timeout=200,
        env=environment() | {"OMP_NUM_THREADS": "1", "EDGE_DEVICE": "cpu", "EDGE_COMPILE": "0"},
        check=False,
    )


def finished(run: Run) -> dict[str, Any]:
    while run.at.tokens < run.total:
        run.step()
    run.save()
    return load_file(run.out / STATE)


def alike(one: dict[str, Any], two: dict[str, Any]) -> None:
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=1e-6)


def test_two_processes_train_on_texts_as_one(tmp_path: Path) -> None:
    """From their first step; only the first process writes and answers."""
    source = speaking(tmp_path / "start", num_hidden_layers=3)
    recipe = on_text(texts(tmp_path), source, steps=6, splits=2)
    done = torchrun(written(recipe, tmp_path / "recipe.yaml"), tmp_path / "two")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"path": str(tmp_path / "two" / "model")}
    assert {file.name for file in (tmp_path / "two").iterdir()} == {STATE, "model", "log.jsonl"}
    one = Run(recipe, tmp_path / "one", compiled=False)
    alike(load_file(tmp_path / "two" / STATE), finished(one))
    with Checkpoint.open(tmp_path / "two" / "model") as made:
        for name, weight in one.weights.items():
            torch.testing.assert_close(
                torch.from_numpy(made[name]), weight.detach(), rtol=1e-4, atol=1e-6
            )


def test_two_processes_train_an_adapter_as_one(tmp_path: Path) -> None:
    source = speaking(tmp_path / "start")
    adapter = AdapterRecipe(rank=4, alpha=8.0, dora=True, dropout=0.1)
    recipe = on_text(texts(tmp_path), source, steps=4, splits=2, skip=NONE, adapter=adapter)
    done = torchrun(written(recipe, tmp_path / "recipe.yaml"), tmp_path / "two")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"path": str(tmp_path / "two" / "adapter")}
    one = finished(Run(recipe, tmp_path / "one", compiled=False))
    alike(load_file(tmp_path / "two" / STATE), one)


def test_two_processes_go_on_with_what_one_began(tmp_path: Path) -> None:
    recipe = on_stories(
        steps=6,
        splits=2,
        precision="fp32",
        skip=CURRICULA["all"],
        rates=dataclasses.replace(on_stories().rates, optimizer="adam"),
    )
    whole = finished(Run(recipe, tmp_path / "whole", compiled=False))
    begun = Run(recipe, tmp_path / "run", compiled=False)
    for _ in range(2):
        begun.step()
    begun.save()
    done = torchrun(written(recipe, tmp_path / "recipe.yaml"), begun.out, "--resume")
    assert done.returncode == 0, done.stderr
    alike(load_file(begun.out / STATE), whole)


def test_a_run_ends_when_any_process_is_asked_to(tmp_path: Path) -> None:
    run = Run(on_stories(), tmp_path / "run", compiled=False)
    run.asked = True
    run.go()
    assert (run.at.step, run.stopped) == (1, True)
    again = Run(on_stories(), tmp_path / "run", compiled=False)
    again.restore()
    assert again.at.step == 1


def test_processes_take_whole_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("EDGE_DEVICE", "cpu")
    taken = []
    for rank in range(4):
        monkeypatch.setenv("RANK", str(rank))
        taken += list(Ranks().mine(8))
    assert taken == list(range(8))
    with pytest.raises(Unsupported, match="4 processes cannot share the 6 splits"):
        Ranks().mine(6)


def test_a_process_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("EDGE_DEVICE", "cuda")
    with pytest.raises(EdgeError, match="process 3 of this machine has no GPU: torch sees 2"):
        Ranks()
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert Ranks().device == torch.device("cuda", 1)


def test_a_run_that_only_some_processes_see_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = Ranks()
    some.count = 2
    monkeypatch.setattr(Ranks, "total", lambda *_: [1.0])
    with pytest.raises(EdgeError, match="1 of 2 processes see the run"):
        begun(tmp_path, some)


def test_buckets_hold_every_tensor_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "BUCKET", 100)
    sizes = (3, 10, 90, 1, 1, 24, 1)
    tensors = [torch.zeros(size) for size in sizes]
    buckets = list(ranks._buckets(tensors))
    assert [tensor for bucket in buckets for tensor in bucket] == tensors
    assert [[len(t) for t in bucket] for bucket in buckets] == [[3, 10], [90], [1, 1], [24, 1]]
