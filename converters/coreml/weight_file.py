"""The weight file of a package, planned before any weight is read.

64 bytes of header, then blobs: 64 bytes of metadata, and data, each at a multiple of 64. Functions
name a blob by the offset of its metadata, so that all of them share it. At the end lie metadata of
first rows, over the same data: they are not counted in the header, for who reads blob after blob
expects data behind each. N rows, K columns, J groups.
"""

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from edge.errors import Unsupported
from edge.files.datafile import DataFile
from edge.quant.held import Held, exactly, refuse_unheld
from edge.quant.methods import methods
from edge.quant.recipe import Recipe
from edge.quant.tensor import FLOATS, FP16, FP32, Float, QTensor, Scheme, float_bytes
from edge.typing import F32, AnyArray, Shape
from edge_converters.coreml.pack import Together, parts

ALIGN = 64
_HEADER = struct.Struct("<II56x")  # blobs, version
_META = struct.Struct("<IIQQQ32x")  # mark, type, bytes, offset of the data, bits of padding
_MARK, _VERSION = 0xDEADBEEF, 2
_CODES = {
    "fp16": 1, "fp32": 2, "uint8": 3, "int8": 4, "int4": 8, "uint1": 9, "uint2": 10, "uint4": 11,
    "uint3": 12, "uint6": 13, "int32": 14,
}  # fmt: skip
_BITS = {
    "fp16": 16, "fp32": 32, "uint8": 8, "int8": 8, "int4": 4, "uint1": 1, "uint2": 2, "uint4": 4,
    "uint3": 3, "uint6": 6, "int32": 32,
}  # fmt: skip

_NUMBERS: Mapping[Float, str] = {"fp16": "<f2", "fp32": "<f4"}

HELD: tuple[Held, ...] = (
    exactly(FP32),
    exactly(FP16),
    Held(
        what="integers of 4 or 8 bits with integer zeros",
        bits=(4, 8),
        group=(32, 64, 128),
        zero=("middle", "integer"),
        number=("fp32", "fp16"),
    ),
    Held(
        what="tables of 1, 2, 3, 4, 6 or 8 bits",
        bits=(1, 2, 3, 4, 6, 8),
        group=(1, 8, 16, 32, 64),
        zero=("table",),
        number=("fp32", "fp16"),
    ),
    Held(
        what="levels of 1, 2, 3, 4, 6 or 8 bits",
        bits=(1, 2, 3, 4, 6, 8),
        group=(32, 64, 128),
        zero=("levels",),
        number=("fp32", "fp16"),
    ),
)


