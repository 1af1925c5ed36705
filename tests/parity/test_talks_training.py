"""Conversations and pairs as rows: what a step learns is what their assistant says, a run goes on as if it had not been
stopped, and several processes are as one.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from training import CURRICULA, chats, on_rows, pairs, speaking, talking

from edge.errors import Damaged, EdgeError
from edge.source.checkpoint import Checkpoint
from edge.text.tokenizer import Tokenizer
from edge.train.adapter import AdapterRecipe
from edge.train.recipe import NONE, Average, TrainingRecipe
from edge.train.rows import Chats, Pairs

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402
from test_ranks import alike, torchrun, written  # noqa: E402

from edge.train.course import STATE  # noqa: E402
from edge.train.sources.pairs import PairSource  # noqa: E402
from edge_runtimes.torch import export  # noqa: E402
from edge_runtimes.torch.batches import batch_of  # noqa: E402
from edge_runtimes.torch.reference import REFERENCE  # noqa: E402
from edge_runtimes.torch.run import Run  # noqa: E402
from edge_runtimes.torch.train import train  # noqa: E402


def of_chats(folder: Path, **changes: Any) -> TrainingRecipe:
    if not (folder / "start").exists():
        talking(folder / "start", num_hidden_layers=3)
    rows = Chats(length=40, batch=4, files=(chats(folder / "chats.jsonl"),))
    return on_rows(rows, folder / "start", **changes)


def of_pairs(folder: Path, **changes: Any) -> TrainingRecipe:
    if not (folder / "start").exists():
        talking(folder / "start", num_hidden_layers=3)
    rows = Pairs(length=60, batch=4, beta=0.5, files=(pairs(folder / "pairs.jsonl"),))
    return on_rows(rows, folder / "start", **changes)


KINDS = {"chats": of_chats, "pairs": of_pairs}


def begin(recipe: TrainingRecipe, out: Path) -> Run:
    run = Run(recipe, out, compiled=False)
    run.begin()
    return run


def finished(run: Run) -> Run:
    while run.at.tokens < run.total:
        run.step()
    return run


WITH: dict[str, dict[str, Any]] = {
    "chats": {"skip": CURRICULA["rotational"]},
    "pairs": {"skip": CURRICULA["rotational"], "recompute": True, "precision": "bf16"},
    "chats, an adapter": {"adapter": AdapterRecipe(rank=2, alpha=4.0, dropout=0.1), "skip": NONE},
    "pairs, an adapter": {
        "adapter": AdapterRecipe(rank=2, alpha=4.0, dora=True),
        "average": Average(last=2, every=0.3),
    },
}


@pytest.mark.parametrize("kind", WITH)
def test_a_run_killed_at_any_step_ends_as_if_it_had_not_been(tmp_path: Path, kind: str) -> None:
    recipe = KINDS[kind.partition(",")[0]](tmp_path, splits=2, **WITH[kind])
    whole = finished(begin(recipe, tmp_path / "whole"))
    assert whole.at.step > 2
    for killed in range(whole.at.step):
        first = begin(recipe, tmp_path / f"killed-{killed}")
        for _ in range(killed):
            first.step()
        first.save()
        first.step()
        second = Run(recipe, first.out, compiled=False)
        second.restore()
        finished(second)
        assert second.at == whole.at
        for name, mean in whole.averaging.state.items():
            assert torch.equal(mean, second.averaging.state[name]), name
        for name, weight in whole.weights.items():
            assert torch.equal(weight, second.weights[name]), name


def test_a_step_is_what_transformers_makes_of_each_conversation_alone(tmp_path: Path) -> None:
    """Without rows beside it and nothing behind it: no conversation sees another, or what a row is filled with."""
    transformers = pytest.importorskip("transformers")
    run = begin(of_chats(tmp_path, skip=NONE), tmp_path / "run")
    found: dict[str, torch.Tensor] = {}
    run.optimizer.step = lambda *_, **__: found.update(  # type: ignore[method-assign]
        {name: weight.grad.clone() for name, weight in run.weights.items()}
    )
    drawn = run.source.draw(run.at, run.mine)
    batch = batch_of(*drawn.batches)
    run.step()
    model = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "start", dtype=torch.float32)
    total = int(batch.parts[:, 1:].sum())
    assert drawn.tokens < batch.tokens[:, 1:].numel(), "a row is filled"
    for ids, counts in zip(batch.tokens, batch.parts, strict=True):
        last = int(counts.nonzero().max()) + 1
        labels = ids.masked_fill(counts == 0, -100)[None, :last]
        (model(ids[None, :last], labels=labels).loss * counts.sum() / total).backward()
    gradients = {name: weight.grad for name, weight in model.named_parameters()}
    for name, place in run.origin.tensors.items():
        ours = export.tensor(place, found)
        assert (ours - gradients[name]).norm() / gradients[name].norm() < 1e-5, name


def test_only_the_assistant_s_words_are_learned(tmp_path: Path) -> None:
    run = begin(of_chats(tmp_path), tmp_path / "run")
    lines = [
        json.loads(line)["messages"] for line in (tmp_path / "chats.jsonl").read_text().splitlines()
    ]
    tokenizer = Tokenizer.load(tmp_path / "start")
    said = []
    for number in range(len(lines)):
        batch = run.source.batch([number])  # type: ignore[attr-defined]
        counted = [int(i) for i, part in zip(batch.tokens[0], batch.parts[0], strict=True) if part]
        said.append(tokenizer.decode(counted, skip_special=False))
    wanted = [
        "".join(one["content"] + "<|end|>" for one in messages if one["role"] == "assistant")
        for messages in lines
    ]
    assert ["".join(text.split()) for text in said] == ["".join(text.split()) for text in wanted]


def test_every_epoch_has_every_line_once(tmp_path: Path) -> None:
    """And the run ends with the last one."""
    recipe = of_chats(tmp_path, tokens=None, epochs=3)
    recipe = dataclasses.replace(recipe, rows=dataclasses.replace(recipe.rows, batch=7))
    run = begin(recipe, tmp_path / "run")
    assert run.total == 3 * run.source.tokens  # type: ignore[operator]
    seen = []
    while run.at.tokens < run.total:
        (batch,) = run.source.draw(run.at, run.mine).batches
        seen += [tuple(row.tolist()) for row in batch.tokens]
        run.step()
    assert run.at.step == 3 * 21 / 7
    widest = max(map(len, seen))
    epochs = [
        sorted(row + (0,) * (widest - len(row)) for row in seen[21 * n : 21 * (n + 1)])
        for n in range(3)
    ]
    assert epochs[0] == epochs[1] == epochs[2]
    assert seen[:21] != seen[21:42]


def test_the_reference_is_the_start_s_whatever_was_learned(tmp_path: Path) -> None:
    """Kept in the run's folder; a run on other pairs, or without it, does not go on."""
    recipe = of_pairs(tmp_path)
    run = begin(recipe, tmp_path / "run")
    run.step()
    run.save()
    again = Run(recipe, run.out, compiled=False)
    again.restore()
    sources = [one.source for one in (run, again)]
    assert all(isinstance(source, PairSource) for source in sources)
    kept = [source.reference for source in sources]  # type: ignore[attr-defined]
    assert np.array_equal(*kept)
    assert kept[0].shape == (13, 2)
    assert float(kept[0].max()) < -1
    (run.out / REFERENCE).rename(run.out / "elsewhere")
    with pytest.raises(EdgeError, match="what the start says of the answers"):
        Run(recipe, run.out, compiled=False).restore()
    content = (run.out / "elsewhere").read_bytes()
    (run.out / REFERENCE).write_bytes(content.replace(run.at.texts.encode(), b"0" * 64))
    with pytest.raises(Damaged, match="of other pairs"):
        Run(recipe, run.out, compiled=False).restore()
    with (tmp_path / "pairs.jsonl").open("a") as file:
        file.write(json.dumps({"prompt": "a", "chosen": "b", "rejected": "c"}) + "\n")
    with pytest.raises(EdgeError, match="a run on other texts"):
        Run(recipe, run.out, compiled=False).restore()


