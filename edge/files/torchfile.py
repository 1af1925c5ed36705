"""A bounds-checked reader of what torch.save writes: a zip of one pickle and of raw storages.

The pickle is read as data (`edge.files.unpickled`), and storages by position, a block of rows at a
time. Format: torch/serialization.py of torch 1.6 to 2.13, whose `weights_only` reads the same names.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.errors import Unsupported
from edge.files.closeable import Closeable
from edge.files.opcodes import LIMIT, Call
from edge.files.safetensors import SIZES, Entry, as_f32, read_at
from edge.files.unpickled import ORDERED, named, read
from edge.files.zipped import Record, apart, damaged, directory, place
from edge.typing import F32

_WHOLE = 2 << 30  # bytes of a tensor whose rows do not follow each other: it is read at once
_DIMENSIONS = 8
_NESTS = ("state_dict", "model", "model_state_dict")
_KINDS = {
    "Float": "F32", "Half": "F16", "BFloat16": "BF16", "Double": "F64", "Int": "I32",
    "Long": "I64", "Short": "I16", "Char": "I8", "Byte": "U8", "Bool": "BOOL",
}  # fmt: skip
_BYTES = {**SIZES, "I32": 4, "I64": 8, "I16": 2, "I8": 1, "BOOL": 1}
_FIX = "save its state_dict with torch.save of torch 1.6 or later, or get its safetensors files"


@dataclass(frozen=True, slots=True)
class _Kind:
    dtype: str


@dataclass(frozen=True, slots=True)
class _Storage:
    """Numbers of one type, in the record of this key."""

    dtype: str
    key: str
    count: int


@dataclass(frozen=True, slots=True)
class _View:
    storage: _Storage
    offset: int  # in elements, as the strides
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Placed(Entry):
    """A tensor of a file; strides in elements."""

    strides: tuple[int, ...]

    @property
    def dense(self) -> bool:
        """Whether its rows follow each other."""
        step, sizes = 1, list(zip(self.shape, self.strides, strict=True))
        for size, stride in reversed(sizes):
            if size != 1 and stride != step:
                return False
            step *= size
        return True


class TorchFile(Closeable):
    """An open file; `entries` are its tensors, of which tied ones share their bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._kept: tuple[str, bytearray] | None = None
        self._file = os.open(path, os.O_RDONLY)
        try:
            self.entries: Mapping[str, Placed] = _entries(self._file, str(path))
        except BaseException:
            self.close()
            raise

    def rows(self, name: str, start: int, stop: int, step: int = 1) -> F32:
        """Rows of a tensor as float32: [stop - start, ...]; a vector is a column of rows."""
        entry = self.entries[name]
        if entry.dtype not in ("F32", "F16", "BF16", "F64"):
            raise Unsupported(
                f"weights of type {entry.dtype} cannot be read as floats",
                fix="use a checkpoint in F32, F16 or BF16, not a quantized one",
            )
        size = entry.row_bytes
        raw = self.raw(name, range(start * size, stop * size))
        return as_f32(raw, entry.dtype).reshape(stop - start, *entry.shape[1:])[::step]

    def raw(self, name: str, span: range) -> bytearray:
        """These bytes of a tensor, as they would be stored row after row."""
        entry = self.entries[name]
        if entry.dense:
            return read_at(self._file, entry.start + span.start, len(span), self.path)
        if self._kept is None or self._kept[0] != name:
            self._kept = name, self._gathered(entry)
        return self._kept[1][span.start : span.stop]

    def _gathered(self, entry: Placed) -> bytearray:
        width = _BYTES[entry.dtype]
        extent = width * _extent(entry.shape, entry.strides)
        if extent > _WHOLE:
            raise Unsupported(
                f"{self.path} holds a transposed tensor of more than {_WHOLE >> 30} GiB",
                fix="save contiguous tensors: tensor.contiguous()",
            )
        flat = np.frombuffer(read_at(self._file, entry.start, extent, self.path), f"V{width}")
        steps = tuple(width * stride for stride in entry.strides)
        return bytearray(np.lib.stride_tricks.as_strided(flat, entry.shape, steps).tobytes())

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _entries(file: int, where: str) -> dict[str, Placed]:
    start = os.pread(file, 4, 0)
    if start != b"PK\3\4":
        raise Unsupported(f"{where} is no zip: of a torch before 1.6, or of no torch", fix=_FIX)
    records = directory(file, where)
    roots = [name.removesuffix("data.pkl") for name in records if name.endswith("/data.pkl")]
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in records):
        raise Unsupported(f"{where} is a TorchScript program, not weights", fix=_FIX)
    if len(roots) != 1:
        raise damaged(where, f"it holds {len(roots)} records data.pkl")
    (root,) = roots
    pickle = f"{root}data.pkl"
    if records[pickle].size > LIMIT:
        raise Unsupported(f"{where} has a pickle of more than {LIMIT >> 20} MiB", fix=_FIX)
    places = {pickle: place(file, pickle, records[pickle], where)}
    _check_order(file, f"{root}byteorder", records, where)
    span = places[pickle]
    content = os.pread(file, len(span), span.start)
    tensors = _tensors(read(content, where, _NAMES, _storage), where)
    out = {}
    for name, view in tensors.items():
        record = f"{root}data/{view.storage.key}"
        if record not in records:
            raise damaged(where, f"{name!r:.80} has no record {record!r:.80}")
        if record not in places:
            places[record] = place(file, record, records[record], where)
        out[name] = _placed(name, view, places[record], where)
    apart(places, where)
    return out


