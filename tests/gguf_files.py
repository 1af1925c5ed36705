"""GGUF files made byte by byte, so that a test may lie in any field. Written without any toolkit."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
FORMATS = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?"}
FORMATS |= {U64: "Q", I64: "q", F64: "d"}
Scalar = bool | int | float | str | bytes


def text(value: str | bytes, *, length: int | None = None) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw) if length is None else length) + raw


def number(kind: int, value: Scalar) -> bytes:
    return (
        text(value) if isinstance(value, str | bytes) else struct.pack("<" + FORMATS[kind], value)
    )


def key(name: str | bytes, kind: int, value: Scalar) -> bytes:
    return text(name) + struct.pack("<I", kind) + number(kind, value)


def array(name: str, kind: int, values: Sequence[Scalar], *, count: int | None = None) -> bytes:
    many = len(values) if count is None else count
    head = struct.pack("<IIQ", ARRAY, kind, many)
    return text(name) + head + b"".join(number(kind, value) for value in values)


def tensor(
    name: str | bytes,
    shape: Sequence[int],
    *,
    kind: int = 0,
    offset: int = 0,
    dimensions: int | None = None,
) -> bytes:
    """A tensor's entry; the shape as numpy has it."""
    many = len(shape) if dimensions is None else dimensions
    sizes = b"".join(struct.pack("<Q", size) for size in reversed(shape))
    return text(name) + struct.pack("<I", many) + sizes + struct.pack("<iQ", kind, offset)


@dataclass(kw_only=True)
class File:
    """A file of parts: what a count claims may differ from what is there."""

    keys: Sequence[bytes] = ()
    tensors: Sequence[bytes] = ()
    data: bytes = b""
    magic: bytes = b"GGUF"
    version: int = 3
    key_count: int | None = None
    tensor_count: int | None = None
    alignment: int = field(default=32)

    def bytes(self) -> bytes:
        tensors = len(self.tensors) if self.tensor_count is None else self.tensor_count
        keys = len(self.keys) if self.key_count is None else self.key_count
        head = self.magic + struct.pack("<IQQ", self.version, tensors & _MASK, keys & _MASK)
        head += b"".join(self.keys) + b"".join(self.tensors)
        return head + b"\0" * (-len(head) % self.alignment) + self.data


_MASK = (1 << 64) - 1
