"""A sequence's state as llama.cpp hands it out and takes it back: cells with their positions, and what
each layer's cache holds for them.

That layout is nobody's promise: every number of it is checked, and one that is another is refused. A
cell's position says only which queries see it. Keys lie there rotated, so that a cell may hold another
token's rows in each head of each layer. S cells, G kv heads, C kept cells, W head width.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from edge.errors import Unsupported
from edge.spec import DecoderSpec
from edge.typing import I64, U8

F16 = NDArray[np.float16]
PINNED = "0.3.36"  # the version of llama-cpp-python whose layout this is
_MAGIC, _STREAMS, _HALF = 0xAF143CD8, 1, 1  # numbers in fp16
_HEAD = struct.Struct("<IiII")  # magic, sequence, streams, cells
_CELL = np.dtype([("position", "<i4"), ("sequences", "<u4"), ("sequence", "<i4")])
_DATA = struct.Struct("<II")  # whether values are transposed, layers
_ROWS = struct.Struct("<iQ")  # type, bytes of a row
_COLUMNS = struct.Struct("<iII")  # type, bytes of a number, numbers of a row


@dataclass(frozen=True, slots=True)
class State:
    """Cells in the order of their positions [S], and for each layer their keys and values: [S, G, W].
    `columns`: values lie there column by column, as attention without a kernel of its own reads them.
    """

    positions: NDArray[np.int32]
    keys: Sequence[F16]
    values: Sequence[F16]
    columns: bool

    @classmethod
    def parse(cls, raw: U8, spec: DecoderSpec) -> "State":
        """Views of the bytes, where cells lie in order; refuses what is no state of this spec."""
        reader = _Reader(raw)
        magic, _, streams, count = reader.numbers(_HEAD)
        reader.expect((magic, streams) == (_MAGIC, _STREAMS) and count > 0)
        cells = reader.take(count * _CELL.itemsize).view(_CELL)
        reader.expect(bool((cells["sequences"] == 1).all() and (cells["sequence"] == 0).all()))
        columns, layers = reader.numbers(_DATA)
        reader.expect(columns in (0, 1) and layers == len(spec.layers))
        shapes = [(count, layer.kv_heads, layer.head_width) for layer in spec.layers]
        keys = [reader.rows(shape) for shape in shapes]
        values = [(reader.columns if columns else reader.rows)(shape) for shape in shapes]
        reader.expect(reader.at == len(raw))
        positions = cells["position"].copy()
        if (np.diff(positions) > 0).all():
            return cls(positions, keys, values, bool(columns))
        order = np.argsort(positions)
        keys, values = ([rows[order] for rows in part] for part in (keys, values))
        return cls(positions[order], keys, values, bool(columns))

    def kept(self, rows: Sequence[I64]) -> "State":
        """In each layer only these cells [G, C], as the last C positions."""
        count = rows[0].shape[1]
        return State(
            self.positions[len(self.positions) - count :],
            [_gathered(k, places) for k, places in zip(self.keys, rows, strict=True)],
            [_gathered(v, places) for v, places in zip(self.values, rows, strict=True)],
            self.columns,
        )

    def first(self, layers: int) -> "State":
        """Of a model that ends after so many layers."""
        return State(self.positions, self.keys[:layers], self.values[:layers], self.columns)

    def pack(self) -> U8:
        count = len(self.positions)
        cells = np.zeros(count, _CELL)
        cells["position"], cells["sequences"] = self.positions, 1
        head = _HEAD.pack(_MAGIC, 0, _STREAMS, count)
        data = _DATA.pack(self.columns, len(self.keys))
        parts = [_bytes(head), cells.view(np.uint8), _bytes(data)]
        for rows in self.keys if self.columns else (*self.keys, *self.values):
            parts += [_bytes(_ROWS.pack(_HALF, rows[0].nbytes)), _flat(rows)]
        for rows in self.values if self.columns else ():
            size = rows[0].size
            parts += [_bytes(_COLUMNS.pack(_HALF, 2, size)), _flat(rows.reshape(count, size).T)]
        return np.concatenate(parts)


def prove(raw: U8, spec: DecoderSpec) -> None:
    """Refuse a llama.cpp whose state, read and written again, is not the same."""
    state = State.parse(raw, spec)
    if not np.array_equal(state.pack(), raw):
        raise another()


class _Reader:
    """Parts of a state one after another, never past its end."""

    def __init__(self, raw: U8) -> None:
        self._raw, self.at = raw, 0

    def take(self, count: int) -> U8:
        self.expect(count <= len(self._raw) - self.at)
        self.at += count
        return self._raw[self.at - count : self.at]

    def numbers(self, form: struct.Struct) -> tuple[int, ...]:
        return form.unpack(self.take(form.size).tobytes())

    def rows(self, shape: tuple[int, int, int]) -> F16:
        """[S, G, W], which must be in fp16 and of this width."""
        cells, heads, width = shape
        self.expect(self.numbers(_ROWS) == (_HALF, 2 * heads * width))
        return self.take(2 * cells * heads * width).view("<f2").reshape(shape)

    def columns(self, shape: tuple[int, int, int]) -> F16:
        """[S, G, W], which must be in fp16 and lie as [G, W, S]."""
        cells, heads, width = shape
        self.expect(self.numbers(_COLUMNS) == (_HALF, 2, heads * width))
        lying = self.take(2 * cells * heads * width).view("<f2")
        return lying.reshape(heads, width, cells).transpose(2, 0, 1)

    def expect(self, so: bool) -> None:
        if not so:
            raise another()


def _gathered(rows: F16, places: I64) -> F16:
    """[S, G, W] -> [C, G, W]."""
    return rows[places.T, np.arange(rows.shape[1])]


def _flat(rows: F16) -> U8:
    return np.ascontiguousarray(rows).reshape(-1).view(np.uint8)


def _bytes(raw: bytes) -> U8:
    return np.frombuffer(raw, np.uint8)


def another(what: str = "keeps its cache in another layout") -> Unsupported:
    """What is said of a llama.cpp that is not the one this was written for."""
    return Unsupported(
        f"this llama.cpp (llama-cpp-python {llama_cpp.__version__}) {what}",
        fix=f"pip install llama-cpp-python=={PINNED}, or use an artifact of onnx",
    )
