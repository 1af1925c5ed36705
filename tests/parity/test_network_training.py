"""A network that is no decoder is trained: its gradients are transformers', its run goes on, and what it writes is a
checkpoint that others and every target take.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from test_ranks import torchrun
from towers import TOWERS, channels_first

from edge.convert.conversion import convert
from edge.convert.options import Options
from edge.errors import EdgeError
from edge.source.checkpoint import Checkpoint
from edge.train import fields, reading
from edge.train.network import ExamplesTable, NetworkRecipe, read
from edge.train.recipe import Rates

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
PIL = pytest.importorskip("PIL.Image")

from safetensors.torch import load_file, save_file  # noqa: E402

from edge.train.course import STATE  # noqa: E402
from edge_runtimes.torch import losses  # noqa: E402
from edge_runtimes.torch.network_run import NetworkRun  # noqa: E402
from edge_runtimes.torch.train import train  # noqa: E402

RATES = Rates(matrix=1e-3, other=1e-2, shrink=0.0, warmup=1, decay=0.3, optimizer="adam")
COLOURS = {"blue": (30, 40, 220), "green": (20, 200, 30), "red": (230, 30, 20)}


def a_recipe(start: Path | None, **changes: Any) -> NetworkRecipe:
    table = {
        key: changes.pop(key)
        for key in ("loss", "labels", "output", "seen", "batch")
        if key in changes
    }
    examples = {"loss": "cross-entropy", "batch": 4, "seen": 24, **table}
    given = {
        "seed": 5,
        "start": None if start is None else str(start),
        "rates": RATES,
        "precision": "fp32",
        **changes,
    }
    return NetworkRecipe(examples=ExamplesTable(**examples), **given)


def a_tower(folder: Path, family: str = "vit", **changes: Any) -> Path:
    TOWERS[family].write(folder, **changes)
    return folder


def arrays(folder: Path, target: np.ndarray, image: np.ndarray | None = None) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(2)
    given = rng.standard_normal((len(target), 16, 16, 3)) if image is None else image
    np.save(folder / "image.npy", given.astype(np.float32))
    np.save(folder / "target.npy", target)
    return folder


def coloured(folder: Path, each: int = 6) -> Path:
    """Pictures of one colour, a little noisy, with its name."""
    folder.mkdir()
    rng, lines = np.random.default_rng(3), []
    for number in range(each):
        for name, colour in COLOURS.items():
            rgb = np.clip(np.array(colour) + rng.normal(0, 12, (20, 24, 3)), 0, 255)
            PIL.fromarray(rgb.astype(np.uint8)).save(folder / f"{name}-{number}.png")
            lines.append(json.dumps({"image": f"{name}-{number}.png", "label": name}))
    (folder / "pictures.jsonl").write_text("\n".join(lines) + "\n\n")
    return folder / "pictures.jsonl"


def of_transformers(folder: Path) -> Any:
    return transformers.ViTForImageClassification.from_pretrained(
        folder, attn_implementation="eager"
    )


@pytest.mark.parametrize("loss", ["cross-entropy", "binary-cross-entropy", "squared"])
def test_loss_and_gradients_are_transformers(loss: str, tmp_path: Path) -> None:
    start = a_tower(tmp_path / "start")
    rng = np.random.default_rng(1)
    target = {
        "cross-entropy": np.array([3, 0, 6, 2]),
        "binary-cross-entropy": rng.integers(0, 2, (4, 7)).astype(np.float32),
        "squared": rng.standard_normal((4, 7)).astype(np.float32),
    }[loss]
    folder = arrays(tmp_path / "data", target)
    run = NetworkRun(a_recipe(start, loss=loss, splits=2), tmp_path / "run", data=[str(folder)])
    total = sum(run.part(rows)[0] for rows in ([0, 1], [2, 3])) / 4
    model = of_transformers(start)
    model.config.problem_type = {
        "cross-entropy": "single_label_classification",
        "binary-cross-entropy": "multi_label_classification",
        "squared": "regression",
    }[loss]
    model.loss_type = "ForSequenceClassification"
    images = channels_first(np.load(folder / "image.npy"))
    said = model(images, labels=torch.from_numpy(target)).loss
    assert total == pytest.approx(float(said), rel=1e-5)
    said.backward()
    gradients = {name: w.grad for name, w in model.named_parameters()}
    (tmp_path / "gradients").mkdir()
    for name, weight in model.named_parameters():
        weight.data = gradients[name].clone()
    model.save_pretrained(tmp_path / "gradients")
    with Checkpoint.open(tmp_path / "gradients") as checkpoint:
        for name, weight in run.weights.items():
            want = checkpoint[name]
            if name == "position":  # its first row is a sum of two tensors, which have one gradient
                want[0] /= 2
            most = np.abs(want).max() + 1e-3  # of a bias of keys it is nothing but rounding
            assert np.abs(weight.grad.numpy() - want).max() <= 1e-5 * most, name


def test_losses_are_their_closed_forms() -> None:
    """Slowly, a number at a time; a class of -1 costs nothing."""
    rng = np.random.default_rng(0)
    out, classes = rng.standard_normal((3, 4, 5)), rng.integers(0, 5, (3, 4))
    classes[0, 1] = classes[2] = -1
    got = losses.cross_entropy(torch.tensor(out), torch.tensor(classes))
    for example in range(3):
        costs = [
            np.log(np.exp(row).sum()) - row[c]
            for row, c in zip(out[example], classes[example], strict=True)
            if c >= 0
        ]
        assert float(got[example]) == pytest.approx(np.mean(costs) if costs else 0.0, rel=1e-5)
    target = rng.random((3, 4, 5))
    shares = 1 / (1 + np.exp(-out))
    wants = {
        "binary-cross-entropy": -(target * np.log(shares) + (1 - target) * np.log(1 - shares)),
        "squared": (out - target) ** 2,
        "absolute": np.abs(out - target),
    }
    for name, want in wants.items():
        got = losses.LOSSES[name](torch.tensor(out), torch.tensor(target))  # type: ignore[index]
        np.testing.assert_allclose(got, want.reshape(3, -1).mean(1), rtol=1e-5)


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    start = a_tower(tmp_path / "start")
    folder = arrays(tmp_path / "data", np.arange(10) % 7)
    given = {"data": [str(folder)]}
    recipe = a_recipe(start, batch=4, seen=28, splits=2)  # past the end of two epochs
    whole = NetworkRun(recipe, tmp_path / "whole", **given)
    whole.go()
    first = NetworkRun(recipe, tmp_path / "some", **given)
    for _ in range(3):
        first.step()
    first.save()
    second = NetworkRun(recipe, tmp_path / "some", **given)
    second.restore()
    second.go()
    for name, weight in whole.weights.items():
        assert torch.equal(weight, second.weights[name]), name
    other = arrays(tmp_path / "other", np.arange(10) % 6)
    with pytest.raises(EdgeError, match="is a run on other texts"):
        NetworkRun(recipe, tmp_path / "some", data=[str(other)]).restore()


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    start = a_tower(tmp_path / "start")
    folder = arrays(tmp_path / "data", np.arange(9) % 7)
    recipe = a_recipe(start, seen=16, splits=2)
    table = json.loads(json.dumps(dataclasses.asdict(recipe)))
    for part in (table, table["examples"]):
        for key in [key for key, value in part.items() if value in (None, [])]:
            del part[key]
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(table))
    assert read(file) == reading.read(file) == recipe
    done = torchrun(file, tmp_path / "two", "--data", str(folder))
    assert done.returncode == 0, done.stderr
    one = NetworkRun(recipe, tmp_path / "one", data=[str(folder)])
    one.go()
    alone, shared = load_file(tmp_path / "one" / STATE), load_file(tmp_path / "two" / STATE)
    assert alone.keys() == shared.keys()
    for name, tensor in alone.items():
        if name.endswith("attn.k.bias"):
            continue  # its gradient is zero but for rounding, which Adam makes large
        torch.testing.assert_close(tensor, shared[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("bare", [False, True])
def test_new_labels_are_learned_and_every_target_names_them(bare: bool, tmp_path: Path) -> None:
    """A head in place of another one, or of none; the rest stays still. transformers and edge read what is written."""
    import edge

    fields = {"architectures": ["ViTModel"]} if bare else {}
    start = a_tower(tmp_path / "start", **fields)
    file = coloured(tmp_path / "data")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "seed: 1\nexamples: {loss: cross-entropy, labels: new, batch: 6, seen: 240}\nprecision: fp32\n"
        "rates: {optimizer: adam, matrix: 0.001, other: 0.02, shrink: 0.0, warmup: 6, decay: 0.5}\n"
        'still: ["patch*", "position", "layers.*", "norm*"]\n'
    )
    folder = train(recipe, tmp_path / "run", start=str(start), data=[str(file)])
    assert folder is not None
    model = of_transformers(folder)
    assert model.config.id2label == {0: "blue", 1: "green", 2: "red"}
    with Checkpoint.open(start) as before, Checkpoint.open(folder) as after:
        for name in before.places.keys() - {"head", "head.bias"}:
            np.testing.assert_array_equal(before[name], after[name], err_msg=name)
    convert(folder, tmp_path / "artifact", Options(target="onnx", quant="fp32"))
    classifier = edge.load(tmp_path / "artifact")
    for name, colour in COLOURS.items():
        PIL.new("RGB", (30, 30), colour).save(tmp_path / "one.png")
        assert classifier.classify(tmp_path / "one.png")[0].label == name
    ids = {label: row for row, label in model.config.id2label.items()}
    given = channels_first(_prepared(classifier, tmp_path / "one.png"))
    assert int(model(given).logits.argmax()) == ids["red"]


def _prepared(classifier: Any, file: Path) -> np.ndarray:
    from edge.vision.pictures import open_picture
    from edge.vision.preparation import prepare

    return prepare(open_picture(file), classifier.vision.preparation)[None]


def test_several_labels_of_a_picture(tmp_path: Path) -> None:
    start = a_tower(tmp_path / "start", id2label={str(i): f"l{i}" for i in range(7)})
    file = coloured(tmp_path / "data", each=1)
    lines = [{"image": f"{name}-0.png"} for name in COLOURS]
    told = [["l0", "l6"], [], [3]]
    file.write_text(
        "\n".join(
            json.dumps(line | {"labels": names}) for line, names in zip(lines, told, strict=True)
        )
    )
    run = NetworkRun(
        a_recipe(start, loss="binary-cross-entropy"), tmp_path / "run", data=[str(file)]
    )
    _, target = run.examples.take([0, 1, 2])
    np.testing.assert_array_equal(target.nonzero(), ([0, 0, 2], [0, 6, 3]))
    run.step()
    assert run.judged


BAD = {
    "no JSON": ('{"image": ', "line 1 is not JSON"),
    "no image": ('{"label": "red"}', "line 1 names no image"),
    "no label": ('{"image": "red-0.png"}', "line 1 has no label"),
    "a label of another kind": ('{"image": "red-0.png", "label": 1.5}', "line 1 has no label"),
    "an unknown label": (
        '{"image": "red-0.png", "label": "pink"}',
        "the model has no label 'pink'",
    ),
    "a row too many": ('{"image": "red-0.png", "label": 7}', "the model has no label 7"),
    "two labels for one": (
        '{"image": "red-0.png", "labels": [1, 2]}',
        "has 2 labels, and the loss",
    ),
    "a picture elsewhere": ('{"image": "../start/config.json", "label": 1}', "is not below"),
    "an absolute place": ('{"image": "/etc/hostname", "label": 1}', "is not below"),
    "no such picture": ('{"image": "pink.png", "label": 1}', "there is no picture"),
    "nothing": ("\n", "has no line"),
    "deep": ("[" * 5000, "line 1 is not JSON"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_lines_are_refused_before_anything_is_written(kind: str, tmp_path: Path) -> None:
    line, said = BAD[kind]
    start = a_tower(tmp_path / "start")
    file = coloured(tmp_path / "data", each=1)
    file.write_text(line + "\n")
    with pytest.raises(EdgeError, match=said):
        NetworkRun(a_recipe(start), tmp_path / "run", data=[str(file)])
    assert not (tmp_path / "run").exists()


def test_bad_arrays_are_refused(tmp_path: Path) -> None:
    start, good = a_tower(tmp_path / "start"), np.arange(5) % 7

    def refused(said: str, folder: Path, **changes: Any) -> None:
        with pytest.raises(EdgeError, match=said):
            NetworkRun(a_recipe(start, **changes), tmp_path / "run", data=[str(folder)])

    refused("target.npy has targets from 0 to 7", arrays(tmp_path / "a", np.array([0, 7])))
    refused("target.npy has targets from -2", arrays(tmp_path / "b", np.array([0, -2])))
    refused("target.npy has targets from 0 to 1", arrays(tmp_path / "c", np.array([0.5, 1])))
    refused("target.npy has the shape", arrays(tmp_path / "d", np.zeros((3, 7))))
    refused("target.npy has the shape", arrays(tmp_path / "e", good), loss="squared")
    refused(
        "are no shares", arrays(tmp_path / "f", np.full((2, 7), 1.5)), loss="binary-cross-entropy"
    )
    few = np.zeros((3, 16, 16, 3))
    refused("not as many examples of each: image 3, target 5", arrays(tmp_path / "g", good, few))
    small = np.zeros((5, 15, 16, 3))
    refused("image.npy has the shape", arrays(tmp_path / "h", good, small))
    pickled = arrays(tmp_path / "i", good)
    np.save(pickled / "target.npy", np.array([{}, [], 1, 2, 3], object), allow_pickle=True)
    refused("target.npy is no array of numpy's", pickled)
    (pickled / "target.npy").write_bytes(b"\x93NUMPY\x01\x00")
    refused("target.npy is no array of numpy's", pickled)
    (pickled / "target.npy").unlink()
    refused("there is no .*target.npy", pickled)
    refused("there is no", tmp_path / "nowhere")
    refused("arrays name no labels", arrays(tmp_path / "j", good), labels="new")
    refused("gives logits, and the recipe trains rows", tmp_path / "j", output="rows")
    refused(r"no weight is named layer\.\*", tmp_path / "j", still=("layer.*",))
    refused("every weight stays still", tmp_path / "j", still=("*",))


def test_what_is_no_classifier_learns_from_arrays_alone(tmp_path: Path) -> None:
    """A tower's features, by a squared error: of DINOv2, whose scales and norms learn too."""
    start = a_tower(tmp_path / "start", "dinov2")
    with Checkpoint.open(start) as checkpoint:
        (port,) = checkpoint.spec.config.outputs
        side = checkpoint.spec.config.image[0]
    rng = np.random.default_rng(0)
    target = rng.standard_normal((4, *port.shape[1:])).astype(np.float32)
    folder = arrays(tmp_path / "data", target, rng.standard_normal((4, side, side, 3)))
    run = NetworkRun(a_recipe(start, loss="squared", seen=40), tmp_path / "run", data=[str(folder)])
    before = run.part([0, 1, 2, 3])[0]
    run.go()
    assert run.part([0, 1, 2, 3])[0] < 0.9 * before
    with pytest.raises(EdgeError, match="are for a classifier of pictures"):
        NetworkRun(a_recipe(start), tmp_path / "no", data=[str(coloured(tmp_path / "lines"))])
    written = run.export()
    assert written is not None
    with Checkpoint.open(written) as made:
        for name, weight in run.weights.items():
            np.testing.assert_allclose(made[name], weight.detach(), rtol=1e-6, atol=1e-6)


