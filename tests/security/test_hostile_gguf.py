"""Damaged and hostile GGUF files: one clear error each, soon, in little memory.

Each list names the weakness of other readers that its files would use.
"""

import struct
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import gguf_files as made
import numpy as np
import pytest
from attack import refused
from gguf_files import ARRAY, BOOL, F32, STRING, U8, U16, U32, U64, File, array, key, tensor
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edge.errors import Damaged, EdgeError, Unsupported
from edge.gguf.kinds import BY_NAME
from edge.gguf.reader import GGUFFile

MEMORY = 8 << 20  # bytes that reading a lie may take
DATA = np.arange(64, dtype=np.float32).tobytes()
KEYS = [
    key("general.architecture", STRING, "llama"),
    key("general.alignment", U32, 32),
    key("llama.rope.freq_base", F32, 1e4),
    key("tokenizer.ggml.add_bos_token", BOOL, True),
    array("tokenizer.ggml.tokens", STRING, ["<s>", "a", "\u2581b"]),
    array("tokenizer.ggml.scores", F32, [0.0, -1.0, -2.0]),
]
TENSORS = [tensor("a.weight", (2, 8)), tensor("b.weight", (4, 8), offset=64)]
GOOD = File(keys=KEYS, tensors=TENSORS, data=DATA[:192]).bytes()
HUGE = (1 << 64) - 1


@contextmanager
def in_little_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()


def read_all(file: Path) -> None:
    """Everything that a reader may be asked of a file."""
    with GGUFFile(file) as opened:
        for name in opened:
            assert opened[name] is not None
            opened.count(name)
        for name, found in opened.tensors.items():
            opened.raw(name, 0, found.rows)


def one(entry: bytes) -> bytes:
    """A good file but for one key."""
    return File(keys=[*KEYS, entry], tensors=TENSORS, data=DATA[:192]).bytes()


def other(entry: bytes, data: bytes = DATA) -> bytes:
    """A file of one tensor."""
    return File(keys=KEYS, tensors=[entry], data=data).bytes()


