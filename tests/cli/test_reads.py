"""The reader in the package: what it answers about pictures that no lesson had, by default and named by nobody."""

import json
from pathlib import Path

import pytest
from conftest import Edge
from support import ROOT

import edge as package
from edge import api
from edge.convert.options import Options
from edge.pipelines.internvl import InternVL
from edge.source import registry

pytest.importorskip("PIL")
pytest.importorskip("onnxruntime")

SHEETS = ROOT / "docs" / "reads"  # tests/sheets.py drew them
ASKED = json.loads((SHEETS / "asked.json").read_text("utf-8"))
SURE = ("02-en.png", "04-zh.png", "05-en.png", "07-zh.png", "10-en.png", "14-en.png")


@pytest.fixture(scope="module", params=["default", "fp32"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> InternVL:
    out = tmp_path_factory.mktemp("reads") / "it"
    quant = None if request.param == "default" else request.param
    api.convert_model(registry.READER, "onnx", out, Options(quant=quant))
    loaded = package.load(out)
    assert isinstance(loaded, InternVL)
    return loaded


def test_it_reads_lines_receipts_bars_and_shapes(model: InternVL) -> None:
    told = [
        "".join(model.generate(one["question"], images=[str(SHEETS / one["file"])])).strip()
        for one in ASKED
    ]
    right = [answer == one["answer"] for answer, one in zip(told, ASKED, strict=True)]
    assert all(good for good, one in zip(right, ASKED, strict=True) if one["file"] in SURE), told
    assert sum(right) >= 38, told  # of 43: the card says how well it does each


def test_a_picture_needs_no_model_s_name(edge: Edge) -> None:
    (one, *_) = (one for one in ASKED if one["file"] == "05-en.png")
    done = edge("run", one["question"], "--image", SHEETS / one["file"], "--json")
    assert done.code == 0, done.err
    assert done.json["text"].strip() == one["answer"]
    assert done.json["images"][0]["tiles"] in (1, 3)
    named = edge("run", "reads", one["question"], "--image", SHEETS / one["file"], "--json")
    assert named.json["tokens"] == done.json["tokens"]


def test_its_parts_run_on_other_targets(tmp_path: Path) -> None:
    """Each network by the target that it is sent to; the answer stays."""
    pytest.importorskip("torch")
    api.convert_model(
        registry.READER,
        "vision=torch,projector=onnx,text=torch",
        tmp_path / "it",
        Options(quant="fp32"),
    )
    model = package.load(tmp_path / "it")
    assert isinstance(model, InternVL)
    for one in (one for one in ASKED if one["file"] == "05-en.png"):
        said = "".join(model.generate(one["question"], images=[str(SHEETS / one["file"])]))
        assert said.strip() == one["answer"]
