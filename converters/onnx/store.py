"""The data file that several graphs share: planned from shapes alone, then filled a block of rows at
a time.

Graphs are emitted before any weight is read, because they need only where a weight will lie. N rows,
K columns, J groups of a row.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from threading import Lock

import numpy as np

from edge.files.datafile import DataFile
from edge.quant.recipe import Recipe
from edge.quant.stream import packed
from edge.quant.tensor import ROW, QTensor, Scheme, float_bytes
from edge.typing import F32, U8, Shape

ALIGN = 4096  # a page: each region can be mapped by itself
DATA = "model.onnx.data"
Make = Callable[[range], F32]  # these rows of an array
_AT_ONCE = 8192  # rows of a constant that are made at a time


@dataclass(frozen=True, slots=True)
class Region:
    """Where something lies in the data file, in bytes."""

    offset: int
    nbytes: int

    def at(self, row: int, rows: int) -> int:
        """The offset of one of its equal rows."""
        return self.offset + row * (self.nbytes // rows)

    def first(self, count: int, rows: int) -> "Region":
        """Where the first `count` of its equal rows lie."""
        return Region(self.offset, count * (self.nbytes // rows))


@dataclass(frozen=True, slots=True)
class Matrix:
    """Stacked rows of one or more weights: values or codes, and for codes scales and what means zero."""

    scheme: Scheme
    rows: int
    columns: int
    names: tuple[str, ...]
    values: Region
    scales: Region | None = None
    zeros: Region | None = None
    cut: bool = field(default=False, kw_only=True)  # the first rows alone

    @property
    def name(self) -> str:
        """The first rows are another weight than all of them: both may be in one graph."""
        return "+".join(self.names) + (f".first.{self.rows}" if self.cut else "")

    def first(self, count: int) -> "Matrix":
        """Its first rows, which lie where they lay."""
        parts = (self.values, self.scales, self.zeros)
        values, scales, zeros = (part and part.first(count, self.rows) for part in parts)
        assert values is not None
        return replace(self, rows=count, values=values, scales=scales, zeros=zeros, cut=True)


class Store:
    """The plan of a data file. Asking twice for the same weights in the same scheme gives the same
    bytes.
    """

    def __init__(self, shapes: Mapping[str, Shape]) -> None:
        self._shapes = shapes
        self._matrices: dict[tuple[tuple[str, ...], Scheme], Matrix] = {}
        self._values: dict[str, Region] = {}
        self._constants: dict[str, tuple[Region, int, Make]] = {}
        self._stacks: dict[str, list[tuple[Matrix, int]]] = {}  # where a weight's rows begin
        self._turning: dict[str, U8] = {}  # codes [K, N] of which not all rows have come
        self._missing: dict[str, int] = {}
        self._lock = Lock()
        self.nbytes = 0

    def matrix(self, names: tuple[str, ...], scheme: Scheme) -> Matrix:
        """Weights of one input width, their rows on top of each other."""
        if (names, scheme) not in self._matrices:
            heights = [self._shapes[name][0] for name in names]
            rows, columns = sum(heights), self._shapes[names[0]][1]
            regions = [self._claim(n) if n else None for n in _sizes(rows, columns, scheme)]
            assert regions[0] is not None
            made = Matrix(scheme, rows, columns, names, regions[0], *regions[1:])
            self._matrices[names, scheme] = made
            for i, name in enumerate(names):
                self._stacks.setdefault(name, []).append((made, sum(heights[:i])))
        return self._matrices[names, scheme]

    def rows(self, name: str) -> int:
        return self._shapes[name][0]

    def shape(self, name: str) -> Shape:
        return self._shapes[name]

    def value(self, name: str) -> Region:
        """A weight in float32: a vector, or a table or kernel that is not multiplied with as a matrix."""
        if name not in self._values:
            self._values[name] = self._claim(4 * int(np.prod(self._shapes[name])))
        return self._values[name]

    def constant(self, key: str, shape: Shape, make: Make) -> Region:
        """An array of float32 that no checkpoint holds; it is made when it is written."""
        if key not in self._constants:
            self._constants[key] = self._claim(4 * math.prod(shape)), shape[0], make
        return self._constants[key][0]

    def put(self, data: DataFile, recipe: Recipe, name: str, row: int, block: F32) -> int:
        """Store rows of a weight wherever they belong -> how many bytes they became."""
        done = 0
        if name in self._values:
            at = self._values[name].at(row, self.rows(name))
            done += data.put(at, block.astype(np.float32))
        for matrix, first in self._stacks.get(name, ()):
            stored = recipe.stored(name, block, matrix.scheme, row=row)
            put = self._put_turned if matrix.scheme.group == ROW else _put
            done += put(data, matrix, first + row, stored)
        return done

    def _put_turned(self, data: DataFile, matrix: Matrix, row: int, stored: F32 | QTensor) -> int:
        """Codes [K, N] as signed bytes, written once all rows are there: a row of theirs holds one of each
        of ours.
        """
        assert isinstance(stored, QTensor)
        assert matrix.scales is not None
        name, count = matrix.name, len(stored.codes)
        with self._lock:
            if name not in self._turning:
                self._turning[name] = np.empty((matrix.columns, matrix.rows), np.uint8)
                self._missing[name] = matrix.rows
            whole = self._turning[name]
        whole[:, row : row + count] = stored.codes.T ^ np.uint8(128)  # code - 128
        done = data.put(matrix.scales.at(row, matrix.rows), stored.scales)
        with self._lock:
            self._missing[name] -= count
            if self._missing[name]:
                return done
            del self._turning[name], self._missing[name]
        return done + data.put(matrix.values.at(0, 1), whole)

    def put_constants(self, data: DataFile) -> None:
        for region, rows, make in self._constants.values():
            for start in range(0, rows, _AT_ONCE):
                block = make(range(start, min(start + _AT_ONCE, rows)))
                data.put(region.at(start, rows), block)

    def _claim(self, nbytes: int) -> Region:
        region = Region(self.nbytes, nbytes)
        self.nbytes += -(-nbytes // ALIGN) * ALIGN
        return region


def _sizes(rows: int, columns: int, scheme: Scheme) -> tuple[int, int, int]:
    """Bytes of values or codes, of scales in float32, and of zeros: packed codes, or float32."""
    if scheme.group is None:
        return scheme.nbytes(rows, columns), 0, 0
    groups = scheme.groups(columns)
    zeros = {"middle": 0, "integer": -(-groups * scheme.bits // 8), "minimum": 4 * groups}
    codes = groups * scheme.width(columns) * scheme.bits // 8
    return rows * codes, rows * groups * 4, rows * zeros[scheme.zero]


def _put(data: DataFile, matrix: Matrix, row: int, stored: F32 | QTensor) -> int:
    if not isinstance(stored, QTensor):
        values = float_bytes(stored, matrix.scheme.number)
        return data.put(matrix.values.at(row, matrix.rows), values)
    assert matrix.scales is not None
    scales, zeros = _scales_and_zeros(stored)
    done = data.put(matrix.values.at(row, matrix.rows), packed(stored.codes, matrix.scheme.bits))
    done += data.put(matrix.scales.at(row, matrix.rows), scales)
    if matrix.zeros is not None and zeros is not None:
        done += data.put(matrix.zeros.at(row, matrix.rows), zeros)
    return done


def _scales_and_zeros(stored: QTensor) -> tuple[F32, F32 | U8 | None]:
    """Scales [N, J], and zeros as MatMulNBits wants them: packed codes, or floats among the codes."""
    scales, zeros = stored.scales, stored.zeros
    if zeros is None:
        return scales, None
    if stored.scheme.zero == "integer":
        return scales, packed(zeros.astype(np.uint8), stored.scheme.bits)
    # code * scale + minimum = (code - zero) * scale; a group of one value has no scale to divide by.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        places = -zeros.astype(np.float32) / scales
    one_value = ~np.isfinite(places)
    scales = np.where(one_value, zeros.astype(np.float32), scales)
    return scales, np.where(one_value, np.float32(-1), places).astype(np.float32)
