"""Ops that emit MIL, for iOS 18 and macOS 15: attention in one operation, and a cache that is a state.

The batch is 1. T new positions, S rows of the cache, H query heads, G kv heads of all layers of the
package, R = H / G of one layer, W head width, P positions of the rotary tables.
"""

import math
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from edge.nn.rope import tables
from edge.quant.recipe import Recipe
from edge.quant.tensor import Float
from edge.spec import LayerSpec, Norm, Rope
from edge.typing import AnyArray
from edge_converters.coreml.calls import Call
from edge_converters.coreml.toolkit import mb, types
from edge_converters.coreml.weight_file import Blob, Matrix, WeightFile

Var = Any  # coremltools' Var
KEYS, VALUES = "keyCache", "valueCache"  # as swift-transformers names them
_STAND_INS = {  # what a weight's place is held by while a program is built
    "fp16": np.dtype(np.float16),
    "fp32": np.dtype(np.float32),
    "int32": np.dtype(np.int32),
    "int8": np.dtype(np.int8),
    "uint8": np.dtype(np.uint8),
    "int4": types.np_int4_dtype,
    "uint1": types.np_uint1_dtype,
    "uint2": types.np_uint2_dtype,
    "uint3": types.np_uint3_dtype,
    "uint4": types.np_uint4_dtype,
    "uint6": types.np_uint6_dtype,
}


@dataclass(frozen=True, slots=True)
class Rotation:
    """cos and sin of the new positions, each twice, the first sines negative: [T, rotated]."""

    cos: Var
    sin: Var
    width: int  # rotated dimensions of a head


