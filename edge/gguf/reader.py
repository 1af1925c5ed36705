"""A bounds-checked reader of GGUF files, versions 2 and 3, little-endian.

Every length, count, type and offset is checked against the file's size before anything is allocated
or read, in Python's integers, which do not overflow. Keys and tensors are found by one walk over the
header; values and weights are read when they are asked for.
"""

import math
import os
import struct
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from edge.errors import Damaged, Unsupported
from edge.files.closeable import Closeable
from edge.gguf.blocks import can_dequantize, dequantize
from edge.gguf.cursor import Cursor, Malformed, decoded
from edge.gguf.kinds import ALIGNMENT, ARRAY, KINDS, MAGIC, SCALARS, STRING, UINT32, Kind
from edge.typing import F32, U8

Item = TypeVar("Item")
Value = bool | int | float | str | list[int] | list[float] | list[str]
VERSIONS = (2, 3)
_MOST = 1 << 16  # keys, tensors
_ELEMENTS = 1 << 22  # of an array; the largest vocabularies have 2^18 tokens and 2^19 merges
_KEY, _NAME, _TEXT = 1 << 16, 63, 16 << 20  # bytes of a key, a tensor's name, any other string
_DIMENSIONS = 4


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a key's value lies, and of what type it is; of an array its elements' type and count."""

    kind: int
    offset: int
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor: its type, its shape as numpy has it (the file has it reversed), its first byte."""

    kind: Kind
    shape: tuple[int, ...]
    start: int

    @property
    def rows(self) -> int:
        return math.prod(self.shape[:-1])

    @property
    def row_bytes(self) -> int:
        return self.kind.row_bytes(self.shape[-1])

    @property
    def nbytes(self) -> int:
        return self.rows * self.row_bytes


