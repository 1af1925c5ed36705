"""What a run writes is the mean of its last checkpoints, and one that was stopped writes the same."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from test_ranks import alike, torchrun, written
from training import on_text, speaking, texts

from edge.errors import EdgeError
from edge.source.checkpoint import Checkpoint
from edge.train import recipe as recipes
from edge.train.recipe import NONE, Average, TrainingRecipe

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

from edge_runtimes.torch.averaging import Averaging  # noqa: E402
from edge_runtimes.torch.loop import STATE  # noqa: E402
from edge_runtimes.torch.run import Run  # noqa: E402

BATCH = 4 * 24  # tokens of a step


def recipe(folder: Path, **changes: Any) -> TrainingRecipe:
    if not (folder / "start").exists():
        speaking(folder / "start", num_hidden_layers=2)
    average = Average(last=3, every=2 * BATCH)
    return on_text(texts(folder), folder / "start", steps=8, average=average, **changes)


def test_what_is_written_is_the_mean_of_the_last(tmp_path: Path) -> None:
    """After steps 4, 6 and 8, however the run was stopped; the state has the last weights, not the mean."""
    made = recipe(tmp_path)
    whole = Run(made, tmp_path / "whole", compiled=False)
    kept = []
    while whole.at.tokens < whole.total:
        whole.step()
        if whole.at.step in (4, 6, 8):
            kept.append({name: weight.detach().clone() for name, weight in whole.weights.items()})
    folder = whole.export()
    assert folder is not None
    with Checkpoint.open(folder) as checkpoint:
        for name in whole.weights:
            mean = torch.stack([weights[name] for weights in kept]).mean(0)
            torch.testing.assert_close(torch.from_numpy(checkpoint[name]), mean)
            assert torch.equal(whole.weights[name], kept[-1][name])
    wanted = (folder / "model.safetensors").read_bytes()
    for killed in range(1, 8):
        first = Run(made, tmp_path / f"killed-{killed}", compiled=False)
        for _ in range(killed):
            first.step()
        first.save()
        second = Run(made, first.out, compiled=False)
        second.restore()
        while second.at.tokens < second.total:
            second.step()
        again = second.export()
        assert again is not None
        assert (again / "model.safetensors").read_bytes() == wanted


def test_a_run_that_stops_early_writes_what_there_is(tmp_path: Path) -> None:
    """Before any checkpoint of the mean its weights; after some the mean of those."""
    run = Run(recipe(tmp_path), tmp_path / "run", compiled=False)
    kept = []
    for step in range(1, 7):
        run.step()
        folder = run.export()
        assert folder is not None
        kept.append(run.weights["norm"].detach().clone())
        wanted = kept[-1] if step < 5 else (kept[3] + kept[-1 if step == 6 else 3]) / 2
        with Checkpoint.open(folder) as checkpoint:
            torch.testing.assert_close(torch.from_numpy(checkpoint["norm"]), wanted)


@given(st.integers(1, 6), st.floats(0.001, 300), st.integers(1, 1000), st.data())
def test_every_checkpoint_counts_once(
    last: int, every: float, total: int, data: st.DataObject
) -> None:
    """Whatever steps a run takes to its end: as many as there are, the end among them."""
    part = Average(last=last, every=every)
    distance = every * (1 if every >= 1 else total)
    weight = torch.zeros(1)
    if (last - 1) * distance >= total:
        with pytest.raises(EdgeError, match=f"no {last} checkpoints"):
            Averaging(part, {"a": weight}, total)
        return
    made, at, values = Averaging(part, {"a": weight}, total), 0, []
    while at < total:
        step = data.draw(st.integers(1, max(1, total // 3)))
        before, at = at, at + step
        weight += 1
        made.advance(before, at)
        marks = [total - number * distance for number in range(last)]
        values += [float(weight)] * sum(before < mark <= at for mark in marks)
    assert made.passed(at) == last
    assert len(values) == last
    assert float(made.state["average/a"]) == pytest.approx(sum(values) / last, rel=1e-5)


def test_two_processes_average_as_one(tmp_path: Path) -> None:
    made = recipe(tmp_path, splits=2, skip=NONE)
    done = torchrun(written(made, tmp_path / "recipe.yaml"), tmp_path / "two")
    assert done.returncode == 0, done.stderr
    one = Run(made, tmp_path / "one", compiled=False)
    while one.at.tokens < one.total:
        one.step()
    one.save()
    alike(load_file(tmp_path / "two" / STATE), load_file(one.out / STATE))


def test_an_average_that_no_run_has_is_refused(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    for average, what in (
        (Average(last=9, every=BATCH), "no 9 checkpoints"),
        (Average(last=3, every=0.5), "no 3"),
    ):
        with pytest.raises(EdgeError, match=what):
            Run(dataclasses.replace(made, average=average), tmp_path / "run", compiled=False)
    table = yaml.safe_load(written(made, tmp_path / "recipe.yaml").read_text())
    for average, what in (
        ({"last": 3, "every": 0}, "every is 0"),
        ({"last": 0, "every": 5}, "last is 0"),
        ([], "no table"),
    ):
        (tmp_path / "bad.yaml").write_text(yaml.safe_dump(table | {"average": average}))
        with pytest.raises(EdgeError, match=what):
            recipes.read(tmp_path / "bad.yaml")
    assert not (tmp_path / "run").exists()