@dataclass(slots=True)
class MilOps:
    """Emits into the function that is being built. Weights lie where `weights` says, and are stand-ins."""

    weights: WeightFile
    recipe: Recipe
    number: Float  # of activations
    call: Call | None  # None: without layers
    states: dict[str, Var]  # each [1, G, S, W]
    heads: dict[int, int]  # layer -> where its kv heads begin in the states
    first_rows: dict[str, int] = field(default_factory=dict)  # of weights that are not read whole
    queries: dict[int, Var] = field(default_factory=dict)  # of each layer, rotated: [1, H, T, W]
    _now: dict[str, Var] = field(default_factory=dict)  # a state as it was last written
    _made: dict[str, Var] = field(default_factory=dict)

    def embed(self, name: str, tokens: Var) -> Var:
        matrix = self.weights.matrix(name, self.recipe.scheme(name, by_row=True))
        rows = mb.gather(x=self._weight(matrix), indices=tokens, axis=0)  # [1, T, D]
        return self._cast(rows, self.number)

    def add_norm(self, x: Var, d: Var | None, name: str, norm: Norm) -> tuple[Var, Var]:
        x = x if d is None else mb.add(x=x, y=d)
        weight = self._blob(self.weights.vector(name))
        if norm.kind == "layer":
            bias = self._blob(self.weights.vector(f"{name}.bias"))
            eps = self._number(norm.eps)
            return x, mb.layer_norm(x=x, axes=[-1], gamma=weight, beta=bias, epsilon=eps)
        return x, self._rms_norm(x, weight, norm.eps)

    def add(self, x: Var, d: Var) -> Var:
        return mb.add(x=x, y=d)

    def linear(self, x: Var, *names: str, biased: Collection[str] = ()) -> tuple[Var, ...]:
        return tuple(self._product(x, name, bias=name in biased) for name in names)

    def rope(self, rope: Rope, context: int) -> Rotation:
        found = []
        for i, name in enumerate(("cos", "sin")):
            make = partial(_table, rope, context, i)
            key, shape = f"rope.{name}.{context}", (context, rope.width // 2)
            blob = self.weights.constant(key, "fp32", shape, make)
            rows = mb.gather(x=self._blob(blob), indices=self._here.positions, axis=0)
            found.append(self._cast(rows, self.number))  # [T, rotated / 2]
        cos, sin = found
        negative = mb.mul(x=sin, y=self._number(-1))
        return Rotation(
            mb.concat(values=[cos, cos], axis=-1),
            mb.concat(values=[negative, sin], axis=-1),
            rope.width,
        )

    def attend(
        self, q: Var, k: Var, v: Var, *, layer: LayerSpec, index: int, rope: Rotation
    ) -> Var:
        at = f"layers.{index}.attn."
        q = self._heads(q, layer.heads, layer)  # [1, H, T, W]
        k = self._heads(k, layer.kv_heads, layer)
        v = self._heads(v, layer.kv_heads, layer)
        if layer.qk_norm is not None:
            q, k = (
                self._rms_norm(x, self._blob(self.weights.vector(at + name)), layer.qk_norm)
                for x, name in ((q, "q_norm"), (k, "k_norm"))
            )
        q, k = self._rotate(q, rope, layer), self._rotate(k, rope, layer)
        self.queries[index] = q
        keys, values = self._cached(KEYS, k, layer, index), self._cached(VALUES, v, layer, index)
        # The operation divides scores by the root of the width.
        by = layer.scale * math.sqrt(layer.head_width)
        q = q if math.isclose(by, 1) else mb.mul(x=q, y=self._number(by))
        # Queries of one kv head become rows of one head: no key is copied.
        q = mb.reshape(x=q, shape=[1, layer.kv_heads, -1, layer.head_width])  # [1, G, R T, W]
        out = mb.scaled_dot_product_attention(
            query=q, key=keys, value=values, attn_mask=self._mask(layer)
        )
        out = mb.reshape(x=out, shape=[1, layer.heads, -1, layer.head_width])
        out = mb.transpose(x=out, perm=[0, 2, 1, 3])
        return mb.reshape(x=out, shape=[1, -1, layer.heads * layer.head_width])  # [1, T, H W]

    def gate(self, g: Var, u: Var, layer: LayerSpec) -> Var:
        if layer.gate == "silu":
            return mb.mul(x=mb.silu(x=g), y=u)
        if layer.gate_limit is not None:
            most = layer.gate_limit
            g = mb.minimum(x=g, y=self._number(most))
            u = mb.clip(x=u, alpha=self._number(-most), beta=self._number(most))
        fast = mb.gelu(x=g, mode="SIGMOID_APPROXIMATION")  # g sigmoid(1.702 g)
        return mb.mul(x=fast, y=mb.add(x=u, y=self._number(1)))

    def scale(self, x: Var, by: float) -> Var:
        return mb.mul(x=x, y=self._number(by))

    def forbid(self, logits: Var, ids: tuple[int, ...]) -> Var:
        vocab = logits.shape[-1]

        def hidden() -> AnyArray:
            row = np.zeros(vocab, _STAND_INS[self.number])
            row[list(ids)] = -np.inf
            return row

        blob = self.weights.constant(
            f"forbidden.{vocab}.{self.number}", self.number, (vocab,), hidden
        )
        return mb.add(x=self._cast(logits, self.number), y=self._blob(blob))

    def wanted(self, x: Var) -> Var:
        last = self._here.last
        return x if last is None else mb.gather(x=x, indices=last, axis=1)

    @property
    def _here(self) -> Call:
        assert self.call is not None, "a layer in a function that has none"
        return self.call

    def _product(self, x: Var, name: str, *, bias: bool) -> Var:
        """In the type of the weight: one of float32 is not rounded for its product."""
        matrix = self.weights.matrix(name, self.recipe.scheme(name))
        if name in self.first_rows:
            matrix = self.weights.first(matrix, self.first_rows[name])
        number, rows = matrix.scheme.number, matrix.values.shape[0]
        if bias:
            added = self._cast(self._blob(self.weights.vector(f"{name}.bias")), number)
        else:
            kind = _STAND_INS[number]
            added = self._blob(
                self.weights.constant(
                    f"zeros.{rows}.{number}", number, (rows,), lambda: np.zeros(rows, kind)
                )
            )
        out = mb.linear(x=self._cast(x, number), weight=self._weight(matrix), bias=added)
        return self._cast(out, self.number)

    def _rms_norm(self, x: Var, weight: Var, eps: float) -> Var:
        """x beside -x has the mean 0, and as variance the mean square of x: a layer norm, which keeps
        squares out of fp16.
        """
        size = x.shape[-1]
        both = mb.concat(values=[x, mb.mul(x=x, y=self._number(-1))], axis=-1)
        normed = mb.layer_norm(x=both, axes=[-1], epsilon=self._number(eps))
        return mb.mul(x=_columns(normed, 0, size), y=weight)

    def _heads(self, x: Var, heads: int, layer: LayerSpec) -> Var:
        """[1, T, heads W] -> [1, heads, T, W]."""
        split = mb.reshape(x=x, shape=[1, -1, heads, layer.head_width])
        return mb.transpose(x=split, perm=[0, 2, 1, 3])

    def _rotate(self, x: Var, rope: Rotation, layer: LayerSpec) -> Var:
        """Turn the first rotated dimensions: x cos + (its halves exchanged) sin, [1, heads, T, W]."""
        half, width = rope.width // 2, rope.width
        turned = x if width == layer.head_width else _columns(x, 0, width)
        other = mb.concat(values=[_columns(x, half, width), _columns(x, 0, half)], axis=-1)
        out = mb.add(x=mb.mul(x=turned, y=rope.cos), y=mb.mul(x=other, y=rope.sin))
        if width == layer.head_width:
            return out
        return mb.concat(values=[out, _columns(x, width, layer.head_width)], axis=-1)

    def _cached(self, name: str, new: Var, layer: LayerSpec, index: int) -> Var:
        """Write new rows of one layer; give all of its rows: [1, heads, S, W]."""
        state, first = self.states[name], self.heads[index]
        if name not in self._now:
            self._now[name] = mb.read_state(input=state)
        last, width = first + layer.kv_heads, layer.head_width
        held = mb.slice_update(
            x=self._now[name],
            update=self._cast(new, "fp16"),
            begin=_index(0, first, self._here.start, 0),
            end=_index(1, last, self._here.stop, width),
        )
        self._now[name] = mb.coreml_update_state(state=state, value=held)
        rows = self._here.rows if self._here.rows is not None else self._here.stop
        own = mb.slice_by_index(
            x=self._now[name],
            begin=[0, first, 0, 0],
            end=[1, last, rows, width] if isinstance(rows, int) else _index(1, last, rows, width),
        )
        return self._cast(own, self.number)

    def _mask(self, layer: LayerSpec) -> Var:
        key = f"mask.{layer.window}.{layer.sparse}.{layer.heads}.{layer.kv_heads}"
        return self._once(key, lambda: self._here.mask(layer, self.number))

    def _weight(self, matrix: Matrix) -> Var:
        """Values as they are, or what expands codes when Core ML loads the model, or as it goes."""
        if matrix.scales is None:
            return self._blob(matrix.values)
        return self._once(f"{matrix.values.key} expanded", lambda: self._expanded(matrix))

    def _expanded(self, matrix: Matrix) -> Var:
        assert matrix.scales is not None
        values, scales = self._blob(matrix.values), self._blob(matrix.scales)
        name = _plain(f"{matrix.values.key} expanded")
        if matrix.scheme.zero == "table":
            return mb.constexpr_lut_to_dense(indices=values, lut=scales, name=name)
        if matrix.levels is not None:
            values = mb.constexpr_lut_to_dense(
                indices=values,
                lut=self._blob(matrix.levels),
                name=_plain(f"{matrix.values.key} in units"),
            )
        zeros = None if matrix.zeros is None else self._blob(matrix.zeros)
        return mb.constexpr_blockwise_shift_scale(
            data=values, scale=scales, offset=zeros, name=name
        )

    def _blob(self, blob: Blob) -> Var:
        return self._once(blob.key, lambda: stand_in(blob, name=_plain(blob.key)))

    def _cast(self, x: Var, number: Float) -> Var:
        same = types.builtin_to_string(x.dtype) == number
        return x if same else mb.cast(x=x, dtype=number)

    def _number(self, value: float) -> AnyArray:
        return np.array(value, _STAND_INS[self.number])[()]

    def _once(self, key: str, make: Callable[[], Var]) -> Var:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


def stand_in(blob: Blob, name: str | None = None) -> Var:
    """A constant of the blob's shape that takes no memory; the exporter knows it by its key."""
    zero = np.zeros((), _STAND_INS[blob.kind])
    named = {} if name is None else {"name": name}
    var = mb.const(val=np.broadcast_to(zero, blob.shape), **named)
    var.op.weight_id = blob.key
    return var


def _plain(key: str) -> str:
    """A name in the program, by which its reader knows a weight."""
    return re.sub(r"\W", "_", key)


def _table(rope: Rope, context: int, which: int) -> AnyArray:
    return tables(rope, context)[which]


def _columns(x: Var, start: int, stop: int) -> Var:
    """Some of the last axis."""
    rank = len(x.shape)
    return mb.slice_by_index(
        x=x,
        begin=[0] * (rank - 1) + [start],
        end=[0] * (rank - 1) + [stop],
        end_mask=[True] * (rank - 1) + [False],
    )


def _index(batch: int, head: int, row: Var, column: int) -> Var:
    """Four indices of a state, of which the row is known only when it runs: int32 [4]."""
    before, after = np.array([batch, head], np.int32), np.array([column], np.int32)
    return mb.concat(values=[before, row, after], axis=0)
