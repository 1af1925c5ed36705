"""What a function is told of where it stands, and which rows of the cache a position sees.

Position and row are two numbers: where a token stands in the sequence, and where its keys and values
lie in the cache. T new positions, S rows of the cache, H query heads, G kv heads, R = H / G.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge.quant.tensor import Float
from edge.spec import BlockSparse, LayerSpec
from edge_converters.coreml.toolkit import mb

Var = Any  # coremltools' Var
HIDDEN = -30000.0  # added to a score: its weight is 0, and two of them are finite in fp16


@dataclass(frozen=True, slots=True)
class Call:
    """Variables of one call."""

    positions: Var  # int32 [T]
    start: Var  # int32 [1]: the first new row
    stop: Var  # int32 [1]: the row after the last new one
    added: Var  # int32 [T]: each new row
    columns: Var  # int32 [S]: each row that keys are read from
    rows: int | None  # S; None: up to `stop`
    last: Var | None = None  # int32 [1]: which of the T positions is wanted; None: all

    def mask(self, layer: LayerSpec, number: Float) -> Var:
        """What is added to scores: [1, 1 or G, R T, S]."""
        row = mb.expand_dims(x=self.added, axes=[1])  # [T, 1]
        hidden = mb.greater(x=self.columns, y=row)  # [T, S]
        if layer.window is not None:
            age = mb.sub(x=row, y=self.columns)
            old = mb.greater_equal(x=age, y=np.int32(layer.window))
            hidden = mb.logical_or(x=hidden, y=old)
        if layer.sparse is not None:
            sparse = self._sparse(layer.sparse, layer.heads)  # [H, T, S]
            hidden = mb.logical_or(x=hidden, y=sparse)
        kind = np.float16 if number == "fp16" else np.float32
        bias = mb.mul(x=mb.cast(x=hidden, dtype=number), y=kind(HIDDEN))
        if layer.sparse is not None:
            return mb.reshape(x=bias, shape=self._folded(layer.kv_heads))
        group = layer.heads // layer.kv_heads
        tiled = bias if group == 1 else mb.tile(x=bias, reps=[group, 1])  # [R T, S]
        return mb.expand_dims(x=tiled, axes=[0, 1])

    def _folded(self, heads: int) -> Var:
        """The shape [1, G, R T, S]."""
        if self.rows is not None:
            return [1, heads, -1, self.rows]
        return mb.concat(values=[np.array([1, heads, -1], np.int32), self.stop], axis=0)

    def _sparse(self, sparse: BlockSparse, heads: int) -> Var:
        """What each head does not see for sparsity's sake, as `edge.nn.sparse` has it: [H, T, S]."""
        size = np.int32(sparse.block)
        column = mb.floor_div(x=self.columns, y=size)  # [S]
        row = mb.expand_dims(x=mb.floor_div(x=self.added, y=size), axes=[1])
        far = mb.greater_equal(x=mb.sub(x=row, y=column), y=np.int32(sparse.local))  # [T, S]
        shifts = 1 + sparse.shift(heads) * np.arange(heads, dtype=np.int32)[:, None]
        rest = mb.mod(x=mb.add(x=column, y=shifts), y=np.int32(sparse.stride))  # [H, S]
        between = mb.expand_dims(x=mb.not_equal(x=rest, y=np.int32(0)), axes=[1])
        return mb.logical_and(x=mb.expand_dims(x=far, axes=[0]), y=between)


def static(fixed: Callable[[int], Var], inputs: dict[str, Var], length: int, rows: int) -> Call:
    """T is a number: the caller pads what is shorter, and overwrites those rows later."""
    steps = np.arange(length, dtype=np.int32) if length < 10 else fixed(length)
    start = inputs["rows"]
    return Call(
        positions=mb.add(x=inputs["position"], y=steps),
        start=start,
        stop=mb.add(x=start, y=np.array([length], np.int32)),
        added=mb.add(x=start, y=steps),
        columns=fixed(rows),
        rows=rows,
        last=inputs.get("last"),
    )


def ranged(fixed: Callable[[int], Var], inputs: dict[str, Var], rows: int) -> Call:
    """T is the length of `inputIds`, and the mask is one longer than the rows that will be in use: so
    swift-transformers calls a model. Only the mask's length counts, what is causal is known here.
    """
    length = _size(inputs["inputIds"], 1)
    stop = mb.sub(x=_size(inputs["causalMask"], 3), y=np.array([1], np.int32))
    start = mb.sub(x=stop, y=length)
    steps, columns = (
        mb.slice_by_index(x=fixed(rows), begin=[0], end=end) for end in (length, stop)
    )
    added = mb.add(x=start, y=steps)
    return Call(added, start, stop, added, columns, None)


def _size(x: Var, axis: int) -> Var:
    """One size of a tensor, int32 [1]."""
    return mb.slice_by_index(x=mb.shape(x=x), begin=[axis], end=[axis + 1])
