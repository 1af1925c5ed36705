"""Tensors come out as the reference library wrote them, whatever their type and the rows."""

from pathlib import Path

import numpy as np
import pytest
from support import safetensors

from edge.errors import Damaged, Unsupported
from edge.files.safetensors import SafetensorsFile

RNG = np.random.default_rng(0)


def bfloat16(values: np.ndarray) -> np.ndarray:
    """The upper half of each float32: exact for values that a bfloat16 holds."""
    return (values.view(np.uint32) >> 16).astype(np.uint16)


def coarse(shape: tuple[int, ...]) -> np.ndarray:
    """Small multiples of 1/4: every float type holds them exactly."""
    return (RNG.integers(-64, 64, shape) / 4).astype(np.float32)


@pytest.mark.parametrize("kind", ["float32", "float16", "float64", "bfloat16"])
def test_every_float_type_reads_as_float32(tmp_path: Path, kind: str) -> None:
    want = coarse((5, 3))
    stored = bfloat16(want) if kind == "bfloat16" else want.astype(kind)
    (tmp_path / "a").write_bytes(safetensors({"first": stored, "w": stored}))
    with SafetensorsFile(tmp_path / "a") as file:
        got = file.rows("w", 0, 5)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("kind", ["F32", "F16", "F64", "BF16"])
def test_files_of_the_reference_library_read_alike(tmp_path: Path, kind: str) -> None:
    library = pytest.importorskip("safetensors.numpy")
    ml_dtypes = pytest.importorskip("ml_dtypes")
    types = {"F32": np.float32, "F16": np.float16, "F64": np.float64, "BF16": ml_dtypes.bfloat16}
    want = RNG.normal(size=(7, 4)).astype(types[kind])
    vector = RNG.normal(size=6).astype(types[kind])
    library.save_file({"w": want, "norm": vector}, tmp_path / "a", metadata={"format": "pt"})
    with SafetensorsFile(tmp_path / "a") as file:
        assert {name: entry.shape for name, entry in file.entries.items()} == {
            "w": (7, 4), "norm": (6,),
        }  # fmt: skip
        np.testing.assert_array_equal(file.rows("w", 0, 7), want.astype(np.float32))
        np.testing.assert_array_equal(file.rows("norm", 0, 6), vector.astype(np.float32))


@pytest.mark.parametrize(("start", "stop", "step"), [(0, 1, 1), (2, 5, 1), (8, 9, 1), (1, 8, 3)])
def test_rows_are_a_slice(tmp_path: Path, start: int, stop: int, step: int) -> None:
    want = coarse((9, 2, 3))
    (tmp_path / "a").write_bytes(safetensors({"w": want}))
    with SafetensorsFile(tmp_path / "a") as file:
        np.testing.assert_array_equal(
            file.rows("w", start, stop, step), want[start:stop:step], strict=True
        )


def test_special_values_survive(tmp_path: Path) -> None:
    want = np.array([0.0, -0.0, np.inf, -np.inf, 1e-45, 3.4e38], np.float32)
    (tmp_path / "a").write_bytes(safetensors({"w": want}))
    with SafetensorsFile(tmp_path / "a") as file:
        np.testing.assert_array_equal(file.rows("w", 0, 6).view(np.uint32), want.view(np.uint32))


def test_integers_are_listed_but_not_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(safetensors({"w": np.ones((2, 2), np.int8)}))
    with SafetensorsFile(tmp_path / "a") as file:
        assert file.entries["w"].dtype == "I8"
        with pytest.raises(Unsupported, match="I8"):
            file.rows("w", 0, 2)


def test_stored_bytes_come_as_they_are(tmp_path: Path) -> None:
    """Packed codes too, which are no floats: straight into memory of the caller's."""
    codes = RNG.integers(0, 1 << 32, (5, 6), np.uint32)
    (tmp_path / "a").write_bytes(safetensors({"w": codes, "s": coarse((5, 2))}))
    out = np.zeros((3, 24), np.uint8)
    with SafetensorsFile(tmp_path / "a") as file:
        file.fill("w", 1, out.data)
    np.testing.assert_array_equal(out.view(np.uint32), codes[1:4])


def test_the_size_of_packed_codes_is_checked(tmp_path: Path) -> None:
    content = safetensors({"w": np.zeros((4, 4), np.uint32)}).replace(b"[4, 4]", b"[4, 8]")
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(Damaged, match="64 bytes do not hold"):
        SafetensorsFile(tmp_path / "a")


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(safetensors({"w": coarse((9, 4))}))
    with SafetensorsFile(path) as file:
        path.write_bytes(path.read_bytes()[:-16])
        with pytest.raises(Damaged, match="became shorter"):
            file.rows("w", 0, 9)