@pytest.mark.parametrize(
    ("kind", "count", "sharded"), [("chats", 2, False), ("pairs", 4, False), ("pairs", 2, True)]
)
def test_several_processes_learn_as_one(
    tmp_path: Path, kind: str, count: int, sharded: bool
) -> None:
    recipe = KINDS[kind](tmp_path, splits=4, skip=NONE, sharded=sharded)
    out = tmp_path / "several"
    done = torchrun(written(recipe, tmp_path / "recipe.yaml"), out, count=count)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"path": str(out / "model")}
    one = finished(begin(recipe, tmp_path / "one"))
    one.save()
    if not sharded:
        alike(load_file(out / STATE), load_file(one.out / STATE))
    if kind == "pairs":
        alike(load_file(out / REFERENCE), load_file(one.out / REFERENCE))
    with Checkpoint.open(out / "model") as made:
        for name, weight in one.weights.items():
            torch.testing.assert_close(
                torch.from_numpy(made[name]), weight.detach(), rtol=1e-4, atol=1e-5
            )


def test_what_is_too_long_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A row of which nothing that counts is left is no row (trl#6668); one that is cut within an answer learns what is
    left of it (transformers#34494).
    """
    recipe = of_chats(tmp_path)
    short = dataclasses.replace(recipe.rows, length=10)
    made = begin(dataclasses.replace(recipe, rows=short), tmp_path / "cut")
    rows = [row for item in made.source.talks.items for row in item]  # type: ignore[attr-defined]
    assert max(len(row.ids) for row in rows) == 11, "the last is only predicted"
    assert all(len(row.ids) == len(row.counted) for row in rows)
    (cut,) = capsys.readouterr().err.splitlines()
    begin(
        dataclasses.replace(recipe, rows=dataclasses.replace(short, longer="drop")), tmp_path / "x"
    )
    (left,) = capsys.readouterr().err.splitlines()
    assert cut == "20 of 21 lines have more than 10 tokens: 17 cut, 3 left out"
    assert left == "20 of 21 lines have more than 10 tokens: 0 cut, 20 left out"


GOOD = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
BAD = {
    "no file": (None, "cannot be read as UTF-8 text: there is no such file"),
    "an empty file": ("", "there is no line in it"),
    "broken JSON": (json.dumps(GOOD) + '\n{"messages": [', r"line 2 is not JSON"),
    "a list": ("[1]", "line 1 does not hold a JSON object"),
    "a role nobody knows": (
        json.dumps({"messages": [{"role": "narrator", "content": "x"}]}),
        "line 1: message 1 is by 'narrator', none of system, developer, user, assistant, tool",
    ),
    "no turn of the assistant's": (
        json.dumps({"messages": GOOD["messages"][:1]}),
        "line 1: the assistant says nothing in it",
    ),
    "rows that are all too long": (
        json.dumps({"messages": [{"role": "user", "content": "a" * 99}, GOOD["messages"][1]]}),
        "every one of 1 lines has more than 40 tokens",
    ),
}


@pytest.mark.parametrize(("content", "what"), BAD.values(), ids=BAD.keys())
def test_bad_data_is_one_error_before_anything_is_written(
    tmp_path: Path, content: str | None, what: str
) -> None:
    recipe = written(of_chats(tmp_path), tmp_path / "recipe.yaml")
    file = tmp_path / "data.jsonl"
    if content is not None:
        file.write_text(content)
    with pytest.raises(EdgeError, match=what):
        train(recipe, tmp_path / "run", data=[str(file)])
    assert not (tmp_path / "run").exists()


def test_a_start_that_has_no_roles_is_refused(tmp_path: Path) -> None:
    recipe = written(of_chats(tmp_path), tmp_path / "recipe.yaml")
    settings = speaking(tmp_path / "silent") / "tokenizer_config.json"
    table = json.loads(settings.read_text())
    del table["chat_template"]
    settings.write_text(json.dumps(table))
    with pytest.raises(EdgeError, match="has no chat template"):
        train(recipe, tmp_path / "run", start=str(tmp_path / "silent"))
    (tmp_path / "silent" / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m.content }} {% endfor %}"
    )
    with pytest.raises(EdgeError, match="the chat template has no roles"):
        train(recipe, tmp_path / "run", start=str(tmp_path / "silent"))
    assert not (tmp_path / "run").exists()


def test_a_device_that_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = written(of_pairs(tmp_path), tmp_path / "recipe.yaml")
    for name, what in (("cuda:77", "sees no device cuda:77"), ("gpu", "EDGE_DEVICE is 'gpu'")):
        monkeypatch.setenv("EDGE_DEVICE", name)
        with pytest.raises(EdgeError, match=what):
            train(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_pairs_have_a_start(tmp_path: Path) -> None:
    table = yaml.safe_load(written(of_pairs(tmp_path), tmp_path / "recipe.yaml").read_text())
    shape = {"width": 32, "layers": 1, "heads": 2, "kv_heads": 1, "ffn_width": 32, "context": 64}
    for changes, what in (
        ({"start": None, "shape": shape}, "pairs are learned from a start"),
        ({"pairs": {**table["pairs"], "beta": 0}}, "beta is 0"),
        ({"pairs": {**table["pairs"], "loss": "dpo"}}, "loss is 'dpo', none of sigmoid, hinge, ipo"),
        ({"epochs": 2}, "tokens or epochs, one of them"),
        ({"tokens": None}, "tokens or epochs, one of them"),
    ):  # fmt: skip
        changed = {key: value for key, value in (table | changes).items() if value is not None}
        (tmp_path / "bad.yaml").write_text(yaml.safe_dump(changed))
        with pytest.raises(EdgeError, match=what):
            train(tmp_path / "bad.yaml", tmp_path / "run")
