"""Weights that lie: in a header, in an index, by what they are. One error, soon, and nothing left."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attack import attempt
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support import (
    checkpoint,
    config_of,
    dividing,
    safetensors,
    tiny,
    weights_of,
    with_header,
)

from edge import targets
from edge.errors import Damaged, EdgeError, Unsupported
from edge.files.safetensors import SafetensorsFile
from edge.quant.unfit import Unfit

GOOD = safetensors(weights_of(config_of("llama")))


def header(**entries: Any) -> bytes:
    return json.dumps(entries).encode()


def tensor(**changes: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16], **changes}


DATA = b"\0" * 16
LYING = {
    "empty": b"",
    "short": b"\1\2\3",
    "only a length": (8).to_bytes(8, "little"),
    "length of everything": b"\xff" * 8,
    "negative length": (-16).to_bytes(8, "little", signed=True) + b"{}",
    "length past the file": with_header(b"{}", length=3),
    "length of gigabytes": with_header(b"{}", length=5 << 30),
    "length zero": with_header(b""),
    "cut header": with_header(header(w=tensor())[:-5], DATA),
    "not json": with_header(b"\x80\x02}q\x00."),
    "not utf-8": with_header(b'{"\xff\xfe": 1}'),
    "a list": with_header(b"[]"),
    "a number": with_header(b"7"),
    "null": with_header(b"null"),
    "duplicate names": with_header(b'{"w": %s, "w": %s}' % ((header(**tensor()),) * 2), DATA),
    "duplicate fields": with_header(b'{"w": {"dtype": "F32", "dtype": "F16"}}', DATA),
    "nested bomb": with_header(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "list bomb": with_header(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"),
    "digits bomb": with_header(b'{"a": ' + b"9" * 100_000 + b"}"),
    "dimensions bomb": with_header(header(w=tensor(shape=[1 << 47] * 200_000)), DATA),
    "zero dimensions bomb": with_header(header(w=tensor(shape=[1 << 47] * 200_000 + [0])), DATA),
    "past the end": with_header(header(w=tensor(data_offsets=[0, 16])), DATA[:15]),
    "begins past the end": with_header(header(w=tensor(data_offsets=[1 << 40, 1 << 41])), DATA),
    "backwards": with_header(header(w=tensor(data_offsets=[16, 0])), DATA),
    "negative offset": with_header(header(w=tensor(data_offsets=[-16, 0])), DATA),
    "float offset": with_header(header(w=tensor(data_offsets=[0, 16.0])), DATA),
    "text offset": with_header(header(w=tensor(data_offsets=["0", "16"])), DATA),
    "one offset": with_header(header(w=tensor(data_offsets=[16])), DATA),
    "three offsets": with_header(header(w=tensor(data_offsets=[0, 8, 16])), DATA),
    "true for one": with_header(header(w=tensor(shape=[True, 4])), DATA),
    "negative shape": with_header(header(w=tensor(shape=[-2, -2])), DATA),
    "float shape": with_header(header(w=tensor(shape=[2.0, 2.0])), DATA),
    "overflowing shape": with_header(header(w=tensor(shape=[1 << 32, 1 << 32])), DATA),
    "wrong size": with_header(header(w=tensor(shape=[2, 3])), DATA),
    "missing dtype": with_header(header(w={"shape": [4], "data_offsets": [0, 16]}), DATA),
    "dtype of a list": with_header(header(w=tensor(dtype=["F32"])), DATA),
    "entry of text": with_header(header(w="F32"), DATA),
    "overlapping": with_header(header(v=tensor(), w=tensor(data_offsets=[8, 24])), DATA + DATA[:8]),
    "the same bytes": with_header(header(v=tensor(), w=tensor()), DATA),
    "inside another": with_header(
        header(v=tensor(shape=[4, 4], data_offsets=[0, 64]), w=tensor()), DATA * 4
    ),
    "bytes after": with_header(header(w=tensor()), DATA + b"PK\x03\x04"),
    "bytes between": with_header(header(v=tensor(), w=tensor(data_offsets=[32, 48])), DATA * 3),
    "bytes before": with_header(header(w=tensor(data_offsets=[16, 32])), DATA * 2),
    "bytes of nothing": with_header(b"{}", DATA),
    "integers over floats": with_header(header(v=tensor(dtype="I8", shape=[16]), w=tensor()), DATA),
    "metadata of numbers": with_header(header(__metadata__={"format": 7}, w=tensor()), DATA),
    "metadata of a list": with_header(header(__metadata__=[], w=tensor()), DATA),
}


@pytest.mark.parametrize("content", LYING.values(), ids=LYING.keys())
def test_weights_that_lie(tmp_path: Path, content: bytes) -> None:
    source = tiny(tmp_path / "source")
    (source / "model.safetensors").write_bytes(content)
    attempt(source, Damaged, "model.safetensors")


def test_the_lies_differ_from_truth(tmp_path: Path) -> None:
    nothing = tensor(shape=[0, 4], data_offsets=[16, 16])
    head = header(__metadata__={"format": "pt"}, w=tensor(), nothing=nothing)
    (tmp_path / "a").write_bytes(with_header(head, DATA))
    with SafetensorsFile(tmp_path / "a") as file:
        assert file.rows("w", 0, 2).shape == file.entries["w"].shape == (2, 2)
        assert file.rows("nothing", 0, 0).shape == (0, 4)


@pytest.mark.parametrize("part", [0, 0.001, 0.01, 0.1, 0.5, 0.9, 0.999])
def test_truncated_weights(tmp_path: Path, part: float) -> None:
    source = tiny(tmp_path / "source")
    (source / "model.safetensors").write_bytes(GOOD[: int(len(GOOD) * part)])
    attempt(source, Damaged, "model.safetensors")


def test_one_byte_less(tmp_path: Path) -> None:
    source = tiny(tmp_path / "source")
    (source / "model.safetensors").write_bytes(GOOD[:-1])
    attempt(source, Damaged, "cut off")


@pytest.mark.parametrize("dtype", ["I8", "F8_E4M3", "BOOL", "NONSENSE"])
def test_weights_that_are_no_floats(tmp_path: Path, dtype: str) -> None:
    source = tiny(tmp_path / "source")
    length = int.from_bytes(GOOD[:8], "little")
    entries = json.loads(GOOD[8 : 8 + length])
    entries["model.norm.weight"]["dtype"] = dtype
    (source / "model.safetensors").write_bytes(
        with_header(json.dumps(entries).encode(), GOOD[8 + length :])
    )
    attempt(source, Unsupported, "model.norm.weight", dtype)


def test_codes_are_no_weights(tmp_path: Path) -> None:
    """U8 is read in artifacts of our own, not in a checkpoint."""
    config = config_of("llama")
    weights = weights_of(config)
    weights["model.norm.weight"] = weights["model.norm.weight"].astype(np.uint8)
    source = checkpoint(tmp_path / "source", config, weights)
    attempt(source, Unsupported, "model.norm.weight", "U8")


# What is not finite: broken training gives such files, and so does a type that ends too soon.

TARGETS = targets.names("converters")
RECIPES = ("fp32", "fp16", "bf16", "int8", "int4")
VALUES = {"NaN": np.nan, "infinity": np.inf, "infinity, or": -np.inf}


def broken(folder: Path, tensor: str, row: int, value: float) -> Path:
    """A checkpoint in which one number is another."""
    config = config_of("phi3", **dividing("phi3"))  # with fused tensors
    weights = weights_of(config)
    weights[tensor][row] = value
    return checkpoint(folder, config, weights)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("quant", RECIPES)
@pytest.mark.parametrize("value", VALUES)
def test_a_number_that_is_none_is_refused_by_tensor_and_row(
    tmp_path: Path, value: str, quant: str, target: str
) -> None:
    if (target, quant) == ("coreml", "bf16"):
        pytest.skip("Core ML has no bfloat16")
    tensor = "model.layers.1.self_attn.qkv_proj.weight"
    row = 70  # of the fused tensor: a key's
    source = broken(tmp_path / "source", tensor, row, VALUES[value])
    attempt(source, Damaged, tensor, value, f"row {row}:", target=target, quant=quant)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("tensor", ["model.norm.weight", "model.embed_tokens.weight"])
def test_vectors_and_tables_are_looked_at_too(tmp_path: Path, target: str, tensor: str) -> None:
    source = broken(tmp_path / "source", tensor, 5, np.nan)
    attempt(source, Damaged, tensor, "NaN in row 5", target=target, quant="fp32")


TOO_LARGE = [
    *((target, "fp16", 1e30) for target in TARGETS),
    *((target, "bf16", 3.4e38) for target in TARGETS if target != "coreml"),
    ("coreml", "int8", 1e30),  # a scale in fp16
    ("coreml", "lut4-g1-fp16", 1e30),
    ("mlx", "int8", 1e30),
    ("mlx", "rtn-int8-g32-fp16", 2e6),  # a scale that fits, and a bias that does not
    ("gguf", "int4", 1e30),
    ("gguf", "q4_1", 1e30),
    ("torch", "int8-g64-min-fp16", 1e30),
    ("onnx", "q8_0", 1e30),
]


@pytest.mark.parametrize(("target", "quant", "value"), TOO_LARGE)
def test_a_number_too_large_for_its_type_is_refused_by_tensor_and_row(
    tmp_path: Path, target: str, quant: str, value: float
) -> None:
    tensor = "model.layers.1.mlp.gate_up_proj.weight"
    row = 130  # of the fused tensor: the third that goes up
    source = broken(tmp_path / "source", tensor, row, value)
    attempt(source, Unfit, tensor, f"row {row} ", "too large", target=target, quant=quant)


@pytest.mark.parametrize("target", ["coreml", "mlx"])
def test_vectors_become_no_infinity_in_a_type_that_ends(tmp_path: Path, target: str) -> None:
    source = broken(tmp_path / "source", "model.norm.weight", 3, 1e6)
    attempt(source, Unfit, "model.norm.weight", "row 3 ", target=target, quant="fp16")


# Shards


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../../../../etc/passwd", Damaged),
        ("/etc/passwd", Damaged),
        ("../source/model.safetensors", Damaged),
        ("sub/model.safetensors", Damaged),
        ("missing.safetensors", Damaged),
        ("model.bin", Damaged),
        ("a\0.safetensors", Damaged),
        ("x" * 300 + ".safetensors", Damaged),
        ("\ud800.safetensors", Damaged),
        ("", Damaged),
    ],
)
def test_an_index_that_names_other_files(tmp_path: Path, name: str, kind: type[EdgeError]) -> None:
    source = without_single(tmp_path / "source")
    index = {"weight_map": {"model.norm.weight": name}}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    attempt(source, kind)


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"weight_map": 7}', '{"weight_map": {"a": 7}}', "{}"]
)
def test_an_index_that_is_none(tmp_path: Path, content: str) -> None:
    source = without_single(tmp_path / "source")
    (source / "model.safetensors.index.json").write_text(content)
    attempt(source, Damaged, "index.json")


def without_single(folder: Path) -> Path:
    """A checkpoint whose index is read: one file of all weights would come first."""
    (tiny(folder) / "model.safetensors").unlink()
    return folder


def test_two_shards_with_one_tensor(tmp_path: Path) -> None:
    source = without_single(tmp_path / "source")
    for name in ("a.safetensors", "b.safetensors"):
        (source / name).write_bytes(GOOD)
    index = {"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    attempt(source, Damaged, "a.safetensors", "b.safetensors")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth"])
def test_a_pickle_is_never_opened(tmp_path: Path, name: str) -> None:
    source = tiny(tmp_path / "source")
    (source / "model.safetensors").unlink()
    os.mkfifo(source / name)  # whoever opens it waits for ever
    attempt(source, Unsupported, name, "safetensors")


def test_a_checkpoint_without_weights(tmp_path: Path) -> None:
    source = tiny(tmp_path / "source")
    (source / "model.safetensors").unlink()
    attempt(source, Damaged, "model.safetensors")


# Fuzz: only EdgeError may escape

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F16", "BF16", "F64", "I8", "X"]) | json_values,
        "shape": st.lists(st.integers(-1, 9), max_size=3) | json_values,
        "data_offsets": st.lists(st.integers(-1, 80), min_size=2, max_size=2) | json_values,
    }
)
headers = st.dictionaries(st.text(max_size=4), entries | json_values, max_size=4)


@given(headers.map(lambda h: json.dumps(h).encode()) | st.binary(max_size=64), st.integers(0, 99))
@example(b"{}", 0)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_header_is_read_or_refused(tmp_path: Path, head: bytes, size: int) -> None:
    path = tmp_path / "fuzzed"
    path.write_bytes(with_header(head, b"\0" * size))
    try:
        with SafetensorsFile(path) as file:
            for name, entry in file.entries.items():
                if entry.shape and entry.dtype in ("F32", "F16", "BF16", "F64"):
                    file.rows(name, 0, entry.shape[0])
    except EdgeError:
        pass


@given(st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "fuzzed").write_bytes(content)
    with suppress(EdgeError):
        SafetensorsFile(tmp_path / "fuzzed").close()
