"""Keys and values of one sequence, and what a call sees of them.

T new rows, S rows of the cache, H query heads, G kv heads, W head width.
"""

from dataclasses import dataclass, field
from typing import Protocol

import mlx.core as mx
import numpy as np

from edge.nn.sparse import hidden
from edge.spec import BlockSparse, DecoderSpec, LayerSpec

ROWS = 256  # the cache grows by this many
Mask = mx.array | str | None
Seen = tuple[
    mx.array, mx.array, Mask
]  # keys and values [1, G, S, W], and what a query sees of them


class Cache:
    """`keys` and `values` of each layer, [1, G, S, W]; the first `length` rows are in use."""

    def __init__(self, spec: DecoderSpec, dtype: mx.Dtype) -> None:
        self._spec = spec
        self._dtype = dtype
        self.length = 0
        self.keys, self.values = self._rows(0), self._rows(0)

    @property
    def rows(self) -> int:
        return self.keys[0].shape[2]

    def reserve(self, rows: int) -> None:
        """Make room for this many rows, and up to a multiple."""
        more = min(-(-rows // ROWS) * ROWS, self._spec.context) - self.rows
        if more > 0:
            for part in (self.keys, self.values):
                for index, empty in enumerate(self._rows(more)):
                    part[index] = mx.concatenate([part[index], empty], axis=2)

    def _rows(self, count: int) -> list[mx.array]:
        return [
            mx.zeros((1, layer.kv_heads, count, layer.head_width), self._dtype)
            for layer in self._spec.layers
        ]


class Rows(Protocol):
    """The new rows of a call: `offset` is the position of the first."""

    @property
    def offset(self) -> int | mx.array: ...

    def append(self, index: int, k: mx.array, v: mx.array, layer: LayerSpec) -> Seen:
        """Put k, v [1, G, T, W] into the cache -> what the layer's queries see."""
        ...


@dataclass(slots=True)
class Exactly:
    """Arrays as long as what is seen: no work on rows that are not in use."""

    cache: Cache
    count: int
    _masks: dict[tuple[int | None, BlockSparse | None, int], Mask] = field(default_factory=dict)

    @property
    def offset(self) -> int:
        return self.cache.length

    def append(self, index: int, k: mx.array, v: mx.array, layer: LayerSpec) -> Seen:
        start, stop = self.offset, self.offset + self.count
        first = 0 if layer.window is None else max(0, start + 1 - layer.window)
        keys, values = self.cache.keys[index], self.cache.values[index]
        keys[:, :, start:stop], values[:, :, start:stop] = k, v
        kind = layer.window, layer.sparse, layer.heads
        if kind not in self._masks:
            self._masks[kind] = _mask(layer, first, start, stop)
        return keys[:, :, first:stop], values[:, :, first:stop], self._masks[kind]


def _mask(layer: LayerSpec, first: int, start: int, stop: int) -> Mask:
    """What queries start..stop see of keys first..stop: [1, 1 or H, T, S], or a word for it."""
    sparse = layer.sparse if layer.sparse and stop > layer.sparse.reach else None
    if sparse is None and (layer.window is None or stop - first <= layer.window):
        return "causal" if stop - start > 1 else None
    rows, columns = np.arange(start, stop), np.arange(first, stop)
    age = rows[:, None] - columns
    seen = ((age >= 0) & (age < (layer.window or stop)))[None]
    if sparse is not None:
        seen = seen & ~hidden(sparse, layer.heads, rows, columns)
    return mx.array(seen)[None]


@dataclass(slots=True)
class Whole:
    """One new row at a position that is an array: every shape is that of the step before, so that a
    compiled step serves until the cache grows.
    """

    keys: list[mx.array]
    values: list[mx.array]
    offset: mx.array  # [1]

    def append(self, index: int, k: mx.array, v: mx.array, layer: LayerSpec) -> Seen:
        self.keys[index] = mx.slice_update(self.keys[index], k, self.offset, (2,))
        self.values[index] = mx.slice_update(self.values[index], v, self.offset, (2,))
        return self.keys[index], self.values[index], self._mask(layer)

    def _mask(self, layer: LayerSpec) -> mx.array:
        """[1, 1 or H, 1, S]."""
        columns = mx.arange(self.keys[0].shape[2])
        age = self.offset - columns
        seen = age >= 0
        if layer.window is not None:
            seen = seen & (age < layer.window)
        if layer.sparse is None:
            return seen[None, None, None]
        sparse, heads = layer.sparse, mx.arange(layer.heads)[:, None]
        block = columns // sparse.block
        near = self.offset // sparse.block - block < sparse.local
        among = (block + sparse.shift(layer.heads) * heads + 1) % sparse.stride == 0  # [H, S]
        return (seen & (near | among))[None, :, None]
