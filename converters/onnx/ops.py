"""Ops that emit ONNX, with the fused kernels of ONNX Runtime (domain com.microsoft).

B sequences, T new positions, S rows of the cache, H query heads, G kv heads, W head width.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
import onnx_ir as ir

from edge.errors import Unsupported
from edge.nn.rope import tables
from edge.spec import BlockSparse, LayerSpec, Rope
from edge.typing import F32
from edge_converters.onnx.emitter import Emitter
from edge_converters.onnx.sparse import bias
from edge_converters.onnx.store import Matrix
from edge_converters.onnx.weights import MS

WINDOW = 64  # the most rows whose queries are given out


@dataclass(frozen=True, slots=True)
class Rotation:
    """Tables [P, rotated / 2] and the positions [B, T] to look up in them."""

    cos: ir.Value
    sin: ir.Value
    positions: ir.Value
    width: int  # rotated dimensions of a head


@dataclass(frozen=True, slots=True)
class Lengths:
    """What GroupQueryAttention wants to know of a layer's cache: rows in use, the new ones included."""

    last: ir.Value  # int32 [B]: less one
    total: ir.Value  # int32 scalar


@dataclass(slots=True, kw_only=True)
class OnnxOps(Emitter):
    """The operations of a decoder."""

    rows_wanted: Literal["last", "all"] | ir.Value  # or how many last ones, [1]
    positions: ir.Value  # [B, T]
    lengths: Mapping[int, Lengths]  # by layer
    context: int
    past: dict[str, ir.Value] = field(default_factory=dict)
    present: dict[str, ir.Value] = field(default_factory=dict)
    scales: dict[str, ir.Value] = field(default_factory=dict)  # of caches that are of int8
    queries: dict[int, ir.Value] | None = None  # by layer, where they are asked for
    vocab: int | None = None  # logits of the first ids only
    _packed: dict[ir.Value, ir.Value] = field(default_factory=dict)  # first part -> what was split
    _biases: dict[tuple[BlockSparse, int], ir.Value] = field(default_factory=dict)

    def _stack(self, names: tuple[str, ...]) -> Matrix:
        """Of a head that drafts, the first rows."""
        matrix = Emitter._stack(self, names)
        return matrix if self.vocab is None else matrix.first(self.vocab)

    def _cut(self, x: ir.Value, sizes: tuple[int, ...], axis: int = -1) -> tuple[ir.Value, ...]:
        parts = Emitter._cut(self, x, sizes, axis)
        self._packed[parts[0]] = x
        return parts

    def rope(self, rope: Rope, context: int) -> Rotation:
        shape = (context, rope.width // 2)
        cos, sin = (
            self.weights.table(f"rope.{kind}.{context}", shape, partial(_table, rope, context, i))
            for i, kind in enumerate(("cos", "sin"))
        )
        return Rotation(cos, sin, self.positions, rope.width)

    def attend(
        self,
        q: ir.Value,
        k: ir.Value,
        v: ir.Value,
        *,
        layer: LayerSpec,
        index: int,
        rope: Rotation,
    ) -> ir.Value:
        _holds_heads(index, layer)
        inside = rotates_inside(layer, rope.width)
        if inside and q in self._packed:
            qkv: list[ir.Value | None] = [self._packed[q], None, None]
        elif inside:
            qkv = [q, k, v]
        else:
            at = f"layers.{index}.attn."
            q = self._rotate(self._qk_norm(q, at + "q_norm", layer), layer.heads, layer, rope)
            k = self._rotate(self._qk_norm(k, at + "k_norm", layer), layer.kv_heads, layer, rope)
            qkv = [q, k, v]
        if self.queries is not None:
            self.queries[index] = self._last_rows(self._packed.get(q, q))
        return self._attention(qkv, layer, index, rope if inside else None)

    def _attention(
        self, qkv: list[ir.Value | None], layer: LayerSpec, index: int, rope: Rotation | None
    ) -> ir.Value:
        """The fused kernel, which rotates by itself if it is given how."""
        parts = ("key", "value")
        cache = [self.past[f"past_key_values.{index}.{part}"] for part in parts]
        lengths = self.lengths[index]
        more: list[ir.Value | None] = [None] * 3
        if rope is not None:
            more = [rope.cos, rope.sin, rope.positions]
        hidden = self._hidden(layer, lengths.total)
        if hidden is not None or self.scales:
            more.append(hidden)
        attributes: dict[str, Any] = {
            "num_heads": layer.heads,
            "kv_num_heads": layer.kv_heads,
            "scale": layer.scale,
            "do_rotary": int(rope is not None),
        }
        if layer.window is not None:
            attributes["local_window_size"] = layer.window
        if self.scales:
            kinds = dict.fromkeys(("k_quant_type", "v_quant_type"), "PER_CHANNEL")
            attributes |= {"kv_cache_bit_width": 8, **kinds}
            more += [None, *(self.scales[f"scales.{index}.{part}"] for part in parts)]  # no sink
        out, key, value = self.tape.op_multi_out(
            "GroupQueryAttention",
            [*qkv, *cache, lengths.last, lengths.total, *more],
            attributes,
            num_outputs=3,
            domain=MS,
            name=f"layers.{index}.attn",
        )
        self.present[f"present.{index}.key"], self.present[f"present.{index}.value"] = key, value
        return out

    def _last_rows(self, x: ir.Value) -> ir.Value:
        """At most WINDOW rows: what a long prompt would give out is never needed."""
        ends = {**_LAST, "queries.start": [-WINDOW]}
        at = [
            self.weights.constant(key, ends[key])
            for key in ("queries.start", "last.stop", "last.axis")
        ]
        return self._op("Slice", [x, *at])

    def gate(self, g: ir.Value, u: ir.Value, layer: LayerSpec) -> ir.Value:
        # QuickGelu is x * sigmoid(alpha x): with alpha 1 it is silu, in one kernel.
        if layer.gate == "silu":
            return self._op("Mul", [self._op("QuickGelu", [g], {"alpha": 1.0}, MS), u])
        if layer.gate_limit is not None:
            limits = [self.weights.number(sign * layer.gate_limit) for sign in (-1, 1)]
            g, u = self._op("Min", [g, limits[1]]), self._op("Clip", [u, *limits])
        raised = self._op("Add", [u, self.weights.number(1.0)])
        return self._op("Mul", [self._op("QuickGelu", [g], {"alpha": 1.702}, MS), raised])

    def scale(self, x: ir.Value, by: float) -> ir.Value:
        return self._op("Mul", [x, self.weights.number(by)])

    def forbid(self, logits: ir.Value, ids: tuple[int, ...]) -> ir.Value:
        rows = self.weights.store.rows("embed")
        added = np.zeros(rows, np.float32)
        added[list(ids)] = -np.inf
        table = self.weights.table(
            "forbidden", (rows,), lambda at: added[at.start : at.stop], first=self.vocab
        )
        return self._op("Add", [logits, table])

    def wanted(self, x: ir.Value) -> ir.Value:
        if self.rows_wanted == "all":
            return x
        ends = [self.weights.constant(key, _LAST[key]) for key in ("last.stop", "last.axis")]
        if self.rows_wanted == "last":
            start = self.weights.constant("last.start", _LAST["last.start"])
        else:
            start = self._op("Neg", [self.rows_wanted])
        return self._op("Slice", [x, start, *ends])

    def _qk_norm(self, x: ir.Value, name: str, layer: LayerSpec) -> ir.Value:
        if layer.qk_norm is None:
            return x
        split = self._op(
            "Reshape",
            [x, self.weights.constant(f"heads.{layer.head_width}", [0, 0, -1, layer.head_width])],
        )
        attributes = {"axis": -1, "epsilon": layer.qk_norm, "stash_type": 1}
        normed = self._op(
            "SimplifiedLayerNormalization", [split, self.weights.value(name)], attributes
        )
        return self._op("Reshape", [normed, self.weights.constant("flat", [0, 0, -1])])

    def _hidden(self, layer: LayerSpec, total: ir.Value) -> ir.Value | None:
        """The bias of a sparse layer, shared by those alike, whose caches are never cut and so equally
        long; None where nothing can be hidden.
        """
        if layer.sparse is None or self.context <= layer.sparse.reach:
            return None
        key = layer.sparse, layer.heads
        if key not in self._biases:
            self._biases[key] = bias(
                self.tape, self.weights.constant, *key, positions=self.positions, total=total
            )
        return self._biases[key]

    def _rotate(self, x: ir.Value, heads: int, layer: LayerSpec, rope: Rotation) -> ir.Value:
        partial = rope.width != layer.head_width
        attributes = {"num_heads": heads, "rotary_embedding_dim": rope.width if partial else 0}
        return self._op("RotaryEmbedding", [x, rope.positions, rope.cos, rope.sin], attributes, MS)


def rotates_inside(layer: LayerSpec, rotated: int) -> bool:
    """GroupQueryAttention's own rotary wants tables of 8 columns; its qk norm is not on the CPU."""
    return layer.qk_norm is None and layer.head_width % 16 == 0 and rotated % 16 == 0


def _table(rope: Rope, context: int, which: int, positions: range) -> F32:
    """Rows of the cosines or of the sines."""
    return tables(rope, context, positions)[which]


_LAST = {
    "last.start": [-1],
    "last.stop": [(1 << 63) - 1],
    "last.axis": [1],
}


def _holds_heads(index: int, layer: LayerSpec) -> None:
    if layer.head_width % 8:
        raise Unsupported(
            f"onnx cannot hold layers.{index}.attn: its heads are {layer.head_width} wide, "
            "and attention in ONNX Runtime takes multiples of 8",
            fix="use another target",
        )
