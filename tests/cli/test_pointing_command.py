"""A model that points from the command line: converted, planned, proved, asked about regions."""

import json
from pathlib import Path
from typing import Any

import gromas
import numpy as np
import pytest
from conftest import Edge

import edge as package

pytest.importorskip("torch")
pytest.importorskip("transformers")
Image = pytest.importorskip("PIL.Image")

TOKENS = ("--max-tokens", "5")
QUESTION = "[grounding] Describe the picture."


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("groma") / "mini"
    gromas.write(folder)
    return folder


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """On its side, as phones store them: 24 x 40 upright. Boxes are of what is seen (dotnet/machinelearning#6592,
    mistralai/mistral-common#330).
    """
    file = tmp_path_factory.mktemp("pictures") / "it.jpg"
    pixels = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(file, exif=exif)
    return file


@pytest.fixture(scope="module")
def artifact(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from edge import api
    from edge.convert.options import Options

    out = tmp_path_factory.mktemp("out") / "it"
    api.convert_model(str(source), "torch", out, Options(quant="fp32"))
    return out


def asked(edge: Edge, *words: Any) -> dict[str, Any]:
    done = edge("run", *words, *TOKENS, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert isinstance(found, dict)
    return found


def test_an_answer_and_its_regions(edge: Edge, artifact: Path, image: Path) -> None:
    found = asked(edge, artifact, QUESTION, "--image", image)
    (seen,) = found["images"]
    assert (seen["width"], seen["height"], seen["grid"], seen["tiles"]) == (24, 40, [1, 1], 1)
    assert seen["tokens"] == 4
    model = package.load(artifact)
    assert found["prompt_tokens"].count(model.place) == 4 + seen["regions"]
    assert isinstance(found["regions"], list)
    assert {"text", "prefill_tps", "decode_tps", "ending"} <= found.keys()
    same = model.generate(QUESTION, images=[image])
    assert next(same.generation) == found["tokens"][0]


def test_boxes_are_asked_about(edge: Edge, artifact: Path, image: Path) -> None:
    boxes = ("--box", "2,3,20,30", "--box", "1,1,9,9")
    found = asked(edge, artifact, "Is <box> on it?", "--image", image, *boxes)
    model = package.load(artifact)
    (seen,) = found["images"]
    assert found["prompt_tokens"].count(model.place) == 4 + seen["regions"] + 2


def test_an_answer_that_names_regions(
    artifact: Path, image: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Of weights that are random none does: its tokens are given."""
    from typer.testing import CliRunner

    from edge.command.cli import app
    from edge.decode import generate as decoding
    from edge.run import model as running

    said = "<p>a dog</p><roi><r0></roi>"
    ids = package.load(artifact).tokenizer.encode(said, special=False)

    def spoken(generation: Any, words: Any, **_: Any) -> Any:
        next(iter(generation))
        return decoding.text_of(iter(ids), words)  # type: ignore[arg-type]

    monkeypatch.setattr(running, "text_of", spoken)
    words = ["run", str(artifact), QUESTION, "--image", str(image), "--box", "2,3,20,30"]
    done = CliRunner().invoke(app, [*words, "--json"])
    found = json.loads(done.stdout)
    assert found["text"] == "a dog"
    assert found["regions"] == [{"phrase": "a dog", "box": [2.0, 3.0, 20.0, 30.0], "score": 1.0}]
    drawn = image.with_name("boxes.png")
    plain = CliRunner().invoke(app, [*words, "-o", str(drawn)])
    assert plain.stdout == "a dog\n"
    assert "a dog: 2,3,20,30" in plain.stderr
    with Image.open(drawn) as opened, Image.open(image) as before:
        assert opened.size == (24, 40)  # upright
        upright = np.asarray(before.transpose(Image.Transpose.ROTATE_270))
        other = (np.asarray(opened.convert("RGB")) != upright).any(axis=2)
    assert other[3:30, 2:20].any()
    assert other[31:].sum() == 0


def test_a_bench(edge: Edge, artifact: Path) -> None:
    done = edge("bench", artifact, "-n", "4", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["regions"] > 2
    assert found["prompt"] > 100
    waits = [found[f"{name}_seconds"] for name in ("seeing", "regions", "first", "second", "again")]
    assert min(waits) > 0
    assert len(found["decode_all"]) == 3
    refused = edge("bench", artifact, "--tiles", "1")
    assert "--tiles" in refused.err
    assert refused.code == 2


def test_apps_refuse_it_by_name(edge: Edge, artifact: Path, tmp_path: Path) -> None:
    done = edge("app", artifact, "-o", tmp_path / "app")
    assert done.code == 3
    assert "groma, which apps do not run yet" in done.err
    assert not (tmp_path / "app").exists()


def test_a_plan_and_a_proof(edge: Edge, source: Path, artifact: Path) -> None:
    planned = edge("plan", source, "--to", "torch", "--json")
    assert planned.code == 0, planned.err
    networks = json.loads(planned.out)["networks"]
    assert set(networks) == {"vision", "proposer", "maps", "regions", "bridge", "text"}
    proved = edge("verify", artifact, "--against", source, "--tokens", "2", "--json")
    assert proved.code == 0, proved.err
    said = json.loads(proved.out)
    assert (said["passed"], said["whole"]["greedy_tokens"]) == (True, 4)
    assert set(said["networks"]) == set(networks)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--box", "1,2,3"), "is no box"),
        (("--box", "a,b,c,d"), "is no box"),
        (("--box", "9,9,9,20"), "a side of less than 2 pixels"),
        (("--box", "20,3,2,30"), "ends before it begins"),
        (("--box", "0,0,25,30"), "leaves the picture, which is 24 x 40"),
        (("--box", "0,0,0.5,0.5"), "pixels, not parts"),
        (("--max-tiles", "3"), "--max-tiles: not of a model that points"),
        (("--top", "3"), "--top: not of a model that points"),
        (("--voice", "me.wav"), "--voice: not of a model that points"),
        (("--raw",), "--raw: not of a model that points"),
        (("-o", "boxes.txt"), "'boxes.txt' names no picture that can be written"),
        (("--image", "it.jpg"), "there are 2 pictures"),
    ],
)
def test_what_is_refused(
    edge: Edge, artifact: Path, image: Path, words: tuple[str, ...], said: str
) -> None:
    done = edge("run", artifact, "What is it?", "--image", image, *words)
    assert done.code in (2, 3), done.err
    assert said in done.err
    assert done.out == ""


def test_without_a_picture(edge: Edge, artifact: Path) -> None:
    done = edge("run", artifact, "What is it?")
    assert done.code == 2
    assert "give --image" in done.err


def test_boxes_of_a_model_that_points_at_nothing(edge: Edge) -> None:
    done = edge("run", "edge-stories", "What is it?", "--box", "1,2,30,40")
    assert done.code == 2
    assert "--box: of a model that points, which edge-stories is not" in done.err
    none = edge("run", "What is it?", "--box", "1,2,30,40")
    assert "edge-points does not come with this edge yet" in none.err
