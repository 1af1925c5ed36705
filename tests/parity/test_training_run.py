"""A run that was stopped goes on as if it had not been; what it writes is a checkpoint."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support import safetensors, weights_of
from training import CURRICULA, EXAMPLE, on_stories, on_text, speaking, texts

from edge.data.corpus import Corpus, Stream, StreamPosition
from edge.errors import Damaged, EdgeError
from edge.source.checkpoint import Checkpoint
from edge.text.tokenizer import Tokenizer
from edge.train import fields
from edge.train import recipe as recipes
from edge.train.recipe import Skip, TrainingRecipe
from edge.train.rows import Text

torch = pytest.importorskip("torch")

from edge.train.course import STATE  # noqa: E402
from edge.train.sources.source import Drawn  # noqa: E402
from edge_runtimes.torch import state  # noqa: E402
from edge_runtimes.torch.optim import orthogonal  # noqa: E402
from edge_runtimes.torch.run import Run  # noqa: E402
from edge_runtimes.torch.train import train  # noqa: E402

Make = Callable[[Skip, int], TrainingRecipe]


def begin(recipe: TrainingRecipe, out: Path) -> Run:
    return Run(recipe, out, compiled=False)  # a compiler is not what is tested


def of_stories(_folder: Path, skip: Skip, splits: int) -> TrainingRecipe:
    return on_stories(steps=5, skip=skip, splits=splits)


def of_text(folder: Path, skip: Skip, splits: int) -> TrainingRecipe:
    if not (folder / "start").exists():
        speaking(folder / "start", num_hidden_layers=3)
    return on_text(texts(folder), folder / "start", steps=5, skip=skip, splits=splits)


def test_training_starts_from_no_broken_weights(tmp_path: Path) -> None:
    recipe = of_text(tmp_path, CURRICULA["all"], 1)
    weights = weights_of(json.loads((tmp_path / "start" / "config.json").read_text()))
    weights["model.layers.1.mlp.up_proj.weight"][3, 5] = np.nan
    (tmp_path / "start" / "model.safetensors").write_bytes(safetensors(weights))
    with pytest.raises(Damaged, match=r"model.layers.1.mlp.up_proj.weight holds NaN in row 3"):
        begin(recipe, tmp_path / "run")


@pytest.mark.parametrize("data", [of_stories, of_text])
@pytest.mark.parametrize("curriculum", CURRICULA)
def test_a_run_killed_at_any_step_ends_as_if_it_had_not_been(
    tmp_path: Path, data: Callable[[Path, Skip, int], TrainingRecipe], curriculum: str
) -> None:
    """It goes on from what was saved before a step or two that are lost."""
    recipe = data(tmp_path, CURRICULA[curriculum], 2)
    whole = begin(recipe, tmp_path / "whole")
    steps = 0
    while whole.at.tokens < recipe.tokens:
        whole.step()
        steps += 1
    assert steps == 5
    for killed in range(steps):
        first = begin(recipe, tmp_path / f"killed-{killed}")
        for _ in range(killed):
            first.step()
        first.save()
        first.step()
        second = begin(recipe, first.out)
        second.restore()
        while second.at.tokens < recipe.tokens:
            second.step()
        assert second.at == whole.at
        for name, weight in whole.weights.items():
            assert torch.equal(weight, second.weights[name]), name


def test_the_stories_are_drawn_as_they_were(tmp_path: Path) -> None:
    """Rows, skipped layers and rates of the packaged recipe, recorded before recipes knew more."""
    recorded = {
        (0, 0, 0): ("669c4bd6b4db9dc9", 48, {}, 4e-08),
        (1, 3072, 0): ("7aa8ced79a76637b", 48, {}, 0.00012292),
        (1000, 3_300_000, 3): ("3e9f4af5975b350b", 16, {}, 0.008),
        (4001, 15_000_000, 6): ("c036d0d17b1de2d7", 5, {6: [0]}, 0.008),
        (6000, 20_000_000, 7): (
            "2e3e44c00336e4f7",
            32,
            {2: [11, 25], 3: [22], 4: [11, 12, 24], 6: [16, 20, 31], 7: [20]},
            0.0024242424242424242,
        ),
    }
    run = begin(EXAMPLE, tmp_path / "run")
    for (step, tokens, stage), (digest, rows, dropped, rate) in recorded.items():
        run.at = state.Position(step=step, tokens=tokens, stage=stage)
        drawn = run.source.draw(run.at, run.mine)
        (batch,) = drawn.batches
        content = batch.tokens.tobytes() + batch.parts.tobytes()
        assert hashlib.sha256(content).hexdigest()[:16] == digest
        kept = run.skips(drawn).kept
        assert kept.shape == (8, rows)
        skipped = {n: (~layer).nonzero().flatten().tolist() for n, layer in enumerate(kept)}
        assert {n: which for n, which in skipped.items() if which} == dropped
        assert run.rate() * EXAMPLE.rates.matrix == pytest.approx(rate)


def test_splits_are_gradients_added_up(tmp_path: Path) -> None:
    """Without dropout, which is the same in every split."""
    none = Skip(dropout=0.0, exit_scale=1.0, exit_every=2, exit_growth="constant")
    want = gradients(begin(on_stories(skip=none, precision="fp32"), tmp_path / "whole"))
    for splits in (2, 4):
        recipe = on_stories(skip=none, splits=splits, precision="fp32")
        got = gradients(begin(recipe, tmp_path / str(splits)))
        for name in want:
            torch.testing.assert_close(got[name], want[name], rtol=1e-4, atol=1e-6)


def gradients(run: Run) -> dict[str, torch.Tensor]:
    """What a step would move the weights by."""
    found: dict[str, torch.Tensor] = {}
    run.optimizer.step = lambda *_, **__: found.update(  # type: ignore[method-assign]
        {name: weight.grad.clone() for name, weight in run.weights.items()}
    )
    run.step()
    return found


def test_every_split_reads_on_where_it_was(tmp_path: Path) -> None:
    """Each its own blocks of the texts, step by step."""
    recipe = of_text(tmp_path, CURRICULA["all"], 2)
    assert isinstance(recipe.rows, Text)
    run = begin(recipe, tmp_path / "run")
    seen: list[list[list[int]]] = [[], []]
    draw = run.source.draw

    def watched(at: state.Position, mine: range) -> Drawn:
        drawn = draw(at, mine)
        for split, batch in zip(mine, drawn.batches, strict=True):
            seen[split] += batch.tokens.tolist()
        return drawn

    run.source.draw = watched  # type: ignore[method-assign]
    for _ in range(5):
        run.step()
    tokenizer = Tokenizer.load(tmp_path / "start")
    corpus = Corpus(recipe.rows.files, recipe.seed)
    for split in range(2):
        stream = Stream(
            corpus,
            lambda text, _: tokenizer.encode(text, special=False),
            recipe.rows.length,
            StreamPosition(split),
            every=2,
        )
        assert seen[split] == [stream.row() for _ in range(10)]
        assert run.at.places[split] == stream.place


def test_dropout_is_the_same_in_every_split(tmp_path: Path) -> None:
    run = begin(on_stories(skip=CURRICULA["all"], splits=2), tmp_path / "run")
    drawn = run.source.draw(run.at, range(1, 2))
    assert run.skips(drawn).kept.shape == (3, 2)
    assert torch.equal(run.skips(drawn).kept, run.skips(run.source.draw(run.at, range(2))).kept)


def test_a_run_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / STATE).touch()
    with pytest.raises(EdgeError, match="already holds a run"):
        train(fields.EXAMPLE, tmp_path)


def test_a_run_goes_on_only_as_what_it_was(tmp_path: Path) -> None:
    recipe = of_text(tmp_path, CURRICULA["all"], 2)
    assert isinstance(recipe.rows, Text)
    run = begin(recipe, tmp_path / "run")
    run.save()
    for changes, what in (
        ({"splits": 1}, "other texts, or in other splits"),
        ({"rows": dataclasses.replace(recipe.rows, files=recipe.rows.files[:1])}, "other texts"),
        ({"rates": dataclasses.replace(recipe.rates, optimizer="muon")}, "another optimizer"),
    ):
        other = begin(dataclasses.replace(recipe, **changes), run.out)
        with pytest.raises(EdgeError, match=what):
            other.restore()
    for position in ("", "[]", '{"right": {}, "speed": 1}', '{"right": {"a": 1}}'):
        state.save_file(run._tensors(), run.out / STATE, metadata={"position": position})
        with pytest.raises(Damaged, match="does not say how far"):
            run.restore()


def test_training_that_diverges_stops_before_it_is_saved(tmp_path: Path) -> None:
    run = begin(of_text(tmp_path, CURRICULA["all"], 1), tmp_path / "run")
    before = {name: weight.clone() for name, weight in run.weights.items()}
    with torch.no_grad():
        run.weights["norm"][0] = float("nan")
    with pytest.raises(EdgeError, match="training diverged"):
        run.step()
    assert all(torch.equal(run.weights[name], before[name]) for name in before if name != "norm")


def test_what_a_run_writes_is_a_checkpoint(tmp_path: Path) -> None:
    folder = begin(on_stories(), tmp_path / "run").export()
    assert folder is not None
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["Phi3ForCausalLM"]
    assert config["pad_token_id"] < config["vocab_size"]
    for name in ("model.safetensors", "tokenizer.json", "generation_config.json"):
        assert (folder / name).stat().st_size > 0
    with Checkpoint.open(folder) as checkpoint:
        assert checkpoint.family.name == "phi3"


FAMILIES = ("llama", "mistral", "phi3", "phi3small", "openelm", "internlm2")


@pytest.mark.parametrize("family", FAMILIES)
def test_any_family_goes_on_and_is_written_as_it_was(tmp_path: Path, family: str) -> None:
    """Untrained weights come back bit by bit; trained ones in the same tensors, types and files."""
    source = speaking(tmp_path / "start", family)
    run = begin(on_text(texts(tmp_path), source), tmp_path / "run")
    folder = run.export()
    assert folder is not None
    assert same(folder, source) == []
    before = {name: weight.detach().clone() for name, weight in run.weights.items()}
    run.step()
    run.step()
    moved = {name for name, weight in run.weights.items() if not torch.equal(weight, before[name])}
    assert moved == before.keys()
    run.export()
    assert {name.split(".")[-1] for name in same(folder, source)} == {"safetensors"}
    with Checkpoint.open(folder) as written:
        for name, weight in run.weights.items():
            assert torch.equal(torch.from_numpy(written[name]), weight.detach()), name


@pytest.mark.parametrize("kind", ["the head alone", "a head of its own"])
def test_a_tied_head_is_written_under_the_names_it_had(tmp_path: Path, kind: str) -> None:
    source = speaking(tmp_path / "start", tie_word_embeddings=True)
    embed = "model.embed_tokens.weight"
    with state.safe_open(source / "model.safetensors", "pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in sorted(opened.keys())}
    alone = kind == "the head alone"
    tensors["lm_head.weight"] = tensors.pop(embed) if alone else 2 * tensors[embed]
    state.save_file(tensors, source / "model.safetensors")
    run = begin(on_text(texts(tmp_path), source), tmp_path / "run")
    assert run.origin.spec.tied == alone
    assert ("head" in run.weights) != alone
    folder = run.export()
    assert folder is not None
    assert same(folder, source) == []


def same(folder: Path, source: Path) -> list[str]:
    """Files that differ."""
    assert {file.name for file in folder.iterdir()} == {file.name for file in source.iterdir()}
    return [file.name for file in source.iterdir() if content(file) != content(folder / file.name)]


def content(file: Path) -> object:
    """Of weights the tensors, in whatever order."""
    if file.suffix != ".safetensors":
        return file.read_bytes()
    with state.safe_open(file, "np") as opened:
        names = sorted(opened.keys())
        return {name: opened.get_tensor(name).tobytes() for name in names}


def test_several_files_and_types_are_written_again(tmp_path: Path) -> None:
    source = speaking(tmp_path / "start")
    tensors = {}
    with state.safe_open(source / "model.safetensors", "pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in sorted(opened.keys())}
    (source / "model.safetensors").unlink()
    names = list(tensors)
    tensors = {n: t.bfloat16() if "mlp" in n else t.half() for n, t in tensors.items()}
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(8)  # carries no weight
    table = {name: f"model-{1 + index % 2}.safetensors" for index, name in enumerate(tensors)}
    for file in set(table.values()):
        state.save_file({n: t for n, t in tensors.items() if table[n] == file}, source / file)
    index = json.dumps({"metadata": {}, "weight_map": table})
    (source / "model.safetensors.index.json").write_text(index)
    folder = begin(on_text(texts(tmp_path), source), tmp_path / "run").export()
    assert folder is not None
    written = json.loads((folder / "model.safetensors.index.json").read_text())
    assert written["weight_map"] == {name: table[name] for name in names}
    assert written["metadata"]["total_size"] == sum(tensors[name].nbytes for name in names)
    for name in names:
        with state.safe_open(folder / table[name], "pt") as opened:
            assert opened.get_tensor(name).dtype == tensors[name].dtype
            assert torch.equal(opened.get_tensor(name), tensors[name])


def test_what_does_not_fit_its_type_is_not_written(tmp_path: Path) -> None:
    source = speaking(tmp_path / "start")
    with state.safe_open(source / "model.safetensors", "pt") as opened:
        tensors = {name: opened.get_tensor(name).half() for name in sorted(opened.keys())}
    state.save_file(tensors, source / "model.safetensors")
    run = begin(on_text(texts(tmp_path), source), tmp_path / "run")
    with torch.no_grad():
        run.weights["layers.0.attn.q"][0, 0] = 70_000
    with pytest.raises(EdgeError, match=r"q_proj\.weight has grown beyond what F16 holds"):
        run.export()
    assert not (run.out / "model" / "config.json").exists()  # it is no checkpoint


def test_a_shape_is_trained_on_a_text_with_a_tokenizer_of_its_own(tmp_path: Path) -> None:
    files = texts(tmp_path)
    text = Text(files=tuple(files), length=24, batch=4, tokenizer=str(speaking(tmp_path / "t")))
    recipe = dataclasses.replace(on_stories(), rows=text)
    run = begin(recipe, tmp_path / "run")
    run.step()
    folder = run.export()
    assert folder is not None
    with Checkpoint.open(folder) as checkpoint:
        assert (checkpoint.family.name, checkpoint.spec.width) == ("phi3", 32)
    made, theirs = Tokenizer.load(folder), Tokenizer.load(tmp_path / "t")
    assert made.encode("A cat.", special=True) == theirs.encode("A cat.", special=True)
    assert made.stop_ids == theirs.stop_ids


def test_the_packaged_model_goes_on_with_its_stories(tmp_path: Path) -> None:
    recipe = dataclasses.replace(on_stories(), shape=None, start="edge-stories")
    packaged = fields.EXAMPLE.parents[2] / "models" / "edge-stories"
    run = Run(recipe, tmp_path / "run", find=lambda _: packaged, compiled=False)
    run.step()
    assert run.at.loss < 0.02 * 2.0  # it knows them: a new one is at 7 nats a token
    foreign = speaking(tmp_path / "foreign", max_position_embeddings=128)
    assert Run(recipe, tmp_path / "r", find=lambda _: foreign).spec.width == 64
    changed = json.loads((foreign / "tokenizer.json").read_text())
    changed["model"]["vocab"]["!!"] = 5
    (foreign / "tokenizer.json").write_text(json.dumps(changed))
    with pytest.raises(EdgeError, match="tokens of their own"):
        Run(recipe, tmp_path / "r", find=lambda _: foreign)


def test_what_may_not_be_predicted_costs_nothing(tmp_path: Path) -> None:
    """Phi-3-small forbids ids, whose logits are minus infinity: a text may hold them all the same."""
    source = speaking(tmp_path / "start", "phi3small", dummy_token_indices=list(range(40, 300)))
    run = begin(on_text(texts(tmp_path), source), tmp_path / "run")
    drawn = run.source.draw(run.at, run.mine)
    assert any(bool((batch.parts == 0).any()) for batch in drawn.batches)
    run.step()
    assert 0 < run.at.loss < 1
    assert all(bool(weight.isfinite().all()) for weight in run.weights.values())


def test_rows_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    recipe = of_text(tmp_path, CURRICULA["all"], 1)
    assert isinstance(recipe.rows, Text)
    long = dataclasses.replace(recipe, rows=dataclasses.replace(recipe.rows, length=65))
    with pytest.raises(EdgeError, match="rows of 65 tokens, and the model has a context of 64"):
        begin(long, tmp_path / "run")


@pytest.mark.parametrize("shape", [(2, 16, 16), (1, 48, 16), (3, 16, 48)])
def test_orthogonal_flattens_singular_values(shape: tuple[int, int, int]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonal(x))
    assert values.min() > 0.3
    assert values.max() < 1.4


def test_adam_is_torch_s(tmp_path: Path) -> None:
    """All tensors by AdamW, where the recipe says so."""
    recipe = of_text(tmp_path, CURRICULA["all"], 1)
    run = begin(recipe, tmp_path / "run")
    decay = {True: 0.1, False: 0.0}
    theirs = {name: weight.detach().clone() for name, weight in run.weights.items()}
    groups = [
        {
            "params": [theirs[name]],
            "weight_decay": decay[name.startswith("layers.") and w.ndim == 2],
        }
        for name, w in run.weights.items()
    ]
    adam = torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.95), eps=1e-8)
    rng = torch.Generator().manual_seed(0)
    for count in range(1, 4):
        for name, weight in run.weights.items():
            weight.grad = torch.randn(weight.shape, generator=rng)
            theirs[name].grad = weight.grad.clone()
        run.optimizer.step(count, matrix=1e-2, other=1e-2, shrink=0.1)
        adam.step()
    for name, weight in run.weights.items():
        torch.testing.assert_close(weight.detach(), theirs[name], rtol=1e-5, atol=1e-6)


def test_a_recipe_with_an_unknown_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(fields.EXAMPLE.read_text() + "\nspeed: 9\n")
    with pytest.raises(EdgeError, match="speed"):
        recipes.read(path)
    with pytest.raises(EdgeError, match="there is no recipe"):
        recipes.read(tmp_path / "none.yaml")
