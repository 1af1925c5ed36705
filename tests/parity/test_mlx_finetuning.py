"""Adapters that are trained on MLX are those of torch, whose gradients are PEFT's: the same losses, gradients, updates
and files; beside rounded weights, too; and mlx-lm loads what is written.
"""

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Edge
from finetuning import PLAIN, TOKENS, held_of, loss_of, recipe_for
from support import ROOT, checkpoint, converted, dividing
from training import chats, on_rows, on_text, speaking, talking, texts, words

from edge.artifact.manifest import Artifact, recipe_of
from edge.errors import EdgeError, Unsupported
from edge.run import opening
from edge.run.beside import with_adapter
from edge.source.checkpoint import Checkpoint
from edge.train.adapter import AdapterRecipe
from edge.train.course import STATE
from edge.train.origin import origin
from edge.train.recipe import NONE, Average, TrainingRecipe
from edge.train.rows import Chats

torch = pytest.importorskip("torch")
mx = pytest.importorskip("mlx.core")

from edge_runtimes.mlx import finetuned  # noqa: E402
from edge_runtimes.mlx.tuning import TuningRun  # noqa: E402
from edge_runtimes.torch.run import Run  # noqa: E402

KINDS = {
    "lora": PLAIN,
    "dora": replace(PLAIN, dora=True),
    "some": replace(PLAIN, targets=("o_proj", "lm_head")),
}


def plain(folder: Path, family: str, adapter: AdapterRecipe, **changes: Any) -> TrainingRecipe:
    return recipe_for(folder, family, adapter, **{"skip": NONE, "recompute": False} | changes)


def arrays(values: dict[str, Any]) -> dict[str, Any]:
    return {name: mx.array(value.detach().numpy()) for name, value in values.items()}


@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "again"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", ["llama", "phi3", "openelm", "qwen2"])
def test_losses_and_gradients_are_torchs(
    family: str, kind: str, recompute: bool, tmp_path: Path
) -> None:
    if family == "openelm" and kind == "some":
        pytest.skip("it has other names, and no head of its own")
    recipe = plain(tmp_path, family, KINDS[kind], recompute=recompute)
    held, start = held_of(recipe), origin(recipe, Path)
    last = {len(start.spec.layers) - 1: 1.0}
    want = loss_of(held, start.spec, last)
    want.backward()
    run = TuningRun(recipe, tmp_path / "run")
    run.learned = arrays(held.own)
    tokens = TOKENS.numpy()
    batch = run.source.draw(run.at, range(1)).batches[0]
    batch = replace(batch, tokens=tokens, parts=np.ones_like(tokens))
    got, gradients = run.measured(batch, [0, 1], tokens[:, 1:].size)
    assert abs(float(got) - float(want.detach())) < 1e-5
    assert gradients.keys() == held.own.keys()
    for name, weight in held.own.items():
        found, wanted = np.array(gradients[name]), weight.grad.numpy()
        assert np.linalg.norm(found - wanted) < 1e-5 * np.linalg.norm(wanted), name


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_a_run_goes_on_where_torchs_stopped(kind: str, tmp_path: Path) -> None:
    """The state is one file: what one began the other ends, and both end alike."""
    recipe = plain(tmp_path, "llama", replace(KINDS[kind], alpha=4.0), steps=6, splits=2)
    first = Run(recipe, tmp_path / "first", compiled=False)
    for _ in range(3):
        first.step()
    first.save()
    other = TuningRun(recipe, tmp_path / "other")
    shutil.copytree(first.out, other.out)
    other.restore()
    assert other.at == first.at
    other.step()
    first.step()
    for name, weight in first.held.own.items():
        np.testing.assert_allclose(
            np.array(other.learned[name]), weight.detach().numpy(), rtol=2e-4, atol=2e-6
        )
    assert other.at.loss == pytest.approx(first.at.loss, rel=1e-5)
    assert other.at.places == first.at.places
    other.step()
    other.save()
    back = Run(recipe, other.out, compiled=False)
    back.restore()
    assert back.at == other.at
    for name, weight in back.held.own.items():
        assert np.array_equal(np.array(other.learned[name]), weight.detach().numpy())


