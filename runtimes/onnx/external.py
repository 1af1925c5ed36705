"""Which files a graph reads beside itself: found, and refused, before ONNX Runtime sees the graph.

An artifact may come from anybody, its edge.json included. ONNX was patched three times for data that
lies outside of the model's folder, so nothing is left to the library: a walk over the protobuf finds
every tensor, wherever in the model it is, and each must lie in a plain file of the same folder, all
of it. The walk knows the few messages in which a tensor can be, skips all others by their length,
and is bounded in size, depth and number of fields.
"""

import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edge.errors import Damaged
from edge.files.config import is_plain

LIMIT = 16 << 20  # bytes of a graph: weights lie beside it, so it takes kilobytes
_DEPTH = 32  # messages in messages
_FIELDS = 1 << 20

# Fields of onnx.proto that lead to tensors: message -> number of the field -> message.
_TENSOR, _SPARSE, _ENTRY = "TensorProto", "SparseTensorProto", "StringStringEntryProto"
_GRAPH, _NODE, _ATTRIBUTE, _FUNCTION = "GraphProto", "NodeProto", "AttributeProto", "FunctionProto"
_INSIDE: Mapping[str, Mapping[int, str]] = {
    "ModelProto": {7: _GRAPH, 20: "TrainingInfoProto", 25: _FUNCTION},
    "TrainingInfoProto": {1: _GRAPH, 2: _GRAPH},
    _GRAPH: {1: _NODE, 5: _TENSOR, 15: _SPARSE},
    _FUNCTION: {7: _NODE, 11: _ATTRIBUTE},
    _NODE: {5: _ATTRIBUTE},
    _ATTRIBUTE: {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE},
    _SPARSE: {1: _TENSOR, 2: _TENSOR},
    _TENSOR: {13: _ENTRY},
    _ENTRY: {},
}
_KEY, _VALUE = 1, 2  # of an entry
_GRAPH_FIELD, _CONSTANT, _NAME, _EXTERNAL = 7, 5, 8, 13  # of a model, of its graph, of a tensor
_KNOWN = ("location", "offset", "length", "checksum")


def check(file: Path) -> None:
    """Refuse a graph that reads anything but plain files of its own folder, each within its bounds."""
    sizes: dict[str, int] = {}
    try:
        walk = _Walk(_content(file))
        for tensor in walk.tensors("ModelProto", 0, len(walk.data), 0):
            name, end = _place(tensor)
            if name not in sizes:
                sizes[name] = _size(file.parent / name)
            if end > sizes[name]:
                raise ValueError(f"a tensor ends past {name!r:.80}")
    except ValueError as error:
        raise Damaged(f"{file} is no graph of edge: {error}", fix="do not trust it") from None


def _content(file: Path) -> bytes:
    """The graph's bytes, if it is a file of its own and no link."""
    if file.is_symlink() or not file.is_file():
        raise ValueError("it is missing, or a link")
    with file.open("rb") as source:
        content = source.read(LIMIT + 1)
    if len(content) > LIMIT:
        raise ValueError(f"it is larger than {LIMIT >> 20} MiB")
    return content


def _place(tensor: Mapping[str, str]) -> tuple[str, int]:
    """The file of one tensor's external data, and where in it the tensor ends at the least."""
    unknown = sorted(set(tensor) - set(_KNOWN))
    name = tensor.get("location", "")
    if unknown or not is_plain(name):
        also = f", with {unknown[0]!r:.40}" if unknown else ""
        raise ValueError(f"a tensor lies in {name!r:.80}{also}: that is no file beside it")
    return name, sum(_number(tensor.get(key, "0")) for key in ("offset", "length"))


def _size(file: Path) -> int:
    """Bytes of a file of its own: no link of either kind, nothing but a file."""
    try:
        status = file.lstat()
    except OSError:
        raise ValueError(f"{file.name!r:.80} is missing") from None
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{file.name!r:.80} is a link, or no file")
    if status.st_nlink > 1:
        raise ValueError(
            f"{file.name!r:.80} is hard-linked elsewhere, so copy the folder to use it"
        )
    return status.st_size


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ValueError(f"{text!r:.40} is no size")
    return int(text)


def regions(file: Path) -> dict[str, tuple[Path, int, int]]:
    """Where each constant of a graph that `check` let pass lies: its file, first byte, and bytes."""
    walk, out = _Walk(_content(file)), {}
    for graph in walk.inside(0, len(walk.data), _GRAPH_FIELD):
        for tensor in walk.inside(*graph, _CONSTANT):
            name = "".join(walk.data[a:b].decode() for a, b in walk.inside(*tensor, _NAME))
            found = dict(walk.entry(*at) for at in walk.inside(*tensor, _EXTERNAL))
            if found:
                nbytes, offset = (_number(found.get(key, "0")) for key in ("length", "offset"))
                out[name] = file.parent / found["location"], offset, nbytes
    return out


@dataclass(slots=True)
class _Walk:
    """Over the wire format: keys of field number and wire type, lengths, varints."""

    data: bytes
    fields: int = field(default=0)

    def tensors(self, kind: str, start: int, end: int, depth: int) -> Iterator[dict[str, str]]:
        """The external data of every tensor in a message that lies in bytes [start, end)."""
        if depth > _DEPTH:
            raise ValueError(f"messages are nested deeper than {_DEPTH}")
        inside, found = _INSIDE[kind], {}
        for number, begin, stop in self.messages(start, end):
            inner = inside.get(number)
            if inner == _ENTRY:
                key, value = self.entry(begin, stop)
                if key in found:
                    raise ValueError(f"a tensor has two of {key!r:.40}")
                found[key] = value
            elif inner is not None:
                yield from self.tensors(inner, begin, stop, depth + 1)
        if found:
            yield found

    def inside(self, start: int, end: int, wanted: int) -> Iterator[tuple[int, int]]:
        """Where each field of a number lies in a message, in bytes."""
        yield from ((a, b) for number, a, b in self.messages(start, end) if number == wanted)

    def entry(self, start: int, end: int) -> tuple[str, str]:
        """A key and its value, each there once: parsers differ on which of two counts."""
        parts: dict[int, str] = {}
        for number, begin, stop in self.messages(start, end):
            if number in parts or number not in (_KEY, _VALUE):
                raise ValueError("a field of external data appears twice, or is unknown")
            parts[number] = self.data[begin:stop].decode()
        return parts.get(_KEY, ""), parts.get(_VALUE, "")

    def messages(self, at: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Fields that have a length, as number and range of bytes; others are stepped over."""
        while at < end:
            self.fields += 1
            if self.fields > _FIELDS:
                raise ValueError(f"it has more than {_FIELDS:,} fields")
            key, at = self.varint(at, end)
            number, wire = key >> 3, key & 7
            length = 0
            if wire == 0:
                _, at = self.varint(at, end)
            elif wire in (1, 5):
                length = 8 if wire == 1 else 4
            elif wire == 2:
                length, at = self.varint(at, end)
            if wire not in (0, 1, 2, 5) or number == 0 or at + length > end:
                raise ValueError("it is cut off, or no protobuf")
            if wire == 2:
                yield number, at, at + length
            at += length

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """A number of 7 bits a byte, and where it ends."""
        value = shift = 0
        while at < end and shift < 64:
            byte = self.data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
            shift += 7
        raise ValueError("it is cut off, or no protobuf")