STRUCTURE = {
    "empty": b"",
    "magic alone": b"GGUF",
    "other magic": b"GGML" + GOOD[4:],
    "a zip": b"PK\x03\x04" + GOOD[4:],
    "cut header": GOOD[:20],
    "counts and nothing else": GOOD[:24],
    "cut in a key": GOOD[:30],
    "cut in an array": GOOD[: GOOD.index(b"tokenizer.ggml.scores") + 40],
    "cut in a tensor entry": GOOD[: GOOD.index(b"b.weight") + 12],
    "one byte less": GOOD[:-1],
    "no data": GOOD[: GOOD.index(b"b.weight") + 64],
    "empty key": one(key("", U8, 1)),
    "key twice": one(key("general.architecture", STRING, "llama")),
    "key not utf-8": one(key(b"\xff\xfe", U8, 1)),
    "value not utf-8": File(keys=[key("a", STRING, b"\xff")]).bytes()[:-1],
    "flag of two": one(made.text("flag") + struct.pack("<IB", BOOL, 2)),
    "tensor twice": File(tensors=[TENSORS[0], tensor("a.weight", (2, 8), offset=64)], data=DATA).bytes(),
    "two tensors in the same bytes": File(tensors=[TENSORS[0], tensor("b", (2, 8))], data=DATA).bytes(),
    "tensors that overlap": File(tensors=[TENSORS[0], tensor("b", (2, 8), offset=32)], data=DATA).bytes(),
}  # fmt: skip
# CVE-2025-53630, CVE-2026-27940, the Talos set of 2024: sizes whose product or sum overflows.
OVERFLOW = {
    "keys of everything": File(key_count=HUGE, keys=KEYS).bytes(),
    "negative keys": File(key_count=-1, keys=KEYS).bytes(),
    "tensors of everything": File(tensor_count=HUGE, keys=KEYS).bytes(),
    "many tensors": File(tensor_count=1 << 32, keys=KEYS).bytes(),
    "a key too many": File(key_count=len(KEYS) + 1, keys=KEYS).bytes(),
    "key of everything": File(keys=[made.text("a", length=HUGE)], key_count=1).bytes(),
    "key past the file": File(keys=[made.text("a", length=1 << 15)], key_count=1).bytes(),
    "long key": File(keys=[key("k" * 70_000, U8, 1)]).bytes(),
    "text of everything": one(made.text("a") + struct.pack("<IQ", STRING, HUGE)),
    "negative text": one(made.text("a") + struct.pack("<Iq", STRING, -1)),
    "text past the file": one(made.text("a") + struct.pack("<IQ", STRING, 1 << 20)),
    "array of everything": one(array("a", U8, [], count=HUGE)),
    "array whose bytes wrap to none": one(array("a", U64, [], count=1 << 61)),
    "array whose bytes wrap to eight": one(array("a", U64, [1], count=(1 << 61) + 1)),
    "array past the file": one(array("a", U32, [1, 2], count=1 << 20)),
    "strings of everything": one(array("a", STRING, [], count=HUGE)),
    "strings past the file": one(array("a", STRING, ["x"], count=1 << 20)),
    "a string of everything in an array": one(
        made.text("a") + struct.pack("<IIQQ", ARRAY, STRING, 1, HUGE)
    ),
    "elements whose number wraps to none": other(tensor("w", (1 << 32, 1 << 32))),
    "elements whose number wraps to four": other(tensor("w", ((1 << 62) + 1, 4))),
    "elements of everything": other(tensor("w", (HUGE,))),
    "a negative size": other(tensor("w", ((1 << 64) - 4, (1 << 64) - 4))),
    "four large sizes": other(tensor("w", (1 << 20, 1 << 20, 1 << 20, 1 << 20))),
    "bytes that wrap after padding": other(tensor("w", ((1 << 62) - 1,))),
    "an offset that wraps": other(tensor("w", (8,), offset=HUGE - 31)),
    "an offset whose end wraps": other(tensor("w", (1 << 20,), offset=HUGE - (1 << 22) + 1)),
}
# CVE-2026-7482: an offset or a size past the file read what lay beyond it in memory.
BEYOND = {
    "a tensor past the file": other(tensor("w", (1024, 1024))),
    "one row past the file": other(tensor("w", (9, 8))),
    "an offset past the file": other(tensor("w", (8,), offset=1 << 40)),
    "an offset at the end": other(tensor("w", (8,), offset=256)),
    "the second past the file": File(
        tensors=[TENSORS[0], tensor("b", (16, 8), offset=64)], data=DATA
    ).bytes(),
}
# llama.cpp's own list of what a reader must check (its commit 19856).
CHECKLIST = {
    "type of a key": one(made.text("a") + struct.pack("<I", 13)),
    "negative type of a key": one(made.text("a") + struct.pack("<i", -1)),
    "type of an array": one(made.text("a") + struct.pack("<IIQ", ARRAY, 99, 1)),
    "array of arrays": one(made.text("a") + struct.pack("<IIQ", ARRAY, ARRAY, 1) * 1000),
    "alignment zero": File(keys=[key("general.alignment", U32, 0)]).bytes(),
    "alignment of three": File(keys=[key("general.alignment", U32, 3)]).bytes(),
    "alignment of another type": File(keys=[key("general.alignment", U64, 32)]).bytes(),
    "alignment of a small type": File(keys=[key("general.alignment", U16, 32)]).bytes(),
    "alignment of text": File(keys=[key("general.alignment", STRING, "32")]).bytes(),
    "alignment of a list": File(keys=[array("general.alignment", U32, [32])]).bytes(),
    "a large alignment": File(
        keys=[key("general.alignment", U32, 1 << 31)], tensors=TENSORS, data=DATA
    ).bytes(),
    "an unaligned tensor": other(tensor("w", (8,), offset=4)),
    "negative tensor type": other(tensor("w", (8,), kind=-1)),
    "least tensor type": other(tensor("w", (8,), kind=-(1 << 31))),
    "no dimensions": other(tensor("w", ())),
    "five dimensions": other(tensor("w", (1, 1, 1, 1, 8))),
    "dimensions of everything": other(tensor("w", (8,), dimensions=(1 << 32) - 1)),
    "a size of zero": other(tensor("w", (0, 8))),
    "no columns": other(tensor("w", (8, 0))),
    "half a block": other(tensor("w", (1, 48), kind=BY_NAME["Q8_0"].id)),
    "a long name": other(tensor("w" * 64, (8,))),
    "a name not utf-8": other(tensor(b"\xff", (8,))),
}
LYING = {**STRUCTURE, **OVERFLOW, **BEYOND, **CHECKLIST}