class GGUFFile(Closeable, Mapping[str, Value]):
    """An open file: a mapping of its keys; `tensors` by name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDONLY)
        try:
            self._read_header()
        except Malformed as error:
            self.close()
            raise self._damaged(str(error)[:300]) from None
        except BaseException:
            self.close()
            raise

    def __getitem__(self, key: str) -> Value:
        try:
            return self._value(self._entries[key])
        except Malformed as error:
            raise self._damaged(f"{key}: {error}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def kind(self, key: str) -> int:
        """The type of a value, of an array that of its elements."""
        return self._entries[key].kind

    def count(self, key: str) -> int | None:
        """Elements of an array, without reading them; None: no array."""
        return self._entries[key].count

    def rows(self, name: str, start: int, stop: int) -> F32:
        """Rows of a tensor as float32: [stop - start, columns]; a vector is one row."""
        tensor = self.tensors[name]
        if not can_dequantize(tensor.kind):
            raise Unsupported(
                f"{self.path}: {name} is of type {tensor.kind.name}, whose weights edge does not read",
                fix="use a file in F32, F16, BF16, Q8_0, Q5_1, Q5_0, Q4_1 or Q4_0",
            )
        return dequantize(self.raw(name, start, stop), tensor.kind, stop - start)

    def raw(self, name: str, start: int, stop: int) -> U8:
        """Stored bytes of rows of a tensor."""
        tensor = self.tensors[name]
        assert 0 <= start <= stop <= tensor.rows, f"rows {start} to {stop} of {tensor.rows}"
        size = tensor.row_bytes
        return np.frombuffer(self._read(tensor.start + start * size, (stop - start) * size), "u1")

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _value(self, entry: Entry) -> Value:
        cursor = Cursor(self._file, self._size, at=entry.offset)
        if entry.count is None:
            single = entry.kind != STRING
            return cursor.scalar(SCALARS[entry.kind]) if single else cursor.text(_TEXT)
        if entry.kind == STRING:
            return [decoded(raw) for raw in cursor.texts(entry.count, _TEXT)]
        form = SCALARS[entry.kind]
        raw = cursor.take(entry.count * struct.calcsize(form))
        values: list[int] | list[float] = np.frombuffer(raw, form).tolist()
        return values

    def _read_header(self) -> None:
        self._size = os.fstat(self._file).st_size
        cursor = Cursor(self._file, self._size)
        if cursor.take(4) != MAGIC:
            raise Malformed("it does not begin with GGUF")
        self.version = _version(cursor, self.path)
        tensors, keys = cursor.integer("<Q"), cursor.integer("<Q")
        if max(tensors, keys) > _MOST:
            raise Malformed(f"it claims {tensors:,} tensors and {keys:,} keys")
        self._entries: dict[str, Entry] = dict(_unique(_entry(cursor) for _ in range(keys)))
        self.alignment = self._alignment()
        found = dict(_unique(_tensor(cursor, self.path) for _ in range(tensors)))
        start = -(-cursor.at // self.alignment) * self.alignment
        self.tensors: Mapping[str, Tensor] = {
            name: Tensor(tensor.kind, tensor.shape, start + tensor.start)
            for name, tensor in found.items()
        }
        self._check_places()

    def _alignment(self) -> int:
        entry = self._entries.get("general.alignment")
        if entry is None:
            return ALIGNMENT
        value = self["general.alignment"]
        if entry.kind != UINT32 or not isinstance(value, int):
            raise Malformed("general.alignment is no 32-bit number")
        if not value or value & (value - 1):
            raise Malformed(f"an alignment of {value} is no power of two")
        return value

    def _check_places(self) -> None:
        """Tensors lie in the file, aligned, and share no byte."""
        end = 0
        for name, tensor in sorted(self.tensors.items(), key=lambda item: item[1].start):
            if tensor.start % self.alignment:
                raise Malformed(f"tensor {name!r:.80} is not aligned")
            if tensor.start < end:
                raise Malformed(f"tensor {name!r:.80} shares bytes with another")
            end = tensor.start + tensor.nbytes
            if end > self._size:
                over = end - self._size
                raise Malformed(
                    f"tensor {name!r:.80} ends {over:,} bytes past the file: it is cut off"
                )

    def _read(self, start: int, size: int) -> bytearray:
        """Exactly these bytes: a single read may stop at 2 GiB."""
        buffer = bytearray(size)
        view, done = memoryview(buffer), 0
        while done < size:
            got = os.preadv(self._file, [view[done : done + (1 << 30)]], start + done)
            if not got:
                raise self._damaged("it became shorter while it was read")
            done += got
        return buffer

    def _damaged(self, what: str) -> Damaged:
        return Damaged(f"{self.path} is no valid GGUF file: {what}", fix="get the file again")


def _version(cursor: Cursor, path: Path) -> int:
    version = cursor.integer("<I")
    if version in VERSIONS:
        return version
    swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
    what = "big-endian" if swapped in VERSIONS else f"of version {version}"
    raise Unsupported(
        f"{path} is {what}; edge reads little-endian GGUF of version 2 and 3",
        fix="make the file again with a current converter",
    )


def _entry(cursor: Cursor) -> tuple[str, Entry]:
    key = cursor.text(_KEY)
    if not key:
        raise Malformed("a key has no name")
    kind, at = cursor.integer("<I"), cursor.at
    if kind == ARRAY:
        entry = _array(cursor, key)
        return key, entry
    if kind == STRING:
        cursor.skip(cursor.length(_TEXT))
    elif kind in SCALARS:
        cursor.scalar(SCALARS[kind])
    else:
        raise Malformed(f"key {key!r:.80} is of the unknown type {kind}")
    return key, Entry(kind, at)


def _array(cursor: Cursor, key: str) -> Entry:
    kind, count = cursor.integer("<I"), cursor.integer("<Q")
    if kind == ARRAY:
        raise Malformed(f"key {key!r:.80} is an array of arrays")
    if kind != STRING and kind not in SCALARS:
        raise Malformed(f"key {key!r:.80} is an array of the unknown type {kind}")
    if count > _ELEMENTS:
        raise Malformed(f"key {key!r:.80} claims {count:,} elements")
    at = cursor.at
    if kind == STRING:
        deque(cursor.texts(count, _TEXT), maxlen=0)
    else:
        cursor.skip(count * struct.calcsize(SCALARS[kind]))
    return Entry(kind, at, count)


def _tensor(cursor: Cursor, path: Path) -> tuple[str, Tensor]:
    """A tensor whose `start` counts from the first byte of tensor data."""
    name = cursor.text(_NAME)
    dimensions = cursor.integer("<I")
    if not 1 <= dimensions <= _DIMENSIONS:
        raise Malformed(f"tensor {name!r:.80} has {dimensions} dimensions")
    shape = tuple(cursor.integer("<Q") for _ in range(dimensions))[::-1]
    kind, start = KINDS.get(number := cursor.integer("<i")), cursor.integer("<Q")
    if kind is None and number < 0:
        raise Malformed(f"tensor {name!r:.80} is of type {number}")
    if kind is None:
        raise Unsupported(
            f"{path}: tensor {name!r:.80} is of type {number}, which edge does not know",
            fix="use a file quantized to another type, or a newer edge",
        )
    if not all(0 < size < 1 << 48 for size in shape):
        raise Malformed(f"tensor {name!r:.80} has the shape {list(shape)}")
    if shape[-1] % kind.block:
        raise Malformed(f"tensor {name!r:.80}: {shape[-1]} columns in {kind.name} blocks")
    return name, Tensor(kind, shape, start)


def _unique(items: Iterator[tuple[str, Item]]) -> Iterator[tuple[str, Item]]:
    seen: set[str] = set()
    for name, item in items:
        if name in seen:
            raise Malformed(f"{name!r:.80} appears twice")
        seen.add(name)
        yield name, item
