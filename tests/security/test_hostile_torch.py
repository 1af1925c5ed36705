"""Hostile artifacts of the target torch whose edge.json vouches for them: one error each, before any
byte of a tensor is looked at.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attack import forge, refused, rewrite
from support import converted, safetensors, tiny, with_header

from edge.artifact.manifest import Artifact
from edge.errors import Damaged, EdgeError
from edge.run import opening

pytest.importorskip("torch")
FILE = "model.safetensors"
Header = dict[str, Any]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("torch")
    return converted(folder / "it", tiny(folder / "source"), "int4-asym", target="torch")


@pytest.fixture
def artifact(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "artifact"))


def change(artifact: Path, edit: Callable[[Header], object]) -> None:
    """Change the file's header, and let the manifest vouch for it."""
    content = (artifact / FILE).read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    edit(header)
    (artifact / FILE).write_bytes(with_header(json.dumps(header).encode(), content[end:]))
    forge(artifact, FILE)


def opens(artifact: Path) -> None:
    opening.open_decoder(Artifact.open(artifact), threads=1, exact=False)


def swap(first: str, second: str) -> Callable[[Header], object]:
    def edit(header: Header) -> None:
        header[first], header[second] = header[second], header[first]

    return edit


def wider(header: Header) -> None:
    header["norm"]["shape"] = [1 << 40]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda h: h.pop("norm"), "no valid safetensors"),
        (lambda h: h.update(nrom=h.pop("norm")), "it lacks norm"),
        (
            swap("norm", "layers.0.attn.q.scales"),
            "is F32 [64], and edge.json makes it F32 [64, 2]",
        ),
        (lambda h: h["norm"].update(dtype="I32"), "norm is I32"),
        (lambda h: h["norm"].update(dtype="F16", shape=[128]), "norm is F16"),
        (lambda h: h["layers.0.attn.q.codes"].update(shape=[32, 64]), "codes is U8 [32, 64]"),
        (lambda h: h["layers.0.attn.q.codes"].update(dtype="F8_E4M3"), "codes is F8_E4M3"),
        (wider, "no valid safetensors"),
        (lambda h: h["norm"].update(data_offsets=[0, 1 << 40]), "past the file"),
        (lambda h: h["head.codes"].update(shape=[1 << 30, 1 << 30]), "do not hold"),
    ],
)
def test_a_header_that_lies(artifact: Path, edit: Callable[[Header], object], words: str) -> None:
    change(artifact, edit)
    with refused(Damaged, words):
        opens(artifact)


@pytest.mark.parametrize("keep", [0, 7, 8, 100, -1])
def test_a_file_that_is_cut_off(artifact: Path, keep: int) -> None:
    content = (artifact / FILE).read_bytes()
    (artifact / FILE).write_bytes(content[:keep])
    forge(artifact, FILE)
    with refused(Damaged, "safetensors"):
        opens(artifact)


def test_a_tensor_that_no_weight_needs(artifact: Path) -> None:
    content = (artifact / FILE).read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    size = len(content) - end
    header["payload"] = {"dtype": "F32", "shape": [2], "data_offsets": [size, size + 8]}
    file = with_header(json.dumps(header).encode(), content[end:] + bytes(8))
    (artifact / FILE).write_bytes(file)
    forge(artifact, FILE)
    with refused(Damaged, "it holds 'payload', which no weight needs"):
        opens(artifact)


def test_a_pickle_under_its_name(artifact: Path) -> None:
    (artifact / FILE).write_bytes(b"\x80\x04\x95" + bytes(500))
    forge(artifact, FILE)
    with refused(Damaged, "safetensors"):
        opens(artifact)


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: d["spec"].update(vocab=1 << 20),
        lambda d: d["spec"]["layers"].append(d["spec"]["layers"][0]),
        lambda d: d["spec"]["layers"].pop(),
        lambda d: d["spec"].update(tied=True),
        lambda d: d["spec"]["layers"][0].update(kv_heads=1),
        lambda d: d.update(recipe="rtn-int8-g32"),
        lambda d: d.update(recipe="rtn-int4-g64-asym"),
        lambda d: d.update(recipe="fp32"),
    ],
)
def test_a_manifest_of_another_model(artifact: Path, edit: Callable[[Any], object]) -> None:
    rewrite(artifact, edit)
    with pytest.raises(EdgeError):
        opens(artifact)


def test_a_checkpoint_in_its_place(artifact: Path) -> None:
    tensors = {"model.norm.weight": np.zeros(64, np.float32)}
    (artifact / FILE).write_bytes(safetensors(tensors))
    forge(artifact, FILE)
    with refused(Damaged, "it lacks embed"):
        opens(artifact)
