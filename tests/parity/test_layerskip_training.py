"""A checkpoint goes on with LayerSkip on a text, is converted with an exit, and drafts from it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from support import run
from training import speaking, texts

from edge import api
from edge.errors import EdgeError
from edge.measure.recall import text
from edge.source.checkpoint import Checkpoint
from edge.text.tokenizer import Tokenizer
from edge.train import fields
from edge.train import recipe as recipes

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from edge.nn.decoder import embed, head, layers  # noqa: E402
from edge_runtimes.torch.ops import TorchOps  # noqa: E402
from edge_runtimes.torch.run import Run  # noqa: E402

PACKAGED = fields.EXAMPLE.with_name("layerskip-continue.yaml")
EXIT = 2


def small(file: Path) -> Path:
    """The packaged recipe for a tiny model and 30 steps, in which its exits must learn faster."""
    table = yaml.safe_load(PACKAGED.read_text())
    table |= {"tokens": 30 * 8 * 48, "splits": 2}
    table["skip"] |= {"exit_scale": 1.0, "exit_every": 2}
    table["text"] |= {"length": 48, "batch": 8}
    table["rates"] |= {"matrix": 0.003, "other": 0.003, "warmup": 500}
    file.write_text(yaml.safe_dump(table))
    return file


@torch.no_grad()
def exit_loss(folder: Path, exit_: int) -> float:
    """Nats a token of an exit, on stories that were not trained on."""
    with Checkpoint.open(folder) as checkpoint:
        spec = checkpoint.spec
        ops = TorchOps({name: torch.from_numpy(checkpoint[name]) for name in checkpoint.places})
    ids = Tokenizer.load(folder).encode(text(seed=9, count=10), special=False)
    rows = torch.tensor(ids[: len(ids) // 64 * 64]).view(-1, 64)
    rope = ops.rope(spec.rope, spec.context)
    x, d = layers(ops, spec, embed(ops, spec, rows), None, rope, start=0, stop=exit_)
    logits = head(ops, spec, x, d)[:, :-1]
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
    return float(loss)


def test_the_packaged_recipe_is_the_paper_s() -> None:
    made = recipes.read(PACKAGED)
    assert made.skip == recipes.Skip(
        dropout=0.1,
        dropout_growth="constant",
        exit_scale=0.1,
        exit_growth="constant",
        curriculum="rotational",
        exit_every=8,
    )
    assert (made.rates.optimizer, made.rates.matrix) == ("adam", 3e-5)
    assert recipes.changed(made, start="x", data=["y"]) == replace(
        made, start="x", rows=replace(made.rows, files=("y",))
    )


def test_a_checkpoint_learns_to_exit_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_COMPILE", "0")
    source = speaking(tmp_path / "start", num_hidden_layers=4, max_position_embeddings=128)
    texts(tmp_path / "texts")
    recipe, folder = small(tmp_path / "recipe.yaml"), str(tmp_path / "texts")
    trained = run(
        "train", str(recipe), "--start", str(source), "--data", folder,
        "-o", str(tmp_path / "run"), "--json", timeout=200,
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    made = Path(json.loads(trained.stdout)["path"])
    assert exit_loss(made, EXIT) < exit_loss(source, EXIT) - 1
    assert exit_loss(made, 4) < exit_loss(source, 4) - 1
    other = without_exits(recipe, str(source), folder, tmp_path / "other")
    assert (
        exit_loss(made, EXIT) < exit_loss(other, EXIT) - 0.04
    )  # it is the exits' loss that does it

    artifact = tmp_path / "artifact"
    done = run("convert", str(made), "--to", "onnx", "--layerskip", str(EXIT), "-o", str(artifact))
    assert done.returncode == 0, done.stderr
    assert api.verify_artifact(artifact, str(made), tokens=32).passed
    prompt = ["Once upon a time", "--raw", "--max-tokens", "12", "--json"]
    drafted = run("run", str(artifact), *prompt, "--layerskip", str(EXIT))
    assert drafted.returncode == 0, drafted.stderr
    plain = run("run", str(artifact), *prompt)
    assert json.loads(drafted.stdout)["text"] == json.loads(plain.stdout)["text"]


def without_exits(recipe: Path, start: str, folder: str, out: Path) -> Path:
    """The same training of the last layer alone."""
    made = recipes.changed(recipes.read(recipe), start=start, data=[folder])
    alone = Run(replace(made, skip=replace(made.skip, exit_scale=0.0)), out, compiled=False)
    alone.go()
    written = alone.export()
    assert written is not None
    return written


@pytest.mark.parametrize(
    ("recipe", "start", "files", "what"),
    [
        ("stories", "edge-stories", [], "goes on from no checkpoint"),
        ("stories", None, ["a.txt"], "on no data"),
        ("layerskip-continue", "edge-stories", [], "names no data to train on"),
        ("layerskip-continue", "no-such-model", ["a.txt"], "no model of the registry"),
        ("layerskip-continue", "edge-stories", ["none.txt"], r"none\.txt cannot be read"),
        ("fast", None, [], "there is no recipe 'fast'"),
    ],
)
def test_what_cannot_be_trained_is_one_error(
    tmp_path: Path, recipe: str, start: str | None, files: list[str], what: str
) -> None:
    out = tmp_path / "run"
    with pytest.raises(EdgeError, match=what):
        api.train_recipe(recipe, out, start=start, data=files, resume=False)
    assert not out.exists()
