"""Models of several networks from the command line: placed, proved, planned, asked about pictures."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import internvls
import numpy as np
import pytest
from conftest import Edge

import edge as package

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnxruntime")
Image = pytest.importorskip("PIL.Image")

TOKENS = ("--max-tokens", "5")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("internvl") / "mini"
    internvls.write(folder)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Of one tile, and of four and the small one; one on its side, as phones store them."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    files = {name: folder / f"{name}.png" for name in ("small", "large")}
    for file, side in zip(files.values(), (9, 24), strict=True):
        Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(file)
    turned = Image.fromarray(rng.integers(0, 256, (16, 32, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(folder / "turned.jpg", exif=exif)
    return {**files, "turned": folder / "turned.jpg"}


PLACES = "vision=onnx:int8,projector=onnx:fp32,text=onnx:fp32"


@pytest.fixture(scope="module")
def artifact(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from edge import api
    from edge.convert.options import Options

    out = tmp_path_factory.mktemp("out") / "it"
    api.convert_model(str(source), PLACES, out, Options())
    return out


def test_networks_are_placed(edge: Edge, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "it"
    done = edge("convert", source, "--to", PLACES, "-o", out, "--json")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert said["path"] == str(out)
    assert {name.split("/")[0] for name in said["files"]} == {"vision", "projector", "text"}
    assert said["bytes"] == sum((out / name).stat().st_size for name in said["files"])


def asked(edge: Edge, *words: Any) -> dict[str, Any]:
    done = edge("run", *words, *TOKENS, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert isinstance(found, dict)
    return found


def test_an_answer_about_pictures(edge: Edge, artifact: Path, pictures: Mapping[str, Path]) -> None:
    found = asked(
        edge, artifact, "What?", "--image", pictures["large"], "--image", pictures["turned"]
    )
    assert [
        (i["width"], i["height"], i["grid"], i["tiles"], i["tokens"]) for i in found["images"]
    ] == [
        (24, 24, [2, 2], 5, 20),
        (16, 32, [1, 2], 3, 12),  # upright
    ]
    place = json.loads((artifact / "text" / "tokenizer.json").read_text())["added_tokens"][-1]
    assert place["content"] == "<IMG_CONTEXT>"
    assert found["prompt_tokens"].count(place["id"]) == 32
    assert len(found["tokens"]) <= 5
    assert {"text", "prefill_tps", "decode_tps", "ending"} <= found.keys()
    model = package.load(artifact)
    same = model.generate("What?", images=[pictures["large"], str(pictures["turned"])])
    assert next(same.generation) == found["tokens"][0]


def test_fewer_tiles_if_asked(edge: Edge, artifact: Path, pictures: Mapping[str, Path]) -> None:
    found = asked(edge, artifact, "What?", "--image", pictures["large"], "--max-tiles", "1")
    assert found["images"][0]["tiles"] == 1


def test_drafts_and_a_cut_cache(edge: Edge, artifact: Path, pictures: Mapping[str, Path]) -> None:
    words = (artifact, "What?", "--image", pictures["large"])
    plain = asked(edge, *words)
    assert plain["cache_rows"] > 40
    drafted = asked(edge, *words, "--draft-by", "lookup")
    assert drafted["tokens"] == plain["tokens"]
    assert "rounds" in drafted or "drafted" in drafted
    cut = asked(edge, *words, "--snapkv", "40")
    assert cut["cache_rows"] <= 46


def test_progress_is_by_tiles(artifact: Path, pictures: Mapping[str, Path]) -> None:
    from edge import api

    told: list[tuple[str, int, list[int]]] = []

    @contextmanager
    def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
        told.append((what, total, []))
        yield told[-1][2].append

    files = [pictures["large"], pictures["small"]]
    api.look_at(package.load(artifact), files, None, progress)
    assert told == [("large.png", 5, [1] * 5), ("small.png", 1, [1])]


def test_text_alone(edge: Edge, artifact: Path) -> None:
    found = asked(edge, artifact, "What?")
    assert found["images"] == []
    piped = edge("run", artifact, "-", *TOKENS, "--json", stdin="What?")
    assert json.loads(piped.out)["tokens"] == found["tokens"]


def test_a_checkpoint_is_converted_on_first_use(
    edge: Edge, source: Path, artifact: Path, pictures: Mapping[str, Path]
) -> None:
    words = (source, "What?", "--image", pictures["small"], "--runtime", "onnx")
    found = asked(edge, *words)
    assert asked(edge, *words)["tokens"] == found["tokens"]
    rows = json.loads(edge("list", "--json").out)
    rows = rows if isinstance(rows, list) else next(iter(rows.values()))
    (made,) = (row for row in rows if row["kind"] == "artifact" and source.name in row["id"])
    assert made["family"] == "internvl"
    assert made["target"] == "onnx"
    assert made["recipe"] == "rtn-int8-row, gptq-int4-g64"


def test_a_chat_shows_pictures(edge: Edge, artifact: Path, pictures: Mapping[str, Path]) -> None:
    lines = [f"/image {pictures['large']}", "/image nowhere.png", "What?", "And now?", ""]
    done = edge("run", artifact, *TOKENS, stdin="\n".join(lines))
    assert done.code == 0, done.err
    assert "nowhere.png" in done.err
    first = asked(edge, artifact, "What?", "--image", pictures["large"])
    assert done.out.startswith(first["text"] + "\n")


def test_each_network_is_proved(edge: Edge, source: Path, artifact: Path) -> None:
    names = ("vision", "projector", "text")
    before = edge("inspect", artifact, "--json").json
    assert [before["verified"], *(before[name]["verified"] for name in names)] == [None] * 4
    done = edge("verify", artifact, "--against", source, "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert report["passed"] is True
    assert report["whole"]["passed"] is True
    assert (report["whole"]["tiles"], report["whole"]["greedy_tokens"]) == ([1, 3], 16)
    kept = json.loads((artifact / "edge.json").read_text())["verified"]
    assert kept == report
    shown = edge("inspect", artifact, "--json").json
    assert [shown["verified"], *(shown[name]["verified"] for name in names)] == [True] * 4
    assert {name: one["passed"] for name, one in report["networks"].items()} == dict.fromkeys(
        ("vision", "projector", "text"), True
    )
    files = edge("verify", artifact, "--files", "--json")
    assert files.code == 0, files.err


def test_a_changed_byte_is_found(edge: Edge, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "it"
    assert edge("convert", source, "--to", "onnx", "--quant", "fp32", "-o", out).code == 0
    file = next((out / "projector").glob("*.data"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    for words in (("verify", out, "--files"), ("run", out, "What?")):
        done = edge(*words)
        assert done.code != 0, words
        assert file.name in done.err + done.out, words


def test_what_a_plan_says_is_what_is_written(edge: Edge, source: Path, artifact: Path) -> None:
    done = edge("plan", source, "--to", PLACES, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    written = json.loads(edge("inspect", artifact, "--json").out)
    for name, own in found["networks"].items():
        assert own["parameters"] == written[name]["parameters"]
        assert own["recipe"].split()[0] == written[name]["recipe"]  # the plan names exceptions, too
    assert found["disk_bytes"] == sum(own["disk_bytes"] for own in found["networks"].values())
    several = json.loads(edge("plan", source, "--to", "onnx,mlx", "--quant", "fp16", "--json").out)
    assert [plan["networks"]["text"]["target"] for plan in several["plans"]] == ["onnx", "mlx"]
    assert "vision:" in edge("plan", source).out


def test_bench(edge: Edge, artifact: Path) -> None:
    """A result for each number of tiles, in a table; one alone as it is."""
    words = ("bench", artifact, "--rounds", "2", "-n", "4", "--threads", "1")
    done = edge(*words, "--json")
    assert done.code == 0, done.err
    rows = done.json["artifacts"]
    assert [(row["path"], row["tiles"]) for row in rows] == [(str(artifact), 1), (str(artifact), 5)]
    for row in rows:
        assert (row["new"], row["rounds"], row["threads"]) == (4, 2, 1)
        for key in ("first", "second", "again", "decode", "tiles"):
            assert len(row[f"{key}_all"]) == 2
            assert min(row[f"{key}_all"]) > 0
        assert row["first_seconds"] == sum(row["first_all"]) / 2
        assert row["peak_rss_mb"] > 0
        assert row["artifact_mb"] > 0
    assert edge(*words, "--tiles", "3", "--json").json["tiles"] == 3
    assert "first token s" in edge(*words).out
    cut = edge(*words, "--tiles", "5", "--snapkv", "24", "--snapkv-window", "8", "--json")
    assert cut.code == 0, cut.err


def test_both_are_inspected(edge: Edge, source: Path, artifact: Path) -> None:
    for path in (source, artifact):
        done = edge("inspect", path, "--json")
        assert done.code == 0, done.err
        found = json.loads(done.out)
        assert found["family"] == "internvl"
        assert found["vision"]["family"] == "intern_vit"
        assert found["text"]["family"] == "internlm2"


def test_what_makes_no_sense_is_refused(
    edge: Edge, source: Path, artifact: Path, pictures: Mapping[str, Path], tmp_path: Path
) -> None:
    shown, out = ("--image", pictures["small"]), ("-o", tmp_path / "no")
    empty = tmp_path / "empty.png"
    empty.write_bytes(b"")
    for words, said in (
        (("convert", source, "--to", "onnx,text=gguf", *out), "names no target of a network"),
        (("convert", source, "--to", "text=", *out), "names no target of a network"),
        (("convert", source, "--to", "text=onnx,text=mlx", *out), "places 'text' twice"),
        (("convert", source, "--to", "speech=onnx", *out), "no network 'speech'"),
        (("convert", source, "--to", "text=tensorrt", *out), "tensorrt"),
        (("convert", source, "--to", "vision=gguf", *out), "gguf"),
        (("convert", source, "--override", "layers.*=int8", *out), "names no network"),
        (("convert", source, "--labels", empty, *out), "labels"),
        (("convert", source, "--to", "mlx", "--quant", "int4-g64", *out), "--override 'text.layers.*.mlp.down="),
        (("plan", source, "--to", "mlx", "--quant", "int4-g64"), "--override 'text.layers.*.mlp.down="),
        (("bench", artifact, "-p", "9"), "--prompt"),
        (("bench", artifact, "--text", empty), "--text"),
        (("bench", artifact, "--tiles", "2"), "cut into 2 tiles"),
        (("bench", artifact, "--tiles", "1,x"), "--tiles 1,x"),
        (("bench", artifact, "--tiles", "0"), "--tiles 0"),
        (("bench", artifact, "-n", "600"), "-n"),
        (("bench", artifact, "--quality", "x.json", "--tiles", "1"), "--quality"),
        (("bench", artifact / "vision", "--tiles", "1"), "--tiles"),
        (("bench", artifact / "text", "--tiles", "1"), "--tiles"),
        (("run", artifact, "What?", *shown, "--top", "3"), "--top"),
        (("run", artifact, "What?", *shown, "--raw"), "--raw"),
        (("run", artifact, "What?", "--layerskip", "1"), "keeps no exit"),
        (("run", artifact, "What?", "--fast"), "--fast"),
        (("run", artifact, "What?", "--max-tiles", "3"), "--max-tiles"),
        (("run", artifact, "What <image>?"), "there are 0 pictures"),
        (("run", artifact, "<IMG_CONTEXT>", *shown), "stands for pictures"),
        (("run", artifact, "What?", "--image", empty), "empty.png"),
        (("run", artifact, "What?", "--image", tmp_path / "none.png"), "none.png"),
        (("run", artifact, "What?", *shown, "--runtime", "mlx"), "mlx cannot run"),
    ):  # fmt: skip
        done = edge(*words)
        assert done.code in (1, 2, 3), (words, done.out)
        assert said in done.err, (words, done.err)
        assert "Traceback" not in done.err
        assert not (tmp_path / "no").exists()


def test_a_network_that_was_proved_alone_stays_part_of_the_whole(
    edge: Edge, source: Path, artifact: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(artifact, tmp_path / "it")
    assert edge("verify", copy / "projector", "--against", source).code == 0
    said = json.loads((copy / "projector" / "edge.json").read_text())
    assert said["verified"]["passed"]
    assert edge("verify", copy, "--files").code == 0
