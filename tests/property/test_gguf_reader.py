"""What the reference package writes, the reader reads: keys, shapes, bytes and values."""

import tempfile
from pathlib import Path
from typing import Any

import gguf_files as made
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.errors import Unsupported
from edge.gguf.kinds import BY_NAME, KINDS
from edge.gguf.reader import GGUFFile

gguf = pytest.importorskip("gguf", reason="the package gguf is not installed")

QUANTIZED = ("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "BF16", "F16", "F32")
TYPES = gguf.GGUFValueType
names = st.text(st.characters(codec="ascii", categories=["Ll", "Nd"]), min_size=1, max_size=20)
texts = st.text(st.characters(codec="utf-8"), max_size=40)


def scalars(kind: str) -> st.SearchStrategy[Any]:
    bits = {"UINT8": 8, "UINT16": 16, "UINT32": 32, "UINT64": 64}
    signed = {"INT8": 8, "INT16": 16, "INT32": 32, "INT64": 64}
    if kind in bits:
        return st.integers(0, (1 << bits[kind]) - 1)
    if kind in signed:
        half = 1 << (signed[kind] - 1)
        return st.integers(-half, half - 1)
    floats = {"FLOAT32": 32, "FLOAT64": 64}
    if kind in floats:
        return st.floats(width=floats[kind], allow_nan=False)  # type: ignore[arg-type]
    return st.booleans() if kind == "BOOL" else texts


KINDS_OF_KEYS = [kind.name for kind in TYPES if kind != TYPES.ARRAY]
kinds = st.sampled_from(KINDS_OF_KEYS)
one = kinds.flatmap(lambda kind: st.tuples(st.just(kind), st.just(False), scalars(kind)))
many = kinds.flatmap(
    lambda kind: st.tuples(
        st.just(kind), st.just(True), st.lists(scalars(kind), min_size=1, max_size=9)
    )
)
keys = st.dictionaries(names.map(lambda name: "test." + name), one | many, max_size=8)
tensors = st.dictionaries(
    names,
    st.tuples(st.sampled_from(QUANTIZED), st.integers(1, 5), st.integers(1, 3), st.integers(0, 99)),
    max_size=5,
)


def write(file: Path, keys: dict[str, Any], arrays: dict[str, Any], alignment: int = 32) -> None:
    """Through the reference package; `arrays`: type name and float32 values."""
    writer = gguf.GGUFWriter(file, "test")
    if alignment != 32:
        writer.add_custom_alignment(alignment)
    for name, (kind, is_array, value) in keys.items():
        if is_array:
            writer.add_key_value(name, value, TYPES.ARRAY, sub_type=TYPES[kind])
        else:
            writer.add_key_value(name, value, TYPES[kind])
    for name, (kind, values) in arrays.items():
        number = gguf.GGMLQuantizationType[kind]
        writer.add_tensor(name, gguf.quants.quantize(values, number), raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=60)
@given(keys, tensors, st.sampled_from([32, 64, 4096]))
def test_what_the_reference_writes_is_read(
    keys: dict[str, Any], tensors: dict[str, Any], alignment: int
) -> None:
    arrays = {}
    for name, (kind, rows, blocks, seed) in tensors.items():
        values = np.random.default_rng(seed).normal(size=(rows, 32 * blocks)).astype(np.float32)
        arrays[name] = kind, values
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.gguf"
        write(file, keys, arrays, alignment)
        with GGUFFile(file) as read:
            assert set(read) >= set(keys)
            for name, (kind, is_array, value) in keys.items():
                assert read[name] == value, kind
                assert read.count(name) == (len(value) if is_array else None)
            assert set(read.tensors) == set(arrays)
            assert all(tensor.start % alignment == 0 for tensor in read.tensors.values())
            for name, (kind, values) in arrays.items():
                number = gguf.GGMLQuantizationType[kind]
                stored = gguf.quants.quantize(values, number)
                assert read.tensors[name].shape == values.shape
                np.testing.assert_array_equal(
                    read.raw(name, 0, len(values)), stored.view(np.uint8).reshape(-1)
                )
                want = gguf.quants.dequantize(stored, number)
                np.testing.assert_array_equal(read.rows(name, 0, len(values)), want)
                np.testing.assert_array_equal(
                    read.rows(name, len(values) - 1, len(values)), want[-1:]
                )


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"])
@given(raw=st.integers(1, 4), seed=st.integers(0, 1 << 32))
def test_any_bytes_of_a_block_mean_what_the_reference_says(kind: str, raw: int, seed: int) -> None:
    """Also bytes that no quantizer writes: every code, scales of any sign and size."""
    from edge.gguf.blocks import dequantize

    size = BY_NAME[kind].nbytes
    stored = np.random.default_rng(seed).integers(0, 256, (raw, size), dtype=np.uint8)
    with np.errstate(all="ignore"):
        got = dequantize(stored.reshape(-1), BY_NAME[kind], raw)
        want = gguf.quants.dequantize(stored, gguf.GGMLQuantizationType[kind])
    np.testing.assert_array_equal(got, want)


def test_sizes_of_all_types_are_the_references() -> None:
    known = {int(kind): sizes for kind, sizes in gguf.GGML_QUANT_SIZES.items()}
    known[BY_NAME["Q8_1"].id] = 32, 36  # the package gave floats to it that ggml halved long ago
    assert {
        number: (kind.block, kind.nbytes) for number, kind in KINDS.items() if number in known
    } == known


def test_a_type_that_is_not_read_is_listed(tmp_path: Path) -> None:
    kind = BY_NAME["IQ1_S"]
    entry = made.tensor("w", (2, 256), kind=kind.id)
    (tmp_path / "a").write_bytes(made.File(tensors=[entry], data=b"\0" * 100).bytes())
    with GGUFFile(tmp_path / "a") as file:
        assert (file.tensors["w"].kind, file.tensors["w"].nbytes) == (kind, 100)
        with pytest.raises(Unsupported, match="IQ1_S"):
            file.rows("w", 0, 1)


def test_a_vector_is_one_row(tmp_path: Path) -> None:
    values = np.arange(5, dtype=np.float32)
    entry = made.tensor("norm", (5,))
    (tmp_path / "a").write_bytes(made.File(tensors=[entry], data=values.tobytes()).bytes())
    with GGUFFile(tmp_path / "a") as file:
        np.testing.assert_array_equal(file.rows("norm", 0, 1), values[None])
