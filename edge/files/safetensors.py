"""A bounds-checked reader of safetensors files that never maps them.

Mapped pages count as resident memory, so tensors are read by position, a block of rows at a time.
The header is checked before anything is allocated: its size, every offset, every shape. It may also
come over a network, without the tensors: `header_size` and `parse_header` take bytes.
"""

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.errors import Damaged, Unsupported
from edge.files.closeable import Closeable
from edge.typing import F32

_DIMENSIONS = 8  # the most of a tensor: a product of a million sizes takes minutes
HEADER_LIMIT = 32 << 20  # bytes: 300,000 tensors
_FLOATS: Mapping[str, int] = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8}
SIZES = {**_FLOATS, "U32": 4, "U8": 1}  # bytes of what is read here: codes are no floats


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor: its type, and its shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * SIZES[self.dtype]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * SIZES[self.dtype]


@dataclass(frozen=True, slots=True)
class Entry(Tensor):
    """One tensor of a file, and its first byte there."""

    start: int

    def alike(self, other: Tensor) -> bool:
        """Whether both are of one type and shape."""
        return (self.dtype, self.shape) == (other.dtype, other.shape)


class SafetensorsFile(Closeable):
    """An open file; `entries` are its tensors."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDONLY)
        try:
            size = os.fstat(self._file).st_size
            length = header_size(os.pread(self._file, 8, 0), size, str(path))
            content = os.pread(self._file, length, 8)
            self.entries: Mapping[str, Entry] = parse_header(content, size, str(path))
        except BaseException:
            self.close()
            raise

    def rows(self, name: str, start: int, stop: int, step: int = 1) -> F32:
        """Rows of a tensor as float32: [stop - start, ...]; a vector is a column of rows."""
        entry = self.entries[name]
        if entry.dtype not in _FLOATS:
            raise Unsupported(
                f"weights of type {entry.dtype} cannot be read as floats",
                fix="use a checkpoint in F32, F16 or BF16, not a quantized one",
            )
        size = entry.row_bytes
        raw = read_at(self._file, entry.start + start * size, (stop - start) * size, self.path)
        block = as_f32(raw, entry.dtype).reshape(stop - start, *entry.shape[1:])
        return block[::step]

    def raw(self, name: str, span: range) -> bytearray:
        """These bytes of a tensor, as they are stored."""
        return read_at(self._file, self.entries[name].start + span.start, len(span), self.path)

    def fill(self, name: str, row: int, out: memoryview) -> None:
        """Bytes of a tensor as they are stored, from the start of a row, into all of a buffer."""
        entry = self.entries[name]
        start = row * entry.row_bytes
        assert start + out.nbytes <= entry.nbytes, f"{out.nbytes} bytes of {name} from row {row}"
        _fill(self._file, entry.start + start, out.cast("B"), self.path)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def wide_first(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """In the order in which each is aligned to its own type, where they follow each other without a gap."""
    return dict(sorted(tensors.items(), key=lambda item: -SIZES[item[1].dtype]))


def header_of(
    tensors: Mapping[str, Tensor], form: str, *, align: int = 8
) -> tuple[bytes, dict[str, int]]:
    """What a file of these tensors begins with, so that the first lies at a multiple of `align`; and where
    each of them lies. `form`: who is meant to read it.
    """
    table: dict[str, object] = {"__metadata__": {"format": form}}
    starts, at = {}, 0
    for name, tensor in tensors.items():
        starts[name], end = at, at + tensor.nbytes
        table[name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % align)
    first = 8 + len(text)
    return len(text).to_bytes(8, "little") + text, {n: first + start for n, start in starts.items()}


def header_size(start: bytes, size: int, where: str) -> int:
    """Bytes of the header of a file of `size` bytes, from its first eight."""
    if len(start) < 8:
        raise _damaged(where, "it is too short for a header")
    length = int.from_bytes(start[:8], "little")
    if length > min(HEADER_LIMIT, size - 8):
        raise _damaged(where, f"its header claims {length:,} bytes of a file of {size:,}")
    return length


def parse_header(content: bytes, size: int, where: str) -> dict[str, Entry]:
    """The tensors that a header names, all of which lie within a file of `size` bytes."""
    try:
        header = json.loads(content, object_pairs_hook=_unique)
        _texts(header.pop("__metadata__", {}))
        places = dict(_places(header, start=8 + len(content), size=size))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _damaged(where, f"its header is malformed ({str(error)[:200]})") from None
    _no_gap(places.values(), start=8 + len(content), size=size, where=where)
    return {name: entry for name, (entry, _) in places.items()}


def _texts(metadata: object) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("__metadata__ is no table of texts")


def _places(
    header: Mapping[str, Mapping[str, object]], *, start: int, size: int
) -> Iterator[tuple[str, tuple[Entry, int]]]:
    """Each tensor, and where it ends."""
    for name, item in header.items():
        dtype, shape, offsets = item["dtype"], item["shape"], item["data_offsets"]
        if not (isinstance(dtype, str) and isinstance(shape, list) and isinstance(offsets, list)):
            raise ValueError(f"{name}: wrong types")
        if len(shape) > _DIMENSIONS:
            raise ValueError(f"{name} has {len(shape)} dimensions")
        begin, end = (_count(value) for value in offsets)
        dims = tuple(_count(value) for value in shape)
        if start + end > size:
            raise ValueError(
                f"{name} ends {start + end - size:,} bytes past the file: it is cut off"
            )
        if dtype in SIZES and math.prod(dims) * SIZES[dtype] != end - begin:
            raise ValueError(f"{name}: {end - begin:,} bytes do not hold {list(dims)} of {dtype}")
        yield name, (Entry(dtype, dims, start + begin), start + end)


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 48:
        raise ValueError(f"{value!r:.40} is no size")
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("a name appears twice")
    return out


def _no_gap(places: Iterable[tuple[Entry, int]], *, start: int, size: int, where: str) -> None:
    """Tensors lie end to end: bytes of two are no file that a writer makes, and bytes of none may
    be another file hidden in this one.
    """
    at = start
    for begin, end in sorted((entry.start, end) for entry, end in places):
        if not at <= begin <= end:
            raise _damaged(where, "two tensors share bytes")
        if begin > at:
            raise _damaged(where, f"{begin - at:,} bytes belong to no tensor")
        at = end
    if at != size:
        raise _damaged(where, f"{size - at:,} bytes belong to no tensor")


def read_at(file: int, start: int, size: int, path: Path) -> bytearray:
    buffer = bytearray(size)
    _fill(file, start, memoryview(buffer), path)
    return buffer


def _fill(file: int, start: int, view: memoryview, path: Path) -> None:
    """Exactly these bytes: a single read may stop at 2 GiB."""
    done = 0
    while done < len(view):
        got = os.preadv(file, [view[done : done + (1 << 30)]], start + done)
        if not got:
            raise _damaged(str(path), "it became shorter while it was read")
        done += got


def as_f32(raw: bytearray, dtype: str) -> F32:
    if dtype == "F32":
        return np.frombuffer(raw, "<f4")
    if dtype == "BF16":  # a bfloat16 is the upper half of a float32
        return np.left_shift(np.frombuffer(raw, "<u2"), 16, dtype=np.uint32).view(np.float32)
    return np.frombuffer(raw, {"F16": "<f2", "F64": "<f8"}[dtype]).astype(np.float32)


def _damaged(where: str, what: str) -> Damaged:
    return Damaged(f"{where} is no valid safetensors file: {what}", fix="get the file again")