@pytest.mark.parametrize("kind", ["text", "chats"])
def test_a_run_goes_on_bit_for_bit(kind: str, tmp_path: Path) -> None:
    adapter = replace(KINDS["dora"], dropout=0.2)
    start = talking(tmp_path / "start", "phi3")
    if kind == "text":
        recipe = on_text(texts(tmp_path), start, steps=4, splits=2, adapter=adapter, skip=NONE)
    else:
        rows = Chats(length=40, batch=4, files=(chats(tmp_path / "chats.jsonl"),))
        recipe = on_rows(rows, start, adapter=adapter, skip=NONE, splits=2)
    whole = TuningRun(recipe, tmp_path / "whole")
    while whole.at.tokens < whole.total:
        whole.step()
    first = TuningRun(recipe, tmp_path / "first")
    first.step()
    first.save()
    first.step()
    second = TuningRun(recipe, first.out)
    second.restore()
    while second.at.tokens < second.total:
        second.step()
    files = [run.export() / "adapter_model.safetensors" for run in (whole, second)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert whole.at.step == second.at.step > 2


def test_dropout_drops_a_share_the_same_whoever_asks() -> None:
    x = mx.ones((3, 50, 40))
    drop = finetuned.Drop(0.25, [5, 6, 5])
    once, again = np.array(drop(x, "a")), np.array(drop(x, "a"))
    assert np.array_equal(once, again)
    assert np.array_equal(once[0], once[2])
    assert not np.array_equal(once[0], once[1])
    assert not np.array_equal(once, np.array(drop(x, "b")))
    assert set(np.unique(once).tolist()) == {0.0, np.float32(1 / 0.75)}
    assert abs((once == 0).mean() - 0.25) < 0.02
    assert np.array_equal(np.array(finetuned.Drop(0.0, [])(x, "a")), x)


@pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
def test_beside_an_artifacts_codes(dora: bool, tmp_path: Path) -> None:
    """What it learns there is of the codes' model: gradients are those of torch beside what they mean."""
    source = speaking(tmp_path / "plain", "llama", **dividing("llama"))
    out = converted(tmp_path / "out", source, "rtn-int4-g32", target="mlx")
    artifact = Artifact.open(out)
    rows = opening.read_back(artifact, recipe_of(artifact.manifest))
    with Checkpoint.open(source) as opened:
        tensors: dict[str, np.ndarray] = {}
        for name, place in opened.places.items():
            shape = opened.shape(name)
            by_row = name == "embed"
            made = opened[name] if len(shape) == 1 else rows.rows(name, 0, shape[0], by_row=by_row)
            tensors[place.tensor] = made
    meant = checkpoint(
        tmp_path / "meant", json.loads((source / "config.json").read_text()), tensors
    )
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (meant / file).write_bytes((source / file).read_bytes())
    adapter = replace(PLAIN, dora=dora)
    files = texts(tmp_path)
    recipe = on_text(files, out, adapter=adapter, skip=NONE)
    run = TuningRun(recipe, tmp_path / "run")
    of_meant = on_text(files, meant, adapter=adapter, skip=NONE)
    held = held_of(of_meant)
    want = loss_of(held, origin(of_meant, Path).spec, {1: 1.0})
    want.backward()
    run.learned = arrays(held.own)
    batch = run.source.draw(run.at, range(1)).batches[0]
    batch = replace(batch, tokens=TOKENS.numpy(), parts=np.ones_like(TOKENS.numpy()))
    got, gradients = run.measured(batch, [0, 1], TOKENS[:, 1:].numel())
    assert abs(float(got) - float(want.detach())) < 1e-5
    for name, weight in held.own.items():
        found, wanted = np.array(gradients[name]), weight.grad.numpy()
        assert np.linalg.norm(found - wanted) < 1e-5 * np.linalg.norm(wanted), name


def logits_of(library: Any, folder: Path, adapter: Path | None, ids: list[int]) -> np.ndarray:
    model = library.load(str(folder), adapter_path=None if adapter is None else str(adapter))[0]
    return np.array(model(mx.array([ids]))[0].astype(mx.float32))


@pytest.mark.parametrize("quant", ["fp32", "rtn-int4-g32"])
@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_mlx_lm_loads_what_was_trained(
    kind: str, quant: str, edge: Edge, tmp_path: Path, short_stories: Path
) -> None:
    """By the commands that a user gives: on an artifact, whose logits with the adapter are mlx-lm's, and ours."""
    library = pytest.importorskip("mlx_lm.utils")
    out = converted(tmp_path / "out", short_stories, quant, target="mlx")
    text, rng = tmp_path / "book.txt", random.Random(1)
    text.write_text(" ".join(words(rng) for _ in range(200)))
    table = (ROOT / "edge/train/recipes/lora.yaml").read_text().replace("1_000_000", "500")
    for one, other in {
        "length: 512, batch: 16": "length: 24, batch: 4",
        "0.0002": "0.01",
        "rank: 16": "rank: 4",
        "20_000": "50",
    }.items():
        assert one in table
        table = table.replace(one, other)
    if kind == "dora":
        table = table.replace("alpha: 32", "alpha: 32\n  dora: true")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(table)
    given = ("train", recipe, "--on", "mlx", "--start", out, "--data", text, "-o", tmp_path / "run")
    made = edge(*given, "--json")
    assert made.code == 0, made.err
    run = tmp_path / "run"
    assert made.json == {"path": str(run / "adapter")}
    assert (run / "log.jsonl").is_file()
    ids = [1, 5, 9, 12, 40, 7]
    want = logits_of(library, out, run / "adapter-mlx", ids)
    plainly = logits_of(library, out, None, ids)
    assert np.abs(want - plainly).max() > 0.2 * np.abs(want).max()
    for folder in ("adapter", "adapter-mlx"):
        beside = with_adapter(Artifact.open(out), run / folder)
        got = opening.open_decoder(beside, threads=None, exact=True).score(ids)
        assert np.abs(got - want).max() < 1e-4 * np.abs(want).max()
    assert edge(*given).code == 2, "a run is there already"
    assert edge(*given, "--resume").code == 0


# Refusals

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "whole weights": ({"adapter": None}, "trains whole weights"),
    "qlora": ({"adapter": replace(PLAIN, method="qlora")}, "method qlora"),
    "merged": ({"adapter": replace(PLAIN, merged=True)}, "merged"),
    "average": ({"average": Average(last=2, every=0.1)}, "average"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_mlx_does_not_train_is_refused_by_name(case: str, tmp_path: Path) -> None:
    changes, named = REFUSED[case]
    start = speaking(tmp_path / "start", "llama")
    recipe = on_text(texts(tmp_path), start, **{"adapter": PLAIN, "skip": NONE} | changes)
    with pytest.raises(Unsupported, match=named):
        TuningRun(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_layers_that_are_skipped_are_refused(tmp_path: Path) -> None:
    recipe = on_text(texts(tmp_path), speaking(tmp_path / "start", "llama"), adapter=PLAIN)
    with pytest.raises(Unsupported, match="skip"):
        TuningRun(recipe, tmp_path / "run")


def test_an_artifact_is_a_start_on_its_own_runtime_alone(tmp_path: Path) -> None:
    source = speaking(tmp_path / "plain", "llama")
    for target in ("mlx", "torch"):
        converted(tmp_path / target, source, target=target)
    files = texts(tmp_path)
    for target, run in (("mlx", Run), ("torch", TuningRun)):
        recipe = on_text(files, tmp_path / target, adapter=PLAIN, skip=NONE)
        with pytest.raises(EdgeError, match=f"is an artifact, and is of {target}"):
            run(recipe, tmp_path / "run")


def test_a_state_of_another_adapter_does_not_go_on(edge: Edge, tmp_path: Path) -> None:
    recipe = plain(tmp_path, "llama", PLAIN)
    run = TuningRun(recipe, tmp_path / "run")
    run.save()
    other = TuningRun(replace(recipe, adapter=replace(PLAIN, rank=2)), run.out)
    with pytest.raises(EdgeError, match="the state of another model"):
        other.restore()
    (run.out / STATE).write_bytes(b"x")
    with pytest.raises(EdgeError):
        run.restore()
    nothing = edge("train", "lora", "--on", "gguf", "-o", tmp_path / "n")
    assert nothing.code == 2
    assert "use one of: mlx, torch" in nothing.err
    stories = edge("train", "stories", "--on", "mlx", "-o", tmp_path / "n")
    assert stories.code == 3
    assert not (tmp_path / "n").exists()
