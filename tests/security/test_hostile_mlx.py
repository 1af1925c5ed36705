"""Damaged and hostile MLX folders: one clear error each, before MLX sees a byte of them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attack import Change, forge, refused, rewrite
from support import converted, dividing, safetensors, tiny

from edge.artifact.manifest import MANIFEST, Artifact
from edge.errors import Damaged, EdgeError, Unsupported
from edge.files.safetensors import SafetensorsFile
from edge.run import opening
from edge.source.headers import INDEX

pytest.importorskip("mlx.core")

WEIGHTS, SHARD = "model.safetensors", "model-00001-of-00001.safetensors"
UP = "model.layers.0.mlp.up_proj"
Tensors = dict[str, np.ndarray]
_NUMPY = {"U32": np.uint32, "F16": np.float16, "F32": np.float32}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("mlx")
    source = tiny(place / "source", "llama", **dividing("llama"))
    return converted(place / "good", source, "int4", target="mlx", overrides={"head": "fp16"})


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    return shutil.copytree(good, tmp_path / "it")


def attempt(folder: Path, kind: type[EdgeError], *words: str) -> None:
    """Opening is refused, although the manifest vouches for every file."""
    names = json.loads((folder / MANIFEST).read_text())["files"]
    forge(folder, *(name for name in names if (folder / name).is_file()))
    with refused(kind, *words):
        opening.open_decoder(Artifact.open(folder), threads=None, exact=False)


def test_the_folder_itself_opens(folder: Path) -> None:
    decoder = opening.open_decoder(Artifact.open(folder), threads=None, exact=False)
    assert np.isfinite(decoder.prefill([1, 2, 3])).all()


# config.json


def packing(**changes: Any) -> Change:
    return lambda config: config["quantization"].update(changes)


FORM = {"group_size": 64, "bits": 4, "mode": "affine"}
CONFIGS: dict[str, tuple[Change, type[EdgeError], tuple[str, ...]]] = {
    "no packing": (lambda c: c.pop("quantization"), Damaged, ("does not say how",)),
    "packing is null": (lambda c: c.update(quantization=None), Damaged, ("does not say how",)),
    "packing is a list": (lambda c: c.update(quantization=[4]), Damaged, ("not an object",)),
    "packing is a text": (lambda c: c.update(quantization="int4"), Damaged, ("not an object",)),
    "no bits": (lambda c: c["quantization"].pop("bits"), Damaged, ("'bits' is missing",)),
    "bits are a text": (packing(bits="4"), Damaged, ("bits is '4'",)),
    "bits are true": (packing(bits=True), Damaged, ("bits is True",)),
    "no bits at all": (packing(bits=0), Damaged, ("bits is 0",)),
    "seven bits": (packing(bits=7), Unsupported, ("7 bits",)),
    "a million bits": (packing(bits=1 << 20), Unsupported, ("1048576 bits",)),
    "groups of 48": (packing(group_size=48), Unsupported, ("groups of 48",)),
    "another mode": (packing(mode="mxfp4"), Unsupported, ("mxfp4",)),
    "mode is a number": (packing(mode=4), Damaged, ("mode is 4",)),
    "more bits than there are": (packing(bits=8), Damaged, ("says 8 bits",)),
    "fewer bits than there are": (packing(bits=2), Damaged, ("says 2 bits",)),
    "bits that divide no word": (packing(bits=3), Damaged, ("says 3 bits",)),
    "smaller groups": (packing(group_size=32), Damaged, ("groups of 32",)),
    "larger groups": (packing(group_size=128), Damaged, ("groups of 128",)),
    "one matrix has other bits": (packing(**{UP: {**FORM, "bits": 8}}), Damaged, (UP, "8 bits")),
    "one matrix has nothing": (packing(**{UP: {}}), Damaged, (UP, "'bits' is missing")),
    "one matrix is not packed": (packing(**{UP: False}), Damaged, (UP, "does not say how")),
    "floats that are packed": (packing(lm_head=FORM), Damaged, ("lm_head", "stored as F16")),
    "no model type": (lambda c: c.pop("model_type"), Damaged, ("model_type",)),
    "an unknown model type": (lambda c: c.update(model_type="gpt9"), Unsupported, ("gpt9",)),
    "another family": (lambda c: c.update(model_type="openelm"), Damaged, ("does not match",)),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_config_that_lies(folder: Path, case: str) -> None:
    change, kind, words = CONFIGS[case]
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))
    attempt(folder, kind, *words)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"null", b"[" * 100_000])
def test_a_config_that_is_none(folder: Path, content: bytes) -> None:
    (folder / "config.json").write_bytes(content)
    attempt(folder, Damaged, "config.json")


# Tensors


def stored(folder: Path) -> Tensors:
    out = {}
    with SafetensorsFile(folder / WEIGHTS) as file:
        for name, entry in file.entries.items():
            out[name] = np.zeros(entry.shape, _NUMPY[entry.dtype])
            file.fill(name, 0, out[name].data)
    return out


def sized(name: str, cut: Callable[[np.ndarray], np.ndarray]) -> Callable[[Tensors], object]:
    return lambda t: t.update({name: np.ascontiguousarray(cut(t[name]))})


TENSORS: dict[str, tuple[Callable[[Tensors], object], tuple[str, ...]]] = {
    "no scales": (lambda t: t.pop(f"{UP}.scales"), ("U32", "no scales")),
    "no biases": (lambda t: t.pop(f"{UP}.biases"), ("no packed matrix",)),
    "no codes": (lambda t: t.pop(f"{UP}.weight"), ("missing",)),
    "one norm less": (lambda t: t.pop("model.norm.weight"), ("norm.weight] missing",)),
    "one tensor more": (lambda t: t.update(extra=t["model.norm.weight"]), ("1 [extra] unknown",)),
    "scales of nothing": (
        lambda t: t.update({"model.norm.scales": t["model.norm.weight"]}), ("model.norm",),
    ),
    "fewer codes": (sized(f"{UP}.weight", lambda a: a[:, :-1]), ("it has 7 words",)),
    "fewer rows of codes": (sized(f"{UP}.weight", lambda a: a[:-1]), ("config.json",)),
    "fewer rows of all": (
        lambda t: [sized(f"{UP}.{k}", lambda a: a[:-1])(t) for k in ("weight", "scales", "biases")],
        ("[127, 64]", "[128, 64]"),
    ),
    "twice as wide": (
        lambda t: [sized(f"{UP}.{k}", lambda a: np.hstack([a, a]))(t)
                   for k in ("weight", "scales", "biases")],
        ("[128, 128]", "[128, 64]"),
    ),
    "codes in a row": (sized(f"{UP}.weight", lambda a: a.reshape(-1)), ("no packed matrix",)),
    "codes that are floats": (
        sized(f"{UP}.weight", lambda a: a.view(np.float32)), ("no packed matrix",),
    ),
    "scales that are integers": (
        sized(f"{UP}.scales", lambda a: a.astype(np.int8)), ("scales of I8",),
    ),
    "biases of another type": (
        sized(f"{UP}.biases", lambda a: a.astype(np.float32)), ("biases of F32",),
    ),
    "a norm of integers": (
        sized("model.norm.weight", lambda a: a.astype(np.int8)), ("I8",),
    ),
    "a norm in double": (
        sized("model.norm.weight", lambda a: a.astype(np.float64)), ("F64",),
    ),
    "a wider norm": (sized("model.norm.weight", lambda a: np.hstack([a, a])), ("[128]", "[64]")),
    "a norm of two dimensions": (
        sized("model.norm.weight", lambda a: a.reshape(8, 8)), ("[8, 8]", "[64]"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TENSORS)
def test_tensors_that_lie(folder: Path, case: str) -> None:
    change, words = TENSORS[case]
    tensors = stored(folder)
    change(tensors)
    (folder / WEIGHTS).write_bytes(safetensors(tensors))
    attempt(folder, Damaged, *words)


@pytest.mark.parametrize("keep", [0, 7, 100, -1, -4000])
def test_a_file_that_was_cut(folder: Path, keep: int) -> None:
    file = folder / WEIGHTS
    file.write_bytes(file.read_bytes()[:keep])
    attempt(folder, Damaged, "no valid safetensors file")


# The index, which is read where no single file holds all weights


@pytest.fixture
def sharded(folder: Path) -> Path:
    (folder / WEIGHTS).rename(folder / SHARD)
    names = json.loads((folder / INDEX).read_text())["weight_map"]
    (folder / INDEX).write_text(json.dumps({"weight_map": dict.fromkeys(names, SHARD)}))
    rewrite(folder, lambda d: d["files"].update({SHARD: d["files"].pop(WEIGHTS)}))
    forge(folder, INDEX)
    return folder


def test_shards_open(sharded: Path) -> None:
    test_the_folder_itself_opens(sharded)


def test_a_tensor_in_two_files(sharded: Path) -> None:
    shutil.copyfile(sharded / SHARD, sharded / "again.safetensors")
    index = json.loads((sharded / INDEX).read_text())
    index["weight_map"]["model.norm.weight"] = "again.safetensors"
    (sharded / INDEX).write_text(json.dumps(index))
    attempt(sharded, Damaged, "again.safetensors")


@pytest.mark.parametrize(
    "name",
    ["../it/model.safetensors", "/etc/passwd", "/etc/x.safetensors", "a/b.safetensors", "", "..",
     "model.bin", "absent.safetensors", "a\0b.safetensors", "x" * 5000 + ".safetensors"],
)  # fmt: skip
def test_an_index_that_names_no_file_beside_it(sharded: Path, name: str) -> None:
    (sharded / INDEX).write_text(json.dumps({"weight_map": {"model.norm.weight": name}}))
    attempt(sharded, Damaged)


@pytest.mark.parametrize("table", [None, [], 3, {"a": 1}, {"a": None}, {}])
def test_an_index_that_is_none(sharded: Path, table: object) -> None:
    (sharded / INDEX).write_text(json.dumps({"weight_map": table}))
    attempt(sharded, Damaged)


def test_a_file_that_is_a_link(folder: Path, tmp_path: Path) -> None:
    """Also where the manifest does not name it."""
    (folder / WEIGHTS).rename(tmp_path / "elsewhere.safetensors")
    (folder / "other.safetensors").symlink_to(tmp_path / "elsewhere.safetensors")
    index = json.loads((folder / INDEX).read_text())
    table = dict.fromkeys(index["weight_map"], "other.safetensors")
    (folder / INDEX).write_text(json.dumps({"weight_map": table}))
    rewrite(folder, lambda d: d["files"].pop(WEIGHTS))
    attempt(folder, Damaged, "is a link")


# The manifest


SPECS: dict[str, Change] = {
    "more heads": lambda s: [layer.update(heads=8) for layer in s["layers"]],
    "more layers": lambda s: s["layers"].append(s["layers"][0]),
    "fewer layers": lambda s: s["layers"].pop(),
    "a larger vocabulary": lambda s: s.update(vocab=s["vocab"] + 1),
    "a tied head": lambda s: s.update(tied=True, width=128),
    "norms of q and k": lambda s: [layer.update(qk_norm=1e-6) for layer in s["layers"]],
    "layer norms": lambda s: s["norm"].update(kind="layer"),
    "biases": lambda s: [layer.update(bias=True) for layer in s["layers"]],
}


@pytest.mark.parametrize("case", SPECS)
def test_a_spec_that_lies(folder: Path, case: str) -> None:
    rewrite(folder, lambda d: SPECS[case](d["spec"]))
    attempt(folder, Damaged)
