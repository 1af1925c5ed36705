"""What a GGUF file begins with, before any tensor's content, and where each tensor will lie."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from edge.gguf.keys import Keys, text
from edge.gguf.kinds import ALIGNMENT, MAGIC, Kind
from edge.typing import Shape

VERSION = 3


@dataclass(frozen=True, slots=True)
class Region:
    """Where a tensor lies, and in which of the files."""

    kind: Kind
    shape: Shape
    offset: int
    file: int = 0

    @property
    def row_bytes(self) -> int:
        return self.kind.row_bytes(self.shape[-1])


def offsets(tensors: Mapping[str, Region]) -> tuple[dict[str, int], int]:
    """Where each tensor begins after a header, and where the last ends."""
    found, end = {}, 0
    for name, tensor in tensors.items():
        found[name] = end
        rows = tensor.shape[0] if len(tensor.shape) == 2 else 1
        end += aligned(tensor.row_bytes * rows)
    return found, end


def aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def header(keys: Keys, tensors: Mapping[str, Region], starts: Mapping[str, int]) -> bytes:
    """Everything before the data; a shape is written from its last size to its first."""
    parts = [MAGIC, struct.pack("<IQQ", VERSION, len(tensors), len(keys))]
    parts += [_text(name) + bytes(value) for name, value in keys.items()]
    for name, tensor in tensors.items():
        shape = tensor.shape
        sizes = struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        parts.append(_text(name) + sizes + struct.pack("<IQ", tensor.kind.id, starts[name]))
    whole = b"".join(parts)
    return whole + bytes(aligned(len(whole)) - len(whole))


def _text(value: str) -> bytes:
    return bytes(text(value))[4:]  # without the type that a value has before it
