"""`edge convert` and `edge run --image`: labels of real photos under the published names of CatLIP's weights, on
every target, against plain torch and Pillow alone; and heads that are cut to classes.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Edge
from towers import TOWERS, channels_first
from towers.catlip import computed, random
from wordnets import ANIMALS, written

import edge as package
from edge.artifact.manifest import Artifact
from edge.convert.conversion import convert_all
from edge.convert.options import Options

torch = pytest.importorskip("torch")
Image = pytest.importorskip("PIL.Image")

FIELDS = {**TOWERS["catlip"].tiny, "image_size": 224, "num_labels": 400}
TARGETS = ("coreml", "mlx", "onnx", "torch")
COUNT = 4  # photos


@dataclass(frozen=True)
class Model:
    folder: Path
    vocabulary: Path
    state: dict[str, Any]

    def scores(self, file: Path) -> np.ndarray:
        """As the published pipeline shows a picture: 232, 224 of the middle, by 255, and no mean."""
        image = Image.open(file).convert("RGB")
        width, height = image.size
        short = min(width, height)
        size = (int(232 * width / short), int(232 * height / short))
        image = image.resize(size, Image.Resampling.BILINEAR)
        left, top = round((size[0] - 224) / 2), round((size[1] - 224) / 2)
        pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32) / 255
        with torch.no_grad():
            return np.asarray(computed(self.state, FIELDS, channels_first(pixels[None])))[0]


@pytest.fixture(scope="module")
def photos(assets: Path) -> Sequence[Path]:
    found = sorted((assets / "images" / "coco-mini" / "val2017").glob("*.jpg"))[:COUNT]
    assert len(found) == COUNT
    return found


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """As Apple's file comes: a torch file, with counters of batches and what augmented the training."""
    folder = tmp_path_factory.mktemp("catlip") / "catlip"
    folder.mkdir()
    state = random(FIELDS)
    # Random numbers see any picture much alike: what differs is to count.
    state["classifier.weight"] *= 8
    more = {f"patch_emb.{i}.block.norm.num_batches_tracked": torch.tensor(200_000) for i in (0, 1)}
    more["neural_augmentor.brightness._low"] = torch.tensor(0.1)
    torch.save(state | more, folder / "pytorch_model.pt")
    (folder / "config.json").write_text(json.dumps(FIELDS))
    vocabulary = folder.parent / "vocabulary.json"
    counts = {f"n{1740 + 7 * row}": 9000 - row for row in range(FIELDS["num_labels"] + 50)}
    vocabulary.write_text(json.dumps(counts))
    return Model(folder, vocabulary, state)


