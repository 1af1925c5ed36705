"""Artifacts beside each other, on the command line."""

import csv
import json
from pathlib import Path

import pytest
from conftest import Edge
from support import ROOT

from edge.measure.recall import text as world

STORIES = ROOT / "edge" / "models" / "edge-stories"


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("text") / "world.txt"
    file.write_text(world(seed=3, count=3))
    return file


@pytest.fixture
def several(edge: Edge, tmp_path: Path) -> list[Path]:
    out = []
    for recipe in ("fp32", "rtn-int4-g32"):
        out.append(tmp_path / recipe)
        done = edge("convert", STORIES, "--to", "onnx", "--quant", recipe, "-o", out[-1])
        assert done.code == 0, done.err
    return out


def test_size_speed_and_loss_in_every_form(
    edge: Edge, several: list[Path], text: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    out = tmp_path / "compared"
    done = edge(
        "compare",
        *several,
        "--text",
        text,
        "--against",
        STORIES,
        "-o",
        out,
        "--window",
        "128",
        "--json",
    )
    assert done.code == 0, done.err
    first, second = done.json["artifacts"]
    assert [first["recipe"], second["recipe"]] == ["fp32", "rtn-int4-g32"]
    assert first["kl"] == pytest.approx(0, abs=1e-4)
    assert first["top1"] > 0.99
    assert second["kl"] > 1e-4
    assert first["megabytes"] > 3 * second["megabytes"]
    assert all(row["decode_tps"] > 0 for row in (first, second))
    assert json.loads((out / "comparison.json").read_text()) == [first, second]
    rows = list(csv.DictReader((out / "comparison.csv").open()))
    assert [row["artifact"] for row in rows] == ["fp32", "rtn-int4-g32"]
    assert float(rows[1]["kl"]) == pytest.approx(second["kl"])
    lines = (out / "comparison.md").read_text().splitlines()
    assert len({line.count("|") for line in lines[:4]}) == 1
    assert "rtn-int4-g32" in lines[3]
    assert (out / "comparison.svg").read_text().startswith("<svg")
    assert {Path(file).name for file in done.json["files"]} >= {"comparison.md", "comparison.svg"}


def test_what_cannot_be_compared(edge: Edge, text: Path, tmp_path: Path) -> None:
    file = tmp_path / "taken"
    file.write_text("")
    done = edge("compare", tmp_path, "--text", text, "-o", file)
    assert done.code == 2
    assert "is no folder" in done.err
    done = edge("compare", tmp_path / "nothing", "--text", text, "-o", tmp_path / "out")
    assert done.code == 2
    assert not (tmp_path / "out").exists()