@pytest.mark.parametrize("content", LYING.values(), ids=LYING.keys())
def test_files_that_lie(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.gguf").write_bytes(content)
    with in_little_memory(), refused(Damaged, "a.gguf"):
        read_all(tmp_path / "a.gguf")


UNKNOWN = {
    "version 0": File(version=0).bytes(),
    "version 1": File(version=1).bytes(),
    "version 4": File(version=4).bytes(),
    "big-endian": File(version=0x03000000).bytes(),
    "a removed tensor type": other(tensor("w", (8,), kind=4)),
    "a tensor type of tomorrow": other(tensor("w", (8,), kind=999)),
}


@pytest.mark.parametrize("content", UNKNOWN.values(), ids=UNKNOWN.keys())
def test_files_that_are_not_known(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.gguf").write_bytes(content)
    with in_little_memory(), refused(Unsupported, "a.gguf"):
        read_all(tmp_path / "a.gguf")


@pytest.mark.parametrize("version", [2, 3])
def test_the_lies_differ_from_truth(tmp_path: Path, version: int) -> None:
    file = File(version=version, keys=KEYS, tensors=TENSORS, data=DATA[:192])
    (tmp_path / "a.gguf").write_bytes(file.bytes())
    with GGUFFile(tmp_path / "a.gguf") as opened:
        assert opened["tokenizer.ggml.tokens"] == ["<s>", "a", "\u2581b"]
        assert opened["tokenizer.ggml.scores"] == [0.0, -1.0, -2.0]
        assert (opened["general.alignment"], opened["tokenizer.ggml.add_bos_token"]) == (32, True)
        want = np.arange(48, dtype=np.float32).reshape(-1, 8)
        np.testing.assert_array_equal(opened.rows("a.weight", 0, 2), want[:2])
        np.testing.assert_array_equal(opened.rows("b.weight", 1, 3), want[3:5])


def test_strings_by_the_million(tmp_path: Path) -> None:
    """Empty strings cost a file eight bytes each, and a reader more."""
    many = [array(f"a{i}", STRING, [], count=1 << 20) + bytes(8 << 20) for i in range(5)]
    (tmp_path / "a.gguf").write_bytes(File(keys=many).bytes())
    with refused(Damaged, "5,242,880 strings"), GGUFFile(tmp_path / "a.gguf"):
        pass


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(GOOD)
    with GGUFFile(path) as opened:
        path.write_bytes(GOOD[:-32])
        with refused(Damaged, "became shorter"):
            opened.rows("b.weight", 0, 4)


@pytest.mark.parametrize("at", range(0, len(GOOD), 7))
def test_truncated(tmp_path: Path, at: int) -> None:
    (tmp_path / "a.gguf").write_bytes(GOOD[:at])
    with refused(Damaged, "a.gguf"):
        read_all(tmp_path / "a.gguf")


def attempt(path: Path, content: bytes) -> None:
    """Read or refused; nothing else."""
    path.write_bytes(content)
    with in_little_memory(), suppress(EdgeError):
        read_all(path)


def test_every_bit_of_a_header_turned(tmp_path: Path) -> None:
    """Each bit of the header once: thousands of files, none of which is more than refused."""
    end = GOOD.index(b"b.weight") + 48
    for bit in range(8 * end):
        damaged = bytearray(GOOD)
        damaged[bit // 8] ^= 1 << bit % 8
        (tmp_path / "a.gguf").write_bytes(damaged)
        with suppress(EdgeError):
            read_all(tmp_path / "a.gguf")


places = st.lists(
    st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=12
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(places)
@example([(8, 255), (15, 127)])
def test_any_bytes_changed(tmp_path: Path, places: list[tuple[int, int]]) -> None:
    damaged = bytearray(GOOD)
    for at, value in places:
        damaged[at] = value
    attempt(tmp_path / "a.gguf", bytes(damaged))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.binary(max_size=200), st.integers(0, 4), st.integers(0, 4))
def test_any_bytes_after_a_header(tmp_path: Path, content: bytes, keys: int, tensors: int) -> None:
    head = b"GGUF" + struct.pack("<IQQ", 3, tensors, keys)
    attempt(tmp_path / "a.gguf", head + content)