@pytest.fixture(scope="module")
def artifacts(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of all targets, by one pass."""
    out = tmp_path_factory.mktemp("out") / "it"
    options = Options(quant="fp32", labels=model.vocabulary)
    convert_all(model.folder, {target: out / target for target in TARGETS}, options)
    return out


@pytest.mark.parametrize("target", TARGETS)
def test_labels_of_photos_are_those_of_plain_torch(
    edge: Edge, model: Model, artifacts: Path, photos: Sequence[Path], target: str
) -> None:
    more = ("--reference",) if target == "coreml" else ()
    given = [word for photo in photos for word in ("--image", photo)]
    done = edge("run", artifacts / target, *given, "--top", "7", "--json", *more)
    assert done.code == 0, done.err
    every = set()
    for photo, answer in zip(photos, done.json["answers"], strict=True):
        want = model.scores(photo)
        best = np.argsort(-want, kind="stable")[:7]
        assert [one["label"] for one in answer["labels"]] == [
            f"n{1740 + 7 * row:08d}" for row in best
        ]
        scores = [one["score"] for one in answer["labels"]]
        np.testing.assert_allclose(scores, 1 / (1 + np.exp(-want[best])), rtol=1e-4)
        shown = answer["images"][0]
        assert (shown["file"], (shown["width"], shown["height"])) == (
            str(photo),
            Image.open(photo).size,
        )
        every.add(tuple(best))
    assert len(every) > 1, "all photos have the same labels: nothing was seen"


def test_low_bits_and_a_proof(edge: Edge, model: Model, tmp_path: Path) -> None:
    """What a checkpoint is converted to where nothing is asked for is proved, too."""
    out = tmp_path / "it"
    assert edge("convert", model.folder, "--to", "onnx", "-o", out).code == 0
    assert Artifact.open(out).manifest.recipe == "rtn-int8-row"
    done = edge("verify", out, "--against", model.folder, "--json")
    assert done.code == 0, done.out
    assert done.json["passed"]
    assert [size["tiles"] for size in done.json["sizes"]] == [1, 33, 64]
    assert edge("verify", out, "--tokens", "3").code == 2
    timing = edge("bench", out, "--rounds", "2", "--json").json
    assert len(timing["seconds_all"]) == 2
    assert timing["work_gflop"] > 0
    shown = edge("inspect", out, "--json").json
    assert shown["network"] == "vit"
    assert shown["outputs"] == {"logits": "float[tiles, 400]"}


def test_a_plan_is_what_is_written(edge: Edge, model: Model, tmp_path: Path) -> None:
    for target in TARGETS:
        plan = edge("plan", model.folder, "--to", target, "--quant", "int8", "--json").json
        out = tmp_path / target
        words = ("--to", target, "--quant", "int8", "-o", out)
        dry = edge("convert", model.folder, *words, "--dry-run", "--json").json
        assert edge("convert", model.folder, *words).code == 0
        assert dry["bytes"] == plan["disk_bytes"]
        data = [p for p in out.rglob("*") if p.suffix in (".data", ".bin", ".safetensors")]
        assert sum(p.stat().st_size for p in data) == pytest.approx(plan["disk_bytes"], rel=0.06)


def test_a_head_that_is_cut_is_rows_of_the_whole(
    edge: Edge, model: Model, artifacts: Path, photos: Sequence[Path], tmp_path: Path
) -> None:
    classes = tmp_path / "mine.txt"
    rows = (3, 250, 17)
    classes.write_text("".join(f"n{1740 + 7 * row}\n" for row in rows))
    out = tmp_path / "cut"
    words = ("--labels", model.vocabulary, "--classes", classes, "--quant", "fp32")
    done = edge("convert", model.folder, "--to", "onnx", *words, "-o", out)
    assert done.code == 0, done.err
    whole, cut = (package.load(folder) for folder in (artifacts / "onnx", out))
    for photo in photos:
        every = {one.label: one.score for one in whole.classify(photo, top=400)}
        for one in cut.classify(photo, top=3):
            row = int(one.label.removeprefix("n"))
            assert one.score == pytest.approx(every[f"n{row:08d}"], rel=1e-5)
    # Proved against the whole checkpoint, whose rows the manifest names.
    assert Artifact.open(out).manifest.vision.cut == tuple((row,) for row in rows)
    assert edge("verify", out, "--against", model.folder).code == 0


def test_classes_are_found_by_their_place_among_nouns(
    edge: Edge, model: Model, tmp_path: Path
) -> None:
    """A head is cut to what no row is of: the rows nearest to it. Two that get the same are said so."""
    folder = tmp_path / "dict"
    folder.mkdir()
    offsets = written(folder, ANIMALS)
    labels = [f"n{offset:08d}" for offset in offsets.values()]
    labels += [f"word {i}" for i in range(FIELDS["num_labels"] - len(labels))]
    vocabulary = tmp_path / "labels.txt"
    vocabulary.write_text("\n".join(labels))
    classes = tmp_path / "mine.txt"
    classes.write_text("golden retriever\nwolf\n")
    out = tmp_path / "cut"
    words = ("--labels", vocabulary, "--wordnet", folder, "--classes", classes)
    done = edge("convert", model.folder, "--to", "onnx", *words, "-o", out)
    assert done.code == 0, done.err
    assert (out / "labels.txt").read_text() == "golden retriever\nwolf\n"
    names = list(offsets)
    cut = Artifact.open(out).manifest.vision.cut
    assert cut == ((names.index("golden"),), (names.index("wolf"),))


def test_what_makes_no_sense_is_refused(
    edge: Edge, model: Model, artifacts: Path, photos: Sequence[Path], tmp_path: Path, assets: Path
) -> None:
    photo, onnx = photos[0], artifacts / "onnx"
    for words, said in (
        (("run", onnx, "a prompt"), "no decoder of text"),
        (("run", onnx, "a prompt", "--fast"), "no decoder of text"),
        (("serve", onnx), "no decoder of text"),
        (("run", onnx, "a prompt", "--image", photo), "takes no prompt"),
        (("run", onnx, "--image", photo, "--layerskip", "2"), "decodes no tokens"),
        (("run", onnx, "--image", photo, "--classes", photo), "converted already"),
        (("run", onnx, "--image", tmp_path / "none.jpg"), "none.jpg"),
        (("run", onnx, "--top", "3", "a prompt"), "are of pictures"),
        (("run", "edge-stories", "--image", photo), "is a decoder of text"),
        (("convert", model.folder, "-o", tmp_path / "x", "--context", "64"), "--context"),
        (("convert", model.folder, "-o", tmp_path / "x", "--classes", photo), "nowhere said"),
        (("convert", model.folder, "-o", tmp_path / "x", "--image-size", "30"), "no whole patches"),
        (("convert", model.folder, "--to", "gguf", "-o", tmp_path / "x"), "gguf cannot hold"),
        (("bench", onnx, "-p", "8"), "no tokens"),
        (("plan", model.folder, "--context", "64"), "--context"),
    ):
        done = edge(*words)
        assert done.code in (2, 3), (words, done.out)
        assert said in done.err, (words, done.err)
    stories = assets / "llm" / "stories-260k"
    done = edge("convert", stories, "-o", tmp_path / "x", "--labels", photo)
    assert "sees no pictures" in done.err
    assert not (tmp_path / "x").exists()
