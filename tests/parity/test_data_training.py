"""What a data engine wrote is what a trainer learns from: texts, or rows of tokens."""

import json
from pathlib import Path

import pytest
import yaml
from conftest import Edge
from engines import lines, prose, rows, run
from training import on_text, speaking

from edge.data.frame.step import Means
from edge.source.checkpoint import Checkpoint
from edge.text.tokenizer import Tokenizer

pytest.importorskip("torch")
RECIPE = {
    "seed": 3,
    "tokens": 2 * 4 * 24,
    "text": {"length": 24, "batch": 4},
    "rates": {"matrix": 3e-3, "other": 3e-3, "shrink": 0.1, "warmup": 100, "decay": 0.3, "optimizer": "adam"},
    "precision": "fp32",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that can read, texts, and what the engine made of them."""
    made = tmp_path_factory.mktemp("data")
    speaking(made / "model")
    (made / "a.jsonl").write_bytes(lines([*(prose(seed) for seed in range(8)), b"{", prose(2)]))
    run([made / "a.jsonl"], made / "texts")
    run(
        [made / "a.jsonl"], made / "packed", means=Means(tokenizer=str(made / "model")), length="64"
    )
    return made


@pytest.mark.parametrize("kind", ["texts", "packed"])
def test_a_folder_of_an_engine_trains(
    edge: Edge, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("EDGE_COMPILE", "0")
    (tmp_path / "recipe.yaml").write_text(
        yaml.safe_dump({**RECIPE, "start": str(folder / "model")})
    )
    done = edge("train", tmp_path / "recipe.yaml", "--data", folder / kind, "-o", tmp_path / "run")
    assert done.code == 0, done.err
    assert (tmp_path / "run/model/model.safetensors").is_file()


def test_what_is_packed_is_what_the_trainer_sees(folder: Path) -> None:
    from edge.train.sources.texts import TextSource

    recipe = on_text([str(folder / "packed")], folder / "model")
    with Checkpoint.open(folder / "model") as checkpoint:
        source = TextSource(recipe, recipe.rows, checkpoint.spec, Tokenizer.load(folder / "model"))  # type: ignore[arg-type]
    drawn = source.draw(source.start(), range(1))
    (batch,) = drawn.batches
    ids = [one for row in rows(folder / "packed") for one in row["tokens"]]
    first = batch.tokens[0].tolist()
    places = [i for i in range(len(ids)) if ids[i : i + len(first)] == first]
    assert places, "a row that nobody packed"
    assert len({tuple(row) for row in batch.tokens.tolist()}) == 4


def test_rows_of_another_tokenizer_do_not_train(
    edge: Edge, folder: Path, short_stories: Path, tmp_path: Path
) -> None:
    (tmp_path / "recipe.yaml").write_text(
        yaml.safe_dump({**RECIPE, "start": str(folder / "model")})
    )
    manifest = json.loads((folder / "packed/manifest.json").read_text())
    other = tmp_path / "packed"
    other.mkdir()
    for file in (folder / "packed").glob("*.jsonl"):
        (other / file.name).write_bytes(file.read_bytes())
    (other / "manifest.json").write_text(json.dumps(manifest | {"tokenizer": "0" * 64}))
    done = edge("train", tmp_path / "recipe.yaml", "--data", other, "-o", tmp_path / "run")
    assert done.code == 2
    assert "tokens of another tokenizer" in done.err
    assert not (tmp_path / "run").exists()
