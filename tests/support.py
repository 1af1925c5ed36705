"""What tests of several folders share: tiny checkpoints, a safetensors writer, a process apart."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from cases import CASES
from cases import VOCAB as VOCAB

from edge.convert.conversion import convert
from edge.convert.options import Options
from edge.families import family_of
from edge.files.config import Config
from edge.spec import DecoderSpec

ROOT = Path(__file__).resolve().parent.parent

CONFIGS: Mapping[str, Mapping[str, Any]] = {name: case.tiny for name, case in CASES.items()}


def config_of(family: str, **changes: Any) -> dict[str, Any]:
    """A tiny config of a family; a change to None drops the field, but a window's: an absent one is a
    window to Mistral.
    """
    fields = {**CONFIGS[family], **changes}
    return {k: value for k, value in fields.items() if value is not None or k == "sliding_window"}


def dividing(family: str) -> dict[str, Any]:
    """Changes to a tiny config after which groups of 64 divide every row: some targets have no
    shorter last group.
    """
    sizes = {"intermediate_size": 128, "ff_intermediate_size": 128, "ffn_dim_divisor": 64}
    return {key: value for key, value in sizes.items() if key in CONFIGS[family]}


def spec_of(config: Mapping[str, Any]) -> DecoderSpec:
    parsed = Config(config, "config.json")
    return family_of(parsed).spec(parsed)


def weights_of(config: Mapping[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights under the checkpoint's own names, each row of its own scale."""
    parsed = Config(config, "config.json")
    family = family_of(parsed)
    rng = np.random.default_rng(seed)
    out: dict[str, np.ndarray] = {}
    for place in family.names.places(family.spec(parsed)).values():
        shape = place.stored
        noise = rng.normal(size=shape).astype(np.float32)
        if len(shape) == 2:
            out[place.tensor] = noise * shape[1] ** -0.5
        else:
            out[place.tensor] = 0.1 * noise + (not place.tensor.endswith("bias"))
    return out


def tiny(folder: Path, family: str = "llama", *, seed: int = 0, **changes: Any) -> Path:
    """A whole checkpoint of random weights, written without any toolkit."""
    config = config_of(family, **changes)
    return checkpoint(folder, config, weights_of(config, seed))


def checkpoint(folder: Path, config: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(safetensors(weights))
    return folder


_TYPES = {
    "float32": "F32",
    "float16": "F16",
    "float64": "F64",
    "int8": "I8",
    "uint8": "U8",
    "uint16": "BF16",
    "uint32": "U32",
}


def safetensors(tensors: Mapping[str, np.ndarray]) -> bytes:
    """A file of these tensors; uint16 stands for the bits of bfloat16."""
    header: dict[str, Any] = {}
    at = 0
    for name, array in tensors.items():
        offsets = [at, at + array.nbytes]
        header[name] = {
            "dtype": _TYPES[array.dtype.name], "shape": list(array.shape), "data_offsets": offsets,
        }  # fmt: skip
        at = offsets[1]
    return with_header(json.dumps(header).encode(), b"".join(a.tobytes() for a in tensors.values()))


def with_header(header: bytes, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A safetensors file of any header, also one that lies about its length."""
    size = len(header) if length is None else length
    return size.to_bytes(8, "little") + header + data


def converted(folder: Path, source: Path, quant: str = "fp32", **options: Any) -> Path:
    """An artifact of a checkpoint."""
    return convert(source, folder, Options(quant=quant, **options)).folder


def shortened(folder: Path, layers: int) -> Path:
    """The packaged model's first layers alone, with its tokenizer: words are words, and all is quick."""
    source = ROOT / "edge" / "models" / "edge-stories"
    config = json.loads((source / "config.json").read_text()) | {"num_hidden_layers": layers}
    raw = (source / "model.safetensors").read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    kept = {}
    for name, entry in json.loads(raw[8:start]).items():
        words = name.split(".")
        if name == "__metadata__" or ("layers" in words and int(words[2]) >= layers):
            continue
        assert entry["dtype"] == "BF16"
        begin, end = (start + offset for offset in entry["data_offsets"])
        kept[name] = np.frombuffer(raw[begin:end], np.uint16).reshape(entry["shape"])
    checkpoint(folder, config, kept)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        (folder / name).write_bytes((source / name).read_bytes())
    return folder


def nothing_left(out: Path) -> bool:
    """Whether neither an artifact nor its hidden siblings are there."""
    if not out.parent.exists():
        return True
    return not [path for path in out.parent.iterdir() if out.name in path.name]


def run(*args: str, stdin: str = "", timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "edge", *args],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment(),
        check=False,
    )


def lacking(tool: str, reason: str) -> NoReturn:
    """Skip a test for want of a tool; fail where EDGE_REQUIRE names it, as in CI."""
    if tool in os.environ.get("EDGE_REQUIRE", "").split(","):
        pytest.fail(reason)
    pytest.skip(reason)


def environment(tree: Path = ROOT) -> dict[str, str]:
    """Where this source tree comes first, or a copy of it, whatever is installed."""
    paths = (tree, tree / "tests" / "names")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
