"""Ops that emit MIL, for iOS 18 and macOS 15: attention in one operation, and a cache that is a state.

The batch is 1. T new positions, S rows of the cache, H query heads, G kv heads of all layers of the
package, R = H / G of one layer, W head width, P positions of the rotary tables.
"""

import math
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from edge.nn.rope import tables
from edge.spec import LayerSpec, Rope
from edge.typing import AnyArray
from edge_converters.coreml.calls import Call
from edge_converters.coreml.emitter import STAND_INS, Emitter, Var, columns
from edge_converters.coreml.toolkit import mb

KEYS, VALUES = "keyCache", "valueCache"  # as swift-transformers names them


@dataclass(frozen=True, slots=True)
class Rotation:
    """cos and sin of the new positions, each twice, the first sines negative: [T, rotated]."""

    cos: Var
    sin: Var
    width: int  # rotated dimensions of a head


@dataclass(slots=True, kw_only=True)
class MilOps(Emitter):
    """What a decoder is made of, over the states and the place of one call."""

    call: Call | None  # None: without layers
    states: dict[str, Var]  # each [1, G, S, W]
    heads: dict[int, int]  # layer -> where its kv heads begin in the states
    queries: dict[int, Var] = field(default_factory=dict)  # of each layer, rotated: [1, H, T, W]
    _now: dict[str, Var] = field(default_factory=dict)  # a state as it was last written

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
            row = np.zeros(vocab, STAND_INS[self.number])
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

    def _heads(self, x: Var, heads: int, layer: LayerSpec) -> Var:
        """[1, T, heads W] -> [1, heads, T, W]."""
        split = mb.reshape(x=x, shape=[1, -1, heads, layer.head_width])
        return mb.transpose(x=split, perm=[0, 2, 1, 3])

    def _rotate(self, x: Var, rope: Rotation, layer: LayerSpec) -> Var:
        """Turn the first rotated dimensions: x cos + (its halves exchanged) sin, [1, heads, T, W]."""
        half, width = rope.width // 2, rope.width
        turned = x if width == layer.head_width else columns(x, 0, width)
        other = mb.concat(values=[columns(x, half, width), columns(x, 0, half)], axis=-1)
        out = mb.add(x=mb.mul(x=turned, y=rope.cos), y=mb.mul(x=other, y=rope.sin))
        if width == layer.head_width:
            return out
        return mb.concat(values=[out, columns(x, width, layer.head_width)], axis=-1)

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


def _table(rope: Rope, context: int, which: int) -> AnyArray:
    return tables(rope, context)[which]


def _index(batch: int, head: int, row: Var, column: int) -> Var:
    """Four indices of a state, of which the row is known only when it runs: int32 [4]."""
    before, after = np.array([batch, head], np.int32), np.array([column], np.int32)
    return mb.concat(values=[before, row, after], axis=0)
