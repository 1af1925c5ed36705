"""Groma's checkpoints and artifacts that lie, and a pickle among its shards that asks for code."""

import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gromas
import pytest
from attack import rewrite
from test_foreign_code import Evil

from edge.convert.options import Options
from edge.convert.pipelines import convert_pipeline
from edge.errors import EdgeError
from edge.pipelines.runners import open_pipeline

pytest.importorskip("torch")
pytest.importorskip("transformers")
FP32 = Options(target="torch", quant="fp32")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("groma")
    gromas.write(folder / "mini")
    return convert_pipeline(folder / "mini", folder / "it", FP32).folder


def bare(content: bytes) -> Callable[[Path], object]:
    return lambda file: file.write_bytes(content)


def zipped(content: bytes) -> Callable[[Path], object]:
    def write(file: Path) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("archive/data.pkl", content)  # as torch writes them

    return write


@pytest.mark.parametrize("wrapped", [bare, zipped])
@pytest.mark.parametrize("number", [1, 2])
def test_a_shard_that_asks_for_code(number: int, wrapped: Any, tmp_path: Path) -> None:
    gromas.write(tmp_path / "mini")
    canary = tmp_path / "canary"
    file = tmp_path / "mini" / f"pytorch_model-0000{number}-of-00002.bin"
    wrapped(pickle.dumps(Evil(canary)))(file)
    with pytest.raises(EdgeError):
        convert_pipeline(tmp_path / "mini", tmp_path / "out", FP32)
    assert not canary.exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "shards",
    ["../mini/x.bin", "/etc/passwd", "pytorch_model.safetensors", ""],
)
def test_an_index_that_points_elsewhere(shards: str, tmp_path: Path) -> None:
    gromas.write(tmp_path / "mini")
    file = tmp_path / "mini" / "pytorch_model.bin.index.json"
    index = json.loads(file.read_text())
    index["weight_map"]["new_input_embs.weight"] = shards
    file.write_text(json.dumps(index))
    with pytest.raises(EdgeError, match=r"beside it|lacks"):
        convert_pipeline(tmp_path / "mini", tmp_path / "out", FP32)


@pytest.mark.parametrize(
    "numbers",
    [
        {"side": 0},
        {"side": 1 << 40},
        {"side": "448"},
        {"score": -1},
        {"score": 1.5},
        {"score": None},
        {"overlap": "0.6"},
        {"most": 0},
        {"most": 101},
        {"most": 1 << 40},
        {"side": 32},
    ],
)
def test_settings_that_lie(whole: Path, numbers: dict[str, Any], tmp_path: Path) -> None:
    artifact = Path(shutil.copytree(whole, tmp_path / "it"))
    rewrite(artifact, lambda manifest: manifest["settings"].update(numbers))
    with pytest.raises(EdgeError):
        open_pipeline(artifact)