def test_a_decoder_and_an_unwritable_checkpoint_are_refused(tmp_path: Path) -> None:
    from support import tiny

    start = tiny(tmp_path / "llama")
    folder = arrays(tmp_path / "data", np.arange(3))
    with pytest.raises(EdgeError, match="is a decoder of text"):
        NetworkRun(a_recipe(start), tmp_path / "run", data=[str(folder)])
    with pytest.raises(EdgeError, match="names no checkpoint"):
        NetworkRun(a_recipe(None), tmp_path / "run", data=[str(folder)])
    with pytest.raises(EdgeError, match="names no examples"):
        NetworkRun(a_recipe(a_tower(tmp_path / "vit")), tmp_path / "run")


def test_the_recipe_that_is_brought_is_read() -> None:
    assert isinstance(reading.read(fields.EXAMPLE.with_name("classify.yaml")), NetworkRecipe)


def test_what_is_written_keeps_its_types(tmp_path: Path) -> None:
    start = a_tower(tmp_path / "start")
    file = start / "model.safetensors"
    kinds = [torch.bfloat16, torch.float16, torch.float32]
    save_file(
        {name: w.to(kinds[i % 3]) for i, (name, w) in enumerate(sorted(load_file(file).items()))},
        file,
    )
    folder = arrays(tmp_path / "data", np.arange(4) % 7)
    run = NetworkRun(a_recipe(start, seen=4), tmp_path / "run", data=[str(folder)])
    run.go()
    written = run.export()
    assert written is not None
    got, want = load_file(written / "model.safetensors"), load_file(file)
    assert {name: w.dtype for name, w in got.items()} == {name: w.dtype for name, w in want.items()}
    assert {name: w.shape for name, w in got.items()} == {name: w.shape for name, w in want.items()}
