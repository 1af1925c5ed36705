"""Weight files of a package: our own reader, so that no offset of a hostile program is followed.

A file starts with 64 bytes (count, version 2). A blob is 64 bytes of metadata at the offset that
the program names: a mark, the type, the number of bytes, and the offset of the data. Codes of fewer
than eight bits are packed from the lowest bit on.
"""

import math
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edge.errors import Damaged
from edge.typing import U8, AnyArray
from edge_runtimes.coreml.types import NUMPY, TensorType, bits_of

_META = struct.Struct("<IIQQ")  # mark, type, bytes, offset of the data
_SIZE = 64  # of the header, and of metadata
_MARK = 0xDEADBEEF
_KINDS = {
    1: "fp16", 2: "fp32", 3: "uint8", 4: "int8", 6: "int16", 7: "uint16", 8: "int4", 9: "uint1",
    10: "uint2", 11: "uint4", 12: "uint3", 13: "uint6", 14: "int32", 15: "uint32",
}  # fmt: skip
_PER_WORD = {1: 8, 2: 4, 3: 8, 4: 2, 6: 4}  # codes in the fewest whole bytes that hold any


class Blobs:
    """Reads blobs by file name, as `locate` finds them."""

    def __init__(self, locate: Callable[[str], Path]) -> None:
        self._locate = locate

    def read(self, name: str, offset: int, kind: TensorType, rows: range | None = None) -> AnyArray:
        """A constant of this type and shape, or some of its rows, which then fill whole bytes; refused
        unless the file says the same of it.
        """
        assert None not in kind.shape
        shape = tuple(size or 0 for size in kind.shape)
        every = math.prod(shape)
        if rows is not None:
            shape = (len(rows), *shape[1:])
        first = 0 if rows is None else rows.start * math.prod(shape[1:])
        part = range(first, first + math.prod(shape))
        content = _content(self._locate(name), offset, kind.kind, every, part)
        return decoded(content, kind.kind, shape)


def decoded(content: U8, kind: str, shape: tuple[int, ...]) -> AnyArray:
    """Stored bytes -> elements; a code of fewer than eight bits becomes a byte."""
    if bits_of(kind) >= 8:
        return content.view(NUMPY[kind]).reshape(shape)
    codes = unpack(content, bits_of(kind))[: math.prod(shape)].reshape(shape)
    if kind != "int4":
        return codes
    signed = codes.view(np.int8)
    return np.where(signed > 7, signed - 16, signed).astype(np.int8)


def unpack(content: U8, bits: int) -> U8:
    """Packed bytes -> codes, as many as the bytes hold."""
    count = _PER_WORD[bits]
    width = bits * count // 8  # bytes of a word
    padded = np.pad(content, (0, -len(content) % width)).reshape(-1, width)
    words = padded[:, 0].astype(np.uint32)
    for i in range(1, width):
        words |= padded[:, i].astype(np.uint32) << np.uint32(8 * i)
    codes = np.empty((len(words), count), np.uint8)
    for i in range(count):
        codes[:, i] = words >> np.uint32(bits * i) & np.uint32((1 << bits) - 1)
    return codes.reshape(-1)


def _content(path: Path, offset: int, kind: str, count: int, part: range) -> U8:
    """The bytes of some elements of a blob of `count`."""
    size = path.stat().st_size
    handle = os.open(path, os.O_RDONLY)
    try:
        if not _SIZE <= offset <= size - _SIZE:
            raise _wrong(path, offset, f"lies outside of the file's {size} bytes")
        mark, code, nbytes, at = _META.unpack(os.pread(handle, _META.size, offset))
        if mark != _MARK or _KINDS.get(code) != kind:
            raise _wrong(path, offset, f"is no {kind}")
        if nbytes != -(-count * bits_of(kind) // 8):
            raise _wrong(path, offset, f"has {nbytes} bytes, which is no {count} of {kind}")
        if not _SIZE <= at <= size - nbytes:
            raise _wrong(path, offset, f"lies outside of the file's {size} bytes")
        bits = bits_of(kind)
        content = np.empty(-(-len(part) * bits // 8), np.uint8)
        _fill(handle, content, at + part.start * bits // 8)
        return content
    finally:
        os.close(handle)


def _fill(handle: int, content: U8, at: int) -> None:
    view, done = content.data.cast("B"), 0
    while done < len(view):
        got = os.preadv(handle, [view[done:]], at + done)
        assert got > 0, "a weight file shrank while it was read"
        done += got


def _wrong(path: Path, offset: int, what: str) -> Damaged:
    return Damaged(
        f"{path}: the weight at {offset} {what}", fix="get the package again; do not trust it"
    )