def _check_order(file: int, name: str, records: Mapping[str, Record], where: str) -> None:
    if name not in records:
        return  # torch before 2.1 wrote none
    span = place(file, name, records[name], where)
    if os.pread(file, min(len(span), 8), span.start) != b"little":
        raise Unsupported(f"{where} holds big-endian numbers", fix=_FIX)


def _placed(name: str, view: _View, span: range, where: str) -> Placed:
    """A tensor whose every element lies in its storage, and each once."""
    width = _BYTES[view.storage.dtype]
    if view.storage.count * width != len(span):
        raise damaged(where, f"the storage of {name!r:.80} has {len(span):,} bytes")
    extent = _extent(view.shape, view.strides)
    if extent and view.offset + extent > view.storage.count:
        raise damaged(where, f"{name!r:.80} reaches past its storage")
    end = 1
    for stride, size in sorted(zip(view.strides, view.shape, strict=True)):
        if extent and size > 1 and stride < end:
            raise Unsupported(
                f"{where}: {name!r:.80} holds an element twice", fix="save tensor.contiguous()"
            )
        end += (size - 1) * stride
    start = span.start + view.offset * width if extent else span.start
    return Placed(view.storage.dtype, view.shape, start, view.strides)


def _extent(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """Elements from the first to the last."""
    if not math.prod(shape):
        return 0
    return 1 + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))


def _tensors(value: object, where: str) -> dict[str, _View]:
    """The one mapping that holds tensors: the whole, or one under a key that trainers use."""
    if not isinstance(value, dict):
        raise Unsupported(f"{where} holds no dict of tensors", fix=_FIX)
    nested = {k: value[k] for k in _NESTS if isinstance(value.get(k), dict) and _any(value[k])}
    if len(nested) + _any(value) > 1:
        raise Unsupported(f"{where} holds several dicts of tensors: {sorted(nested)}", fix=_FIX)
    found = next(iter(nested.values()), value)
    out = {k: v for k, v in found.items() if isinstance(k, str) and isinstance(v, _View)}
    if not out:
        raise Unsupported(f"{where} holds no tensors by name", fix=_FIX)
    return out


def _any(found: dict[object, object]) -> bool:
    return any(isinstance(value, _View) for value in found.values())


def _storage(given: tuple[object, ...]) -> _Storage:
    word, kind, key, _, count = given
    if word != "storage" or not isinstance(kind, _Kind) or not isinstance(key, str):
        raise ValueError("an id that is no storage")
    if not key.isascii() or not key.isdigit():
        raise ValueError(f"a storage of the key {key!r:.40}")
    return _Storage(kind.dtype, key, _count(count))


def _view(args: tuple[object, ...]) -> _View:
    storage, offset, shape, strides, *_ = args
    if not isinstance(storage, _Storage):
        raise ValueError("a tensor without a storage")
    sizes, steps = _counts(shape), _counts(strides)
    if len(sizes) != len(steps) or len(sizes) > _DIMENSIONS:
        raise ValueError(f"a tensor of {len(sizes)} sizes and {len(steps)} strides")
    return _View(storage, _count(offset), sizes, steps)


def _parameter(args: tuple[object, ...]) -> _View:
    if not args or not isinstance(args[0], _View):
        raise ValueError("a parameter of no tensor")
    return args[0]


def _size(args: tuple[object, ...]) -> tuple[int, ...]:
    (sizes,) = args
    return _counts(sizes)


def _counts(value: object) -> tuple[int, ...]:
    if not isinstance(value, tuple):
        raise ValueError("sizes that are no tuple")
    return tuple(_count(item) for item in value)


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 48:
        raise ValueError(f"a {type(value).__name__} is no size, or it is too large")
    return value


_NAMES: Mapping[str, object] = {
    **named(
        ORDERED,
        Call("torch._utils._rebuild_tensor_v2", _view),
        Call("torch._utils._rebuild_parameter", _parameter),
        Call("torch.Size", _size),
    ),
    **{f"torch.{name}Storage": _Kind(dtype) for name, dtype in _KINDS.items()},
}
