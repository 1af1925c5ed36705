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
_MAGIC, _STREAMS, _PLAIN, _HALF = 0xAF143CD8, 1, 0, 1  # values by row, numbers in fp16
_HEAD = struct.Struct("<IiII")  # magic, sequence, streams, cells
_CELL = np.dtype([("position", "<i4"), ("sequences", "<u4"), ("sequence", "<i4")])
_DATA = struct.Struct("<II")  # whether values are transposed, layers
_ROWS = struct.Struct("<iQ")  # type, bytes of a row


@dataclass(frozen=True, slots=True)
class State:
    """Cells in the order of their positions [S], and for each layer their keys and values: [S, G, W]."""

    positions: NDArray[np.int32]
    keys: Sequence[F16]
    values: Sequence[F16]

    @classmethod
    def parse(cls, raw: U8, spec: DecoderSpec) -> "State":
        """Views of the bytes, where cells lie in order; refuses what is no state of this spec."""
        reader = _Reader(raw)
        magic, _, streams, count = reader.numbers(_HEAD)
        reader.expect((magic, streams) == (_MAGIC, _STREAMS) and count > 0)
        cells = reader.take(count * _CELL.itemsize).view(_CELL)
        reader.expect(bool((cells["sequences"] == 1).all() and (cells["sequence"] == 0).all()))
        reader.expect(reader.numbers(_DATA) == (_PLAIN, len(spec.layers)))
        shapes = [(count, layer.kv_heads, layer.head_width) for layer in spec.layers]
        keys, values = ([reader.rows(shape) for shape in shapes] for _ in range(2))
        reader.expect(reader.at == len(raw))
        positions = cells["position"].copy()
        if (np.diff(positions) > 0).all():
            return cls(positions, keys, values)
        order = np.argsort(positions)
        return cls(positions[order], [k[order] for k in keys], [v[order] for v in values])

    def kept(self, rows: Sequence[I64]) -> "State":
        """In each layer only these cells [G, C], as the last C positions."""
        count = rows[0].shape[1]
        return State(
            self.positions[len(self.positions) - count :],
            [_gathered(k, places) for k, places in zip(self.keys, rows, strict=True)],
            [_gathered(v, places) for v, places in zip(self.values, rows, strict=True)],
        )

    def first(self, layers: int) -> "State":
        """Of a model that ends after so many layers."""
        return State(self.positions, self.keys[:layers], self.values[:layers])

    def pack(self) -> U8:
        count = len(self.positions)
        cells = np.zeros(count, _CELL)
        cells["position"], cells["sequences"] = self.positions, 1
        head = _HEAD.pack(_MAGIC, 0, _STREAMS, count)
        parts = [_bytes(head), cells.view(np.uint8), _bytes(_DATA.pack(_PLAIN, len(self.keys)))]
        for rows in (*self.keys, *self.values):
            parts += [_bytes(_ROWS.pack(_HALF, rows[0].nbytes)), _flat(rows)]
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
