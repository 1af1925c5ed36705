"""A file's layout before any weight is read: the header, and where each tensor will lie in it."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from edge.gguf.architectures import Architecture, Place, places, stacks
from edge.gguf.keys import Keys, rope_tensors, text
from edge.gguf.kinds import ALIGNMENT, BY_NAME, MAGIC, Kind
from edge.names import Shape
from edge.spec import DecoderSpec

VERSION = 3


@dataclass(frozen=True, slots=True)
class Region:
    """Where a tensor lies in the file."""

    kind: Kind
    shape: Shape
    offset: int

    @property
    def row_bytes(self) -> int:
        return self.kind.row_bytes(self.shape[-1])


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole of a file but for its tensors' content."""

    header: bytes
    regions: Mapping[str, Region]
    places: Mapping[str, tuple[Place, ...]]
    nbytes: int

    @classmethod
    def of(
        cls, spec: DecoderSpec, arch: Architecture, kinds: Mapping[str, Kind], keys: Keys
    ) -> "Plan":
        """`kinds`: of each matrix; an `output.weight` among them is stored also if it is tied."""
        head = "output.weight" in kinds
        shapes = {name: part.shape for name, part in stacks(spec, arch, head=head).items()}
        shapes |= {name: values.shape for name, values in rope_tensors(spec.rope).items()}
        types = {name: kinds.get(name, BY_NAME["F32"]) for name in shapes}
        sizes = {
            name: types[name].row_bytes(shape[-1]) * (shape[0] if len(shape) == 2 else 1)
            for name, shape in shapes.items()
        }
        offsets, end = {}, 0
        for name, size in sizes.items():
            offsets[name] = end
            end += aligned(size)
        header = _header(keys, {n: (shapes[n], types[n], offsets[n]) for n in shapes})
        start = len(header)
        regions = {n: Region(types[n], shapes[n], start + offsets[n]) for n in shapes}
        return cls(header, regions, places(spec, arch, head=head), start + end)


def aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _header(keys: Keys, tensors: Mapping[str, tuple[Shape, Kind, int]]) -> bytes:
    """Everything before the data; a shape is written from its last size to its first."""
    parts = [MAGIC, struct.pack("<IQQ", VERSION, len(tensors), len(keys))]
    parts += [_text(name) + bytes(value) for name, value in keys.items()]
    for name, (shape, kind, offset) in tensors.items():
        sizes = struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        parts.append(_text(name) + sizes + struct.pack("<IQ", kind.id, offset))
    whole = b"".join(parts)
    return whole + bytes(aligned(len(whole)) - len(whole))


def _text(value: str) -> bytes:
    return bytes(text(value))[4:]  # without the type that a value has before it
