"""A file's weights by canonical name, dequantized: by our own reader where it can, else by ggml's
reference, which no kernel uses. N rows, K columns.
"""

import ctypes
from collections.abc import Iterator
from pathlib import Path

import llama_cpp
import numpy as np

from edge.errors import Damaged
from edge.files.closeable import Closeable
from edge.gguf.architectures import TensorRows, architecture, places
from edge.gguf.blocks import can_dequantize, dequantize, has_minimum, unpack
from edge.gguf.kinds import Kind
from edge.gguf.shards import GGUFModel, file_names
from edge.names import Spec, decoder_of, shapes
from edge.quant.recipe import Recipe
from edge.quant.tensor import QTensor
from edge.quant.unfit import first_wrong
from edge.spec import DecoderSpec
from edge.typing import F32, I64, U8

_BLOCK = 1 << 20  # weights at a time


class _Traits(ctypes.Structure):
    """ggml_type_traits, as far as it is needed."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("columns", ctypes.c_int64),
        ("interleaved", ctypes.c_int64),
        ("nbytes", ctypes.c_size_t),
        ("quantized", ctypes.c_bool),
        ("to_float", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)),
    ]


class StoredWeights(Closeable):
    """`edge.contracts.Stored` over a file."""

    def __init__(self, folder: Path, spec: DecoderSpec) -> None:
        first = folder if folder.is_file() else folder / file_names(len(spec.exits) + 1)[0]
        self._file = GGUFModel(first)
        arch = architecture(str(self._file["general.architecture"]))
        self._places = places(spec, arch, head="output.weight" in self._file.tensors)
        self._shapes = shapes(spec)

    def __call__(self, name: str, rows: I64 | None) -> F32:
        whole = np.arange(self._shapes[name][0])
        if len(self._shapes[name]) == 1:
            place = self._places[name][0]
            stacked = self._read(place.tensor, np.zeros(1, np.int64))[0]
            return stacked[_at(place, whole)]
        if rows is not None:  # a table that is looked up comes first, the head last
            place = self._places[name][0]
            return np.concatenate(
                [self._read(place.tensor, rows[i : i + 1]) for i in range(len(rows))]
            )
        return np.concatenate([self._float(name, part) for part in self._cut(name, whole)])

    def rows(self, name: str, start: int, stop: int, *, by_row: bool) -> F32:
        place = self._places[name][0 if by_row else -1]
        raw = self._raw(place.tensor, _at(place, np.arange(start, stop)))
        return to_float(raw, self._file.tensors[place.tensor].kind)

    def blocks(self, name: str) -> Iterator[F32 | QTensor]:
        tensor = self._places[name][-1].tensor
        for part in self._cut(name, np.arange(self._shapes[name][0])):
            if has_minimum(self._file.tensors[tensor].kind):
                yield unpack(
                    self._raw(tensor, _at(self._places[name][-1], part)),
                    self._file.tensors[tensor].kind,
                )
            else:
                yield self._float(name, part)

    def close(self) -> None:
        self._file.close()

    def _cut(self, name: str, rows: I64) -> list[I64]:
        step = max(1, _BLOCK // self._shapes[name][1])
        return [rows[at : at + step] for at in range(0, len(rows), step)]

    def _float(self, name: str, rows: I64) -> F32:
        place = self._places[name][-1]
        return self._read(place.tensor, _at(place, rows))

    def _read(self, tensor: str, rows: I64) -> F32:
        values = to_float(self._raw(tensor, rows), self._file.tensors[tensor].kind)
        wrong = first_wrong(values)
        if wrong is not None:
            raise Damaged(
                f"{self._file.path}: {tensor} holds NaN or infinity in row {rows[wrong]}",
                fix="get the file again, or convert its source again",
            )
        return values

    def _raw(self, tensor: str, rows: I64) -> U8:
        """Stored bytes of rows that lie near each other: [N, bytes]."""
        first, last = int(rows.min()), int(rows.max()) + 1
        raw = self._file.raw(tensor, first, last)
        return raw.reshape(last - first, -1)[rows - first]


def read_back(folder: Path, spec: Spec, _recipe: Recipe) -> StoredWeights:
    """A file says the type of each tensor itself."""
    return StoredWeights(folder, decoder_of(spec, str(folder)))


def _at(place: TensorRows, rows: I64) -> I64:
    """Rows of a weight as rows of its tensor."""
    return place.first + (rows if place.order is None else place.order[rows])


def to_float(raw: U8, kind: Kind) -> F32:
    """Stored rows [N, bytes] -> [N, K]."""
    if can_dequantize(kind):
        return dequantize(np.ascontiguousarray(raw), kind, len(raw))
    columns = raw.shape[1] // kind.nbytes * kind.block
    out = np.empty((len(raw), columns), np.float32)
    source = np.ascontiguousarray(raw)
    _traits(kind).to_float(source.ctypes.data, out.ctypes.data, out.size)
    return out


def _traits(kind: Kind) -> _Traits:
    find = llama_cpp.llama_cpp._lib.ggml_get_type_traits
    find.restype, find.argtypes = ctypes.POINTER(_Traits), [ctypes.c_int]
    found: _Traits = find(kind.id).contents
    assert (found.columns, found.nbytes) == (kind.block, kind.nbytes), (
        f"{kind.name} has another size"
    )
    return found