@dataclass(frozen=True, slots=True)
class Blob:
    """A tensor of the weight file. Functions know it by its key, in which they name it."""

    key: str
    kind: str
    shape: Shape
    offset: int  # of its metadata
    data: int

    @property
    def nbytes(self) -> int:
        return -(-math.prod(self.shape) * _BITS[self.kind] // 8)

    def at(self, row: int) -> int:
        """Where a row's data lies: rows fill whole bytes."""
        return self.data + row * math.prod(self.shape[1:]) * _BITS[self.kind] // 8

    @property
    def metadata(self) -> bytes:
        padding = -math.prod(self.shape) * _BITS[self.kind] % 8
        return _META.pack(_MARK, _CODES[self.kind], self.nbytes, self.data, padding)


@dataclass(frozen=True, slots=True)
class Matrix:
    """A stored weight: values, or codes with scales or tables, and zeros where groups have their own;
    `levels`: what codes mean in units of a scale, one table for all weights of a method.
    """

    scheme: Scheme
    values: Blob
    scales: Blob | None = None
    zeros: Blob | None = None
    levels: Blob | None = None


class WeightFile:
    """Where every weight of a package lies, and what is written there.

    Asking twice for the same weight in the same scheme gives the same blobs. `number`: the type of
    vectors, which are norms and biases.
    """

    def __init__(self, shapes: Mapping[str, Shape], number: Float) -> None:
        self._shapes = shapes
        self._number = number
        self._matrices: dict[str, dict[Scheme, Matrix]] = {}
        self._vectors: dict[str, Blob] = {}
        self._constants: dict[str, tuple[Blob, Callable[[], AnyArray]]] = {}
        self._together: dict[tuple[str, Scheme], Together] = {}
        self.blobs: dict[str, Blob] = {}
        self._firsts: dict[str, Blob] = {}  # of rows of others; where their metadata lie comes last
        self._end = ALIGN

    @property
    def nbytes(self) -> int:
        return self._end + ALIGN * len(self._firsts)

    def placed(self) -> dict[str, Blob]:
        """Everything that functions name, once all of them are made."""
        starts = range(self._end, self.nbytes, ALIGN)
        firsts = zip(starts, self._firsts.items(), strict=True)
        return self.blobs | {key: replace(blob, offset=at) for at, (key, blob) in firsts}

    def matrix(self, name: str, scheme: Scheme) -> Matrix:
        known = self._matrices.setdefault(name, {})
        if scheme not in known:
            rows, columns = self._shapes[name]
            refuse(name, (rows, columns), scheme)
            known[scheme] = self._claimed(name, (rows, columns), scheme)
            if scheme.zero == "table" and scheme.group is not None:
                self._together[name, scheme] = Together(rows, scheme.group)
        return known[scheme]

    def first(self, matrix: Matrix, rows: int) -> Matrix:
        """The first rows of a matrix, from the same bytes."""
        group = matrix.scheme.group or 1
        if matrix.scheme.zero == "table" and rows % group:
            raise Unsupported(
                f"coreml cannot read {rows} rows of {matrix.values.key}: {group} share a table",
                fix=f"give --draft-vocab {rows // group * group or group}",
            )
        whole = matrix.values.shape[0]
        return replace(
            matrix,
            values=self._first(matrix.values, rows),
            scales=matrix.scales
            and self._first(matrix.scales, rows * matrix.scales.shape[0] // whole),
            zeros=matrix.zeros and self._first(matrix.zeros, rows),
        )

    def vector(self, name: str) -> Blob:
        """A weight of one row."""
        if name not in self._vectors:
            self._vectors[name] = self._claim(name, self._number, self._shapes[name])
        return self._vectors[name]

    def constant(self, key: str, kind: str, shape: Shape, make: Callable[[], AnyArray]) -> Blob:
        """An array that no checkpoint holds, made when it is written."""
        if key not in self._constants:
            self._constants[key] = self._claim(key, kind, shape), make
        return self._constants[key][0]

    def put(self, data: DataFile, recipe: Recipe, name: str, row: int, block: F32) -> int:
        """Store rows of a weight wherever they belong -> how many bytes they became."""
        done = 0
        if name in self._vectors:
            blob = self._vectors[name]
            values = recipe.stored(name, block, FLOATS[self._number], row=row)
            assert not isinstance(values, QTensor)
            done += data.put(blob.at(row), float_bytes(values.reshape(1, -1), self._number))
        for scheme, matrix in self._matrices.get(name, {}).items():
            together = self._together.get((name, scheme))
            for start, rows in [(row, block)] if together is None else together.add(row, block):
                done += _put(data, matrix, start, recipe.stored(name, rows, scheme, row=start))
        return done

    def finish(self, data: DataFile) -> None:
        """The header, the metadata, and whatever is no weight."""
        data.put(0, _HEADER.pack(len(self.blobs), _VERSION))
        for blob in self.placed().values():
            data.put(blob.offset, blob.metadata)
        for blob, make in self._constants.values():
            array = make()
            assert array.shape == blob.shape
            data.put(blob.at(0), array)

    def _claimed(self, name: str, shape: tuple[int, int], scheme: Scheme) -> Matrix:
        rows, columns = shape
        if scheme.group is None:
            return Matrix(scheme, self._claim(f"{name} {scheme}", scheme.number, shape))
        key = f"{name} {scheme}"
        signed = scheme.zero == "middle"
        kind = f"{'' if signed else 'u'}int{scheme.bits}"
        values = self._claim(f"{key} codes", kind, shape)
        if scheme.zero == "table":
            tables = (rows // scheme.group, 1, 1 << scheme.bits, 1)
            return Matrix(scheme, values, self._claim(f"{key} tables", scheme.number, tables))
        groups = (rows, columns // scheme.group)
        scales = self._claim(f"{key} scales", scheme.number, groups)
        if scheme.zero == "levels":
            return Matrix(scheme, values, scales, levels=self._levels(scheme))
        zeros = None if signed else self._claim(f"{key} zeros", kind, groups)
        return Matrix(scheme, values, scales, zeros)

    def _levels(self, scheme: Scheme) -> Blob:
        shape = (1, 1, 1 << scheme.bits, 1)

        def made() -> AnyArray:
            levels = np.array([methods()[scheme.method].levels], np.float32)
            return float_bytes(levels, scheme.number).view(_NUMBERS[scheme.number]).reshape(shape)

        return self.constant(f"{scheme.method} levels {scheme.number}", scheme.number, shape, made)

    def _claim(self, key: str, kind: str, shape: Shape) -> Blob:
        blob = Blob(key, kind, shape, self._end, self._end + ALIGN)
        self._end += ALIGN + -(-blob.nbytes // ALIGN) * ALIGN
        self.blobs[key] = blob
        return blob

    def _first(self, blob: Blob, rows: int) -> Blob:
        key = f"{blob.key} first {rows}"
        if rows == blob.shape[0]:
            return blob
        return self._firsts.setdefault(
            key, Blob(key, blob.kind, (rows, *blob.shape[1:]), 0, blob.data)
        )


def _put(data: DataFile, matrix: Matrix, row: int, stored: F32 | QTensor) -> int:
    if not isinstance(stored, QTensor):
        return data.put(matrix.values.at(row), float_bytes(stored, matrix.scheme.number))
    assert matrix.scales is not None
    codes, scales, zeros = parts(stored)
    table = matrix.scheme.zero == "table"
    at = row // (matrix.scheme.group or 1) if table else row
    done = data.put(matrix.values.at(row), codes) + data.put(matrix.scales.at(at), scales)
    return done if matrix.zeros is None else done + data.put(matrix.zeros.at(row), zeros)


def refuse(name: str, shape: tuple[int, int], scheme: Scheme) -> None:
    """Say why Core ML cannot hold a weight so, and what it can."""
    refuse_unheld("coreml", name, scheme, HELD)
    found = _obstacle(shape, scheme)
    if found is not None:
        problem, fix = found
        raise Unsupported(f"coreml cannot hold {name} as {scheme}: {problem}", fix=fix)


def _obstacle(shape: tuple[int, int], scheme: Scheme) -> tuple[str, str] | None:
    rows, columns = shape
    if scheme.group is None:
        return None
    if scheme.zero == "table":
        return _table_obstacle(rows, columns, scheme)
    if columns % scheme.group:
        return (
            f"its rows of {columns} do not divide into groups",
            f"give fp16, or lut{scheme.bits} if it fits, to this weight with --override, --embed or --head",
        )
    if scheme.zero == "integer" and columns // scheme.group * scheme.bits % 8:
        return (
            f"the zeros of its rows of {columns} do not fill bytes",
            f"give int{scheme.bits} without -asym",
        )
    return None


def _table_obstacle(rows: int, columns: int, scheme: Scheme) -> tuple[str, str] | None:
    assert scheme.group is not None
    if columns * scheme.bits % 8:
        return f"its rows of {columns} do not fill bytes", "give lut4, lut8 or fp16"
    if rows % scheme.group:
        return (
            f"its {rows} rows do not divide by {scheme.group}",
            f"give lut{scheme.bits}-g1-fp16 or fp16 to this weight with --override, --embed or --head",
        )
    return None
