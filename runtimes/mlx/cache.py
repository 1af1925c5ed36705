"""Keys and values of one sequence, and what a call sees of them.

T new rows, S rows of the cache, C kept ones, H query heads, G kv heads, W head width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import mlx.core as mx
import numpy as np

from edge.decode.rows import CountedRows
from edge.nn.sparse import hidden
from edge.spec import BlockSparse, DecoderSpec, LayerSpec
from edge.typing import I64

ROWS = 256  # the cache grows by this many
Mask = mx.array | str | None
Seen = tuple[
    mx.array, mx.array, Mask
]  # keys and values [1, G, S, W], and what a query sees of them


class Cache(CountedRows):
    """`keys` and `values` of each layer, [1, G, S, W], of which `rows` are in use."""

    def __init__(self, spec: DecoderSpec, dtype: mx.Dtype) -> None:
        super().__init__(len(spec.layers))
        self._spec = spec
        self._dtype = dtype
        self.keys, self.values = (
            [self._empty(layer, 0) for layer in spec.layers] for _ in range(2)
        )

    def reserve(self, length: int) -> None:
        """Make room for this many tokens, and for rows up to a multiple."""
        for index, gone in enumerate(self.forgotten):
            rows = min(-(-(length - gone) // ROWS) * ROWS, self._spec.context)
            more = rows - self.keys[index].shape[2]
            if more > 0:
                empty = self._empty(self._spec.layers[index], more)
                for part in (self.keys, self.values):
                    part[index] = mx.concatenate([part[index], empty], axis=2)

    def kept(self, rows: Sequence[I64]) -> "Cache":
        """Another of the same sequence, which holds only these rows of each layer: [G, C]."""
        other = self._counting(rows)
        at = [mx.array(places.astype(np.uint32))[None, :, :, None] for places in rows]
        other.keys, other.values = (
            [
                mx.take_along_axis(held, places, axis=2)
                for held, places in zip(part, at, strict=True)
            ]
            for part in (self.keys, self.values)
        )
        mx.eval(other.keys, other.values)  # or they would hold on to all rows
        return other

    def _empty(self, layer: LayerSpec, rows: int) -> mx.array:
        return mx.zeros((1, layer.kv_heads, rows, layer.head_width), self._dtype)


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
        start = self.offset - self.cache.forgotten[index]
        stop = start + self.count
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
class Alone:
    """Whole sequences of `count` rows, of which nothing is kept."""

    count: int
    offset: int = 0

    def append(self, index: int, k: mx.array, v: mx.array, layer: LayerSpec) -> Seen:
        return k, v, _mask(layer, 0, 0, self.count)


@dataclass(slots=True)
class Whole:
    """One new row at a position that is an array: every shape is that of the step before, so that a
    compiled step serves until the cache grows.

    `starts`: the row that each layer appends; one for all layers that have forgotten alike.
    """

    keys: list[mx.array]
    values: list[mx.array]
    offset: mx.array  # [1]
    starts: list[mx.array]  # [1] each

    def append(self, index: int, k: mx.array, v: mx.array, layer: LayerSpec) -> Seen:
        start = self.starts[0 if len(self.starts) == 1 else index]
        self.keys[index] = mx.slice_update(self.keys[index], k, start, (2,))
        self.values[index] = mx.slice_update(self.values[index], v, start, (2,))
        rows = self.keys[index].shape[2]
        return self.keys[index], self.values[index], self._mask(layer, start, rows)

    def _mask(self, layer: LayerSpec, start: mx.array, rows: int) -> mx.array:
        """[1, 1 or H, 1, S]."""
        columns = mx.arange(rows)
        age = start - columns
        seen = age >= 0
        if layer.window is not None:
            seen = seen & (age < layer.window)
        if layer.sparse is None:
            return seen[None, None, None]
        sparse, heads = layer.sparse, mx.arange(layer.heads)[:, None]
        block = columns // sparse.block
        near = start // sparse.block - block < sparse.local
        among = (block + sparse.shift(layer.heads) * heads + 1) % sparse.stride == 0  # [H, S]
        return (seen & (near | among))[None, :, None]
