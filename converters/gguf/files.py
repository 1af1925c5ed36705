"""A model's file, or its shards, before any weight is read: headers, and where each tensor will lie."""

import re
import struct
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edge.gguf.architectures import Architecture, TensorRows, places, stacks
from edge.gguf.keys import Keys, rope_tensors, text
from edge.gguf.kinds import ALIGNMENT, BY_NAME, MAGIC, Kind
from edge.gguf.shards import file_names, keys_of
from edge.spec import DecoderSpec
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


@dataclass(frozen=True, slots=True)
class File:
    """One file: its header is all of it but the tensors' content."""

    name: str
    header: bytes
    nbytes: int


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """All files of a model, and where in them each weight lies."""

    files: tuple[File, ...]
    regions: Mapping[str, Region]
    places: Mapping[str, tuple[TensorRows, ...]]

    @classmethod
    def of(
        cls, spec: DecoderSpec, arch: Architecture, kinds: Mapping[str, Kind], keys: Keys
    ) -> "ModelFiles":
        """`kinds`: of each matrix; an `output.weight` among them is stored also if it is tied. A model
        with exits is cut at each: the first files are the model up to there.
        """
        head = "output.weight" in kinds
        shapes = {name: part.shape for name, part in stacks(spec, arch, head=head).items()}
        shapes |= {name: values.shape for name, values in rope_tensors(spec.rope).items()}
        tensors = {
            name: Region(kinds.get(name, BY_NAME["F32"]), shapes[name], 0) for name in shapes
        }
        count = len(spec.exits) + 1
        files, regions = [], dict[str, Region]()
        for number, file in enumerate(file_names(count)):
            own = {n: t for n, t in tensors.items() if _file(n, spec.exits) == number}
            said = {} if count == 1 else keys_of(number, count, len(tensors))
            offsets, end = _offsets(own)
            header = _header({**(keys if number == 0 else {}), **said}, own, offsets)
            files.append(File(file, header, len(header) + end))
            for name, tensor in own.items():
                at = len(header) + offsets[name]
                regions[name] = replace(tensor, offset=at, file=number)
        return cls(tuple(files), regions, places(spec, arch, head=head))


def _file(tensor: str, exits: Sequence[int]) -> int:
    """Which file a tensor lies in: what is of no layer lies in the first."""
    match = re.match(r"blk\.(\d+)\.", tensor)
    return 0 if match is None else bisect_right(exits, int(match[1]))


def _offsets(tensors: Mapping[str, Region]) -> tuple[dict[str, int], int]:
    """Where each tensor begins after a header, and where the last ends."""
    offsets, end = {}, 0
    for name, tensor in tensors.items():
        offsets[name] = end
        rows = tensor.shape[0] if len(tensor.shape) == 2 else 1
        end += aligned(tensor.row_bytes * rows)
    return offsets, end


def aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _header(keys: Keys, tensors: Mapping[str, Region], offsets: Mapping[str, int]) -> bytes:
    """Everything before the data; a shape is written from its last size to its first."""
    parts = [MAGIC, struct.pack("<IQQ", VERSION, len(tensors), len(keys))]
    parts += [_text(name) + bytes(value) for name, value in keys.items()]
    for name, tensor in tensors.items():
        shape = tensor.shape
        sizes = struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        parts.append(_text(name) + sizes + struct.pack("<IQ", tensor.kind.id, offsets[name]))
    whole = b"".join(parts)
    return whole + bytes(aligned(len(whole)) - len(whole))


def _text(value: str) -> bytes:
    return bytes(text(value))[4:]  # without the type that a value has before it
