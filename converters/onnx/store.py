"""One data file that several graphs share: planned from shapes alone, then filled a block of rows
at a time.

Graphs are emitted before any weight is read, because they need only where a weight will lie. The
same plan over an existing file compares instead of writing: that is how an artifact is proved to
hold its source. N rows, K columns.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np

from edge.checkpoint import Checkpoint
from edge.closing import Closing
from edge.names import Shape
from edge.quant.recipe import Recipe
from edge.quant.tensor import FP16, QTensor, Scheme
from edge.typing import F32, U8, AnyArray

ALIGN = 4096  # a page: each region can be mapped by itself
DATA = "model.onnx.data"
Sink = Callable[[int, bytes | memoryview], None]  # offset in the file, content
_AHEAD = 4  # blocks in flight: bounds memory


@dataclass(frozen=True, slots=True)
class Region:
    """Where something lies in the data file, in bytes."""

    offset: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Matrix:
    """Stacked rows of one or more weights: values or codes, and scales when they are codes."""

    names: tuple[str, ...]
    scheme: Scheme
    rows: int
    columns: int
    values: Region
    scales: Region | None


class Store:
    """The plan of a data file. Asking twice for the same weights in the same scheme gives the same
    bytes.
    """

    def __init__(self, shapes: dict[str, Shape]) -> None:
        self._shapes = shapes
        self._matrices: dict[tuple[tuple[str, ...], Scheme], Matrix] = {}
        self._arrays: dict[str, tuple[Region, AnyArray | None]] = {}
        self.nbytes = 0

    def matrix(self, names: tuple[str, ...], scheme: Scheme) -> Matrix:
        """Weights of one input width, their rows on top of each other."""
        if (names, scheme) not in self._matrices:
            rows = sum(self._shapes[name][0] for name in names)
            columns = self._shapes[names[0]][1]
            values, scales = _sizes(rows, columns, scheme)
            self._matrices[names, scheme] = Matrix(
                names,
                scheme,
                rows,
                columns,
                self._claim(values),
                self._claim(scales) if scales else None,
            )
        return self._matrices[names, scheme]

    def rows(self, name: str) -> int:
        return self._shapes[name][0]

    def vector(self, name: str) -> Region:
        """A weight of one row, in float32."""
        if name not in self._arrays:
            self._arrays[name] = self._claim(4 * int(np.prod(self._shapes[name]))), None
        return self._arrays[name][0]

    def constant(self, key: str, array: AnyArray) -> Region:
        """An array that no checkpoint holds."""
        if key not in self._arrays:
            self._arrays[key] = self._claim(array.nbytes), array
        return self._arrays[key][0]

    def fill(
        self, sink: Sink, checkpoint: Checkpoint, recipe: Recipe, progress: Callable[[int], None]
    ) -> None:
        """Give every byte of the plan to the sink; `progress` hears of bytes as they are done."""
        for key, (region, array) in self._arrays.items():
            content = np.ascontiguousarray(checkpoint[key] if array is None else array)
            sink(region.offset, content.tobytes())
            progress(region.nbytes)
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            waiting: list[Future[int]] = []
            for matrix in self._matrices.values():
                for name, row, block in _blocks(matrix, checkpoint):
                    waiting.append(pool.submit(_store, sink, matrix, recipe, (name, row, block)))
                    while len(waiting) > _AHEAD:
                        progress(waiting.pop(0).result())
            for future in waiting:
                progress(future.result())

    def _claim(self, nbytes: int) -> Region:
        region = Region(self.nbytes, nbytes)
        self.nbytes += -(-nbytes // ALIGN) * ALIGN
        return region


def _sizes(rows: int, columns: int, scheme: Scheme) -> tuple[int, int]:
    """Bytes of values or codes, and of scales."""
    total = scheme.nbytes(rows, columns)
    scales = 0 if scheme.is_float else rows * scheme.groups(columns) * 4
    return total - scales, scales


def _blocks(matrix: Matrix, checkpoint: Checkpoint) -> Iterator[tuple[str, int, F32]]:
    """Every block of a matrix, with its weight's name and its first row in the stack."""
    row = 0
    for name in matrix.names:
        for block in checkpoint.blocks(name):
            yield name, row, block
            row += len(block)


def _store(sink: Sink, matrix: Matrix, recipe: Recipe, part: tuple[str, int, F32]) -> int:
    name, row, block = part
    stored = recipe.stored(name, block, matrix.scheme)
    if isinstance(stored, QTensor):
        assert matrix.scales is not None
        values = pack(stored.codes, stored.scheme.bits)
        scales = np.ascontiguousarray(stored.scales)
        sink(matrix.scales.offset + row * scales.shape[1] * 4, scales.data.cast("B"))
    else:
        values = stored.astype(np.float16 if matrix.scheme == FP16 else np.float32).view(np.uint8)
        scales = np.empty(0, np.float32)
    values = np.ascontiguousarray(values)
    sink(matrix.values.offset + row * values.shape[1], values.data.cast("B"))
    return values.nbytes + scales.nbytes


def pack(codes: U8, bits: int) -> U8:
    """Codes [N, K] -> bytes [N, K bits / 8]; of two 4-bit codes the even column is in the low half."""
    if bits == 8:
        return codes
    assert bits == 4
    pairs = codes.view("<u2")  # low byte: even column, high byte: odd column
    return (pairs | pairs >> 4).astype(np.uint8)


class DataFile(Closing):
    """A data file being written, or compared with what it should hold."""

    def __init__(self, path: Path, nbytes: int, *, compare: bool = False) -> None:
        self.differing = 0
        self._lock = Lock()
        self._compare = compare
        flags = os.O_RDONLY if compare else os.O_RDWR | os.O_CREAT | os.O_EXCL
        self._file = os.open(path, flags, 0o644)
        if not compare:
            os.truncate(self._file, nbytes)

    def write(self, offset: int, content: bytes | memoryview) -> None:
        view, done = memoryview(content), 0
        while done < len(view):
            done += os.pwrite(self._file, view[done:], offset + done)

    def compare(self, offset: int, content: bytes | memoryview) -> None:
        """Count bytes that differ from what they should be."""
        want = np.frombuffer(content, np.uint8)
        got = np.frombuffer(os.pread(self._file, len(want), offset), np.uint8)
        count = len(want) - len(got) + int(np.count_nonzero(got != want[: len(got)]))
        with self._lock:  # blocks are compared on several threads: no count may be lost
            self.differing += count

    def close(self) -> None:
        """What was written is on the disk before its folder is renamed."""
        if not self._compare:
            os.fsync(self._file)
        os.close(self._file)
