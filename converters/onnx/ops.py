"""Ops that emit ONNX, with the fused kernels of ONNX Runtime (domain com.microsoft).

B sequences, T new positions, S rows of the cache, H query heads, G kv heads, W head width.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from edge.errors import Unsupported
from edge.nn.rope import tables
from edge.quant.held import Held, exactly, refuse_unheld
from edge.quant.recipe import Recipe
from edge.quant.tensor import BF16, FP16, FP32, Scheme
from edge.spec import BlockSparse, LayerSpec, Norm, Rope
from edge.typing import F32
from edge_converters.onnx.sparse import bias
from edge_converters.onnx.store import DATA, Matrix, Region, Store

MS = "com.microsoft"
WINDOW = 64  # the most rows whose queries are given out
INT8_ACTIVATIONS, FLOAT_ACTIVATIONS = 4, 0  # MatMulNBits' accuracy_level
_FLOATS = {FP16: ir.DataType.FLOAT16, BF16: ir.DataType.BFLOAT16, FP32: ir.DataType.FLOAT}


_OTHERS = tuple(map(exactly, _FLOATS))
_GROUPS: tuple[int, ...] = (32, 64, 128)
TABLES: tuple[Held, ...] = (  # GatherBlockQuantized
    *_OTHERS,
    Held(
        what="integers of 4 or 8 bits",
        bits=(4, 8),
        group=_GROUPS,
        zero=("middle", "integer"),
        number=("fp32", "fp16", "bf16"),
    ),
)
MATRICES: tuple[Held, ...] = (  # MatMulNBits
    *TABLES,
    Held(
        what="integers of 4 bits with minimums",
        bits=(4,),
        group=_GROUPS,
        zero=("minimum",),
        number=("fp32", "fp16", "bf16"),
    ),
)


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


@dataclass(slots=True)
class OnnxOps:
    """Emits into `tape`; weights lie where `store` says."""

    tape: Tape
    store: Store
    recipe: Recipe
    exact: bool  # float activations instead of int8 ones
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
    _made: dict[str, ir.Value] = field(default_factory=dict)
    _biases: dict[tuple[BlockSparse, int], ir.Value] = field(default_factory=dict)

    def embed(self, name: str, tokens: ir.Value) -> ir.Value:
        scheme = self.recipe.scheme(name, by_row=True)
        refuse_unheld("onnx", name, scheme, TABLES)
        matrix = self.store.matrix((name,), scheme)
        shape = [matrix.rows, matrix.columns]
        if matrix.scheme.is_float:
            table = self._weight(f"{name}.table", matrix.values, _FLOATS[matrix.scheme], shape)
            return self._float(self._op("Gather", [table, tokens], {"axis": 0}), matrix.scheme)
        group, bits = matrix.scheme.group, matrix.scheme.bits
        _whole_groups(name, matrix)
        codes = self._weight(
            f"{name}.{matrix.scheme}.codes",
            matrix.values,
            ir.DataType.UINT8,
            [shape[0], shape[1] * bits // 8],
        )
        attributes = {"bits": bits, "block_size": group, "gather_axis": 0, "quantize_axis": 1}
        scales = self._scales(f"{name}.{matrix.scheme}", matrix)
        return self._op("GatherBlockQuantized", [codes, tokens, *scales], attributes, MS)

    def add_norm(
        self, x: ir.Value, d: ir.Value | None, name: str, norm: Norm
    ) -> tuple[ir.Value, ir.Value]:
        kind, learned = "SimplifiedLayerNormalization", [self._vector(name)]
        if norm.kind == "layer":
            kind, learned = "LayerNormalization", [*learned, self._vector(f"{name}.bias")]
        if d is None:
            attributes = {"axis": -1, "epsilon": norm.eps, "stash_type": 1}
            return x, self._op(kind, [x, *learned], attributes)
        normed, _, _, total = self.tape.op_multi_out(
            f"Skip{kind}",
            [x, d, *learned],
            {"epsilon": norm.eps},
            num_outputs=4,
            domain=MS,
        )
        return total, normed

    def add(self, x: ir.Value, d: ir.Value) -> ir.Value:
        return self._op("Add", [x, d])

    def linear(self, x: ir.Value, *names: str, bias: bool = False) -> tuple[ir.Value, ...]:
        scheme = self.recipe.scheme(names[0])
        if any(self.recipe.scheme(name) != scheme for name in names):
            return tuple(out for name in names for out in self.linear(x, name, bias=bias))
        refuse_unheld("onnx", names[0], scheme, MATRICES)
        matrix = self.store.matrix(names, scheme)
        if self.vocab is not None:
            matrix = matrix.first(self.vocab)
        out = self._dense(x, matrix) if scheme.is_float else self._low_bit(x, matrix)
        if bias:
            out = self._op("Add", [out, self._stacked([f"{name}.bias" for name in names])])
        if len(names) == 1:
            return (out,)
        heights = [self.store.rows(name) for name in names]
        sizes = self._constant("split." + ".".join(map(str, heights)), heights)
        parts = tuple(
            self.tape.op_multi_out("Split", [out, sizes], {"axis": -1}, num_outputs=len(names))
        )
        self._packed[parts[0]] = out
        return parts

    def rope(self, rope: Rope, context: int) -> Rotation:
        values = []
        shape = (context, rope.width // 2)
        for i, kind in enumerate(("cos", "sin")):
            name = f"rope.{kind}.{context}"
            region = self.store.constant(name, shape, partial(_table, rope, context, i))
            values.append(self._weight(name, region, ir.DataType.FLOAT, list(shape)))
        return Rotation(values[0], values[1], self.positions, rope.width)

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
        at = [self._constant(key, ends[key]) for key in ("queries.start", "last.stop", "last.axis")]
        return self._op("Slice", [x, *at])

    def gate(self, g: ir.Value, u: ir.Value, layer: LayerSpec) -> ir.Value:
        # QuickGelu is x * sigmoid(alpha x): with alpha 1 it is silu, in one kernel.
        if layer.gate == "silu":
            return self._op("Mul", [self._op("QuickGelu", [g], {"alpha": 1.0}, MS), u])
        if layer.gate_limit is not None:
            limits = [self._number(sign * layer.gate_limit) for sign in (-1, 1)]
            g, u = self._op("Min", [g, limits[1]]), self._op("Clip", [u, *limits])
        raised = self._op("Add", [u, self._number(1.0)])
        return self._op("Mul", [self._op("QuickGelu", [g], {"alpha": 1.702}, MS), raised])

    def scale(self, x: ir.Value, by: float) -> ir.Value:
        return self._op("Mul", [x, self._number(by)])

    def forbid(self, logits: ir.Value, ids: tuple[int, ...]) -> ir.Value:
        rows = self.store.rows("embed")
        added = np.zeros(rows, np.float32)
        added[list(ids)] = -np.inf
        region = self.store.constant("forbidden", (rows,), lambda at: added[at.start : at.stop])
        count = self.vocab or rows
        table = self._weight("forbidden", region.first(count, rows), ir.DataType.FLOAT, [count])
        return self._op("Add", [logits, table])

    def wanted(self, x: ir.Value) -> ir.Value:
        if self.rows_wanted == "all":
            return x
        ends = [self._constant(key, _LAST[key]) for key in ("last.stop", "last.axis")]
        if self.rows_wanted == "last":
            start = self._constant("last.start", _LAST["last.start"])
        else:
            start = self._op("Neg", [self.rows_wanted])
        return self._op("Slice", [x, start, *ends])

    def _low_bit(self, x: ir.Value, matrix: Matrix) -> ir.Value:
        scheme, groups = matrix.scheme, matrix.scheme.groups(matrix.columns)
        assert scheme.group is not None
        name = f"{matrix.name}.{scheme}"
        blob = scheme.group * scheme.bits // 8
        codes = self._weight(
            name + ".codes.blocked", matrix.values, ir.DataType.UINT8, [matrix.rows, groups, blob]
        )
        attributes = {
            "N": matrix.rows,
            "K": matrix.columns,
            "bits": scheme.bits,
            "block_size": scheme.group,
            "accuracy_level": FLOAT_ACTIVATIONS if self.exact else INT8_ACTIVATIONS,
        }
        return self._op("MatMulNBits", [x, codes, *self._scales(name, matrix)], attributes, MS)

    def _scales(self, name: str, matrix: Matrix) -> list[ir.Value]:
        """Scales [N, J], and zeros where they are not the middle code: [N, bytes of J codes], or floats
        [N, J].
        """
        assert matrix.scales is not None
        shape = [matrix.rows, matrix.scheme.groups(matrix.columns)]
        out = [self._weight(name + ".scales", matrix.scales, ir.DataType.FLOAT, shape)]
        if matrix.zeros is None:
            return out
        if matrix.scheme.zero == "minimum":
            return [*out, self._weight(name + ".zeros", matrix.zeros, ir.DataType.FLOAT, shape)]
        packed = [matrix.rows, matrix.zeros.nbytes // matrix.rows]
        return [*out, self._weight(name + ".zeros", matrix.zeros, ir.DataType.UINT8, packed)]

    def _dense(self, x: ir.Value, matrix: Matrix) -> ir.Value:
        """The checkpoint's [N, K] as it lies, so that a tied head shares the embedding's bytes."""
        kind = _FLOATS[matrix.scheme]
        weight = self._weight(matrix.name, matrix.values, kind, [matrix.rows, matrix.columns])
        weight = self._float(weight, matrix.scheme)
        return self._op("FusedMatMul", [x, weight], {"transB": 1}, MS)

    def _qk_norm(self, x: ir.Value, name: str, layer: LayerSpec) -> ir.Value:
        if layer.qk_norm is None:
            return x
        split = self._op(
            "Reshape",
            [x, self._constant(f"heads.{layer.head_width}", [0, 0, -1, layer.head_width])],
        )
        attributes = {"axis": -1, "epsilon": layer.qk_norm, "stash_type": 1}
        normed = self._op("SimplifiedLayerNormalization", [split, self._vector(name)], attributes)
        return self._op("Reshape", [normed, self._constant("flat", [0, 0, -1])])

    def _hidden(self, layer: LayerSpec, total: ir.Value) -> ir.Value | None:
        """The bias of a sparse layer, shared by those alike, whose caches are never cut and so equally
        long; None where nothing can be hidden.
        """
        if layer.sparse is None or self.context <= layer.sparse.reach:
            return None
        key = layer.sparse, layer.heads
        if key not in self._biases:
            self._biases[key] = bias(
                self.tape, self._constant, *key, positions=self.positions, total=total
            )
        return self._biases[key]

    def _rotate(self, x: ir.Value, heads: int, layer: LayerSpec, rope: Rotation) -> ir.Value:
        partial = rope.width != layer.head_width
        attributes = {"num_heads": heads, "rotary_embedding_dim": rope.width if partial else 0}
        return self._op("RotaryEmbedding", [x, rope.positions, rope.cos, rope.sin], attributes, MS)

    def _float(self, x: ir.Value, scheme: Scheme) -> ir.Value:
        return x if scheme == FP32 else self._op("Cast", [x], {"to": ir.DataType.FLOAT})

    def _op(
        self,
        kind: str,
        inputs: list[ir.Value],
        attributes: dict[str, Any] | None = None,
        domain: str = "",
    ) -> ir.Value:
        return self.tape.op(kind, inputs, attributes, domain=domain)

    def _constant(self, name: str, value: Any, kind: ir.DataType = ir.DataType.INT64) -> ir.Value:
        return self._once(name, lambda: ir.tensor(value, dtype=kind, name=name))

    def _number(self, value: float) -> ir.Value:
        return self._constant(f"number.{value}", value, ir.DataType.FLOAT)

    def _vector(self, name: str) -> ir.Value:
        region = self.store.vector(name)
        return self._weight(name, region, ir.DataType.FLOAT, [region.nbytes // 4])

    def _stacked(self, names: list[str]) -> ir.Value:
        """Vectors end to end; ONNX Runtime joins constants once, when it loads."""
        vectors = [self._vector(name) for name in names]
        return vectors[0] if len(vectors) == 1 else self._op("Concat", vectors, {"axis": 0})

    def _weight(self, name: str, region: Region, kind: ir.DataType, shape: list[int]) -> ir.Value:
        return self._once(
            name,
            lambda: ir.ExternalTensor(
                DATA, region.offset, region.nbytes, kind, shape=ir.Shape(shape), name=name
            ),
        )

    def _once(self, name: str, make: Callable[[], ir.TensorProtocol]) -> ir.Value:
        if name not in self._made:
            self._made[name] = self.tape.initializer(make(), name)
        return self._made[name]


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


def _whole_groups(name: str, matrix: Matrix) -> None:
    """GatherBlockQuantized has no padded last block."""
    assert matrix.scheme.group is not None
    if matrix.columns % matrix.scheme.group:
        raise Unsupported(
            f"onnx cannot hold {name} as {matrix.scheme}: its rows of {matrix.columns} do not divide into groups",
            fix="give --embed fp16 or --embed fp32",
        )


def _holds_heads(index: int, layer: LayerSpec) -> None:
    if layer.head_width % 8:
        raise Unsupported(
            f"onnx cannot hold layers.{index}.attn: its heads are {layer.head_width} wide, "
            "and attention in ONNX Runtime takes multiples of 8",
            fix="use another target",
        )
