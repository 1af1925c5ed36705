"""`edge eval --where`: a model that points is asked where things are. Its weights are random: what counts is what is
done with what it says.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gromas
import numpy as np
import pytest
from support import run

from edge.convert.options import Options
from edge.convert.pipelines import convert_pipeline
from edge.pipelines.groma import Groma, words_of
from edge.pipelines.runners import open_pipeline
from edge.run.model import Wish

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnxruntime")
Image = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("groma")
    gromas.write(folder / "mini")
    return convert_pipeline(
        folder / "mini", folder / "it", Options(target="onnx", quant="fp32")
    ).folder


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A file, and the folder of its pictures."""
    folder = tmp_path_factory.mktemp("asked")
    rng = np.random.default_rng(0)
    images: list[dict[str, Any]] = []
    for number, name in enumerate(("a.png", "b.png")):
        Image.fromarray(rng.integers(0, 256, (24, 40, 3), np.uint8)).save(folder / name)
        images.append({"id": number, "file_name": name})
    images.append({"id": 2, "file_name": "a.png", "caption": "The left dog"})
    boxes = [(0, [0, 0, 20, 20]), (0, [9, 9, 20, 12]), (1, [3, 3, 9, 9]), (2, [0, 0, 40, 24])]
    rows = [{"image_id": i, "bbox": box, "category_id": 1} for i, box in boxes]
    data = {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "dog"}]}
    file = folder / "asked.json"
    file.write_text(json.dumps(data))
    return file, folder


def where(artifact: Path, file: Path, *words: Any) -> Any:
    """What is said, as JSON."""
    done = run("eval", str(artifact), "--where", str(file), *map(str, words), "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_is_what_the_model_answers(artifact: Path, asked: tuple[Path, Path]) -> None:
    """Against boxes that are asked for and compared here, without edge.measure."""
    file, folder = asked
    got = where(artifact, file, "--pictures", folder)
    assert got["one"]["asked"] == 1
    assert (got["all"]["asked"], got["all"]["kinds"]) == (2, 1)

    model = open_pipeline(artifact)
    assert isinstance(model, Groma)

    def boxes(question: str, name: str) -> list[Sequence[float]]:
        answer = model.generate(question, images=[folder / name], wish=Wish(max_tokens=108))
        "".join(answer)
        return [one["box"] for one in words_of(answer).regions]

    shown = boxes("Locate <p>The left dog</p> in the image.", "a.png")
    share = 0.0
    if shown:
        left, top, right, bottom = shown[0]
        share = (right - left) * (bottom - top) / (40 * 24)
    assert got["one"]["mean_overlap"] == pytest.approx(share, abs=1e-6)
    assert got["one"]["without"] == (not shown)
    every = [boxes("Locate all <p>dog</p> in this image.", name) for name in ("a.png", "b.png")]
    assert got["all"]["without"] == sum(not some for some in every)


def test_only_the_first(artifact: Path, asked: tuple[Path, Path]) -> None:
    file, folder = asked
    got = where(artifact, file, "--pictures", folder, "--limit", 1)
    assert "one" not in got
    assert got["all"]["asked"] == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give both"),
        (("--pictures", ".", "--seed", "1"), "not of --where"),
        (("--pictures", ".", "--exact"), "not of --where"),
        (("--pictures", ".", "--text", "a.txt"), "takes one of"),
        (("--pictures", "nowhere"), "has no picture"),
    ],
)
def test_what_is_refused(
    artifact: Path, asked: tuple[Path, Path], words: Sequence[str], said: str
) -> None:
    done = run("eval", str(artifact), "--where", str(asked[0]), *words)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_model_that_points_at_nothing(asked: tuple[Path, Path], tmp_path: Path) -> None:
    file, folder = asked
    done = run("eval", str(tmp_path), "--where", str(file), "--pictures", str(folder))
    assert done.returncode == 2
    assert "points at nothing" in done.stderr
