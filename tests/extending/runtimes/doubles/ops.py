"""`edge.ops.Ops` in float64. T new tokens, S cached and new tokens, H query heads, G kv heads, W width."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from edge.nn.rope import rotate, tables
from edge.nn.sparse import hidden
from edge.spec import LayerSpec, Norm, Rope
from edge.typing import AnyArray

Tables = tuple[AnyArray, AnyArray]


@dataclass(slots=True)
class Doubles:
    """`start`: the position of the first new token."""

    weights: dict[str, AnyArray]
    cache: dict[int, tuple[AnyArray, AnyArray]]
    start: int
    last_only: bool

    def embed(self, name: str, tokens: AnyArray) -> AnyArray:
        return self.weights[name][tokens]

    def add_norm(
        self, x: AnyArray, d: AnyArray | None, name: str, norm: Norm
    ) -> tuple[AnyArray, AnyArray]:
        x = x if d is None else x + d
        if norm.kind == "layer":
            h = x - x.mean(-1, keepdims=True)
            return x, _unit(h, norm.eps) * self.weights[name] + self.weights[f"{name}.bias"]
        return x, _unit(x, norm.eps) * self.weights[name]

    def add(self, x: AnyArray, d: AnyArray) -> AnyArray:
        return x + d

    def linear(
        self, x: AnyArray, *names: str, biased: Collection[str] = ()
    ) -> tuple[AnyArray, ...]:
        added = (self.weights[f"{name}.bias"] if name in biased else 0 for name in names)
        return tuple(x @ self.weights[name].T + b for name, b in zip(names, added, strict=True))

    def rope(self, rope: Rope, context: int) -> Tables:
        return tables(rope, context)

    def attend(
        self, q: AnyArray, k: AnyArray, v: AnyArray, *, layer: LayerSpec, index: int, rope: Tables
    ) -> AnyArray:
        q, k, v = (a.reshape(len(a), -1, layer.head_width) for a in (q, k, v))  # [T, H or G, W]
        if layer.qk_norm is not None:
            q = _unit(q, layer.qk_norm) * self.weights[f"layers.{index}.attn.q_norm"]
            k = _unit(k, layer.qk_norm) * self.weights[f"layers.{index}.attn.k_norm"]
        q, k = rotate(q, rope, self.start), rotate(k, rope, self.start)
        if index in self.cache:
            before = self.cache[index]
            k, v = np.concatenate((before[0], k)), np.concatenate((before[1], v))
        self.cache[index] = k, v
        heads = [self._head(q, k, v, at, layer) for at in range(layer.heads)]  # [T, W] each
        return np.concatenate(heads, axis=1)

    def _head(self, q: AnyArray, k: AnyArray, v: AnyArray, at: int, layer: LayerSpec) -> AnyArray:
        """What one query head brings: q [T, H, W], k and v [S, G, W] -> [T, W]."""
        group = at * layer.kv_heads // layer.heads
        rows, columns = self.start + np.arange(len(q)), np.arange(len(k))
        age = rows[:, None] - columns  # [T, S]
        unseen = (age < 0) | (age >= (layer.window or len(k) + 1))
        if layer.sparse is not None:
            unseen |= hidden(layer.sparse, layer.heads, rows, columns)[at]
        scores = np.where(unseen, -np.inf, q[:, at] @ k[:, group].T * layer.scale)
        seen = np.exp(scores - scores.max(-1, keepdims=True))
        return seen / seen.sum(-1, keepdims=True) @ v[:, group]

    def gate(self, g: AnyArray, u: AnyArray, layer: LayerSpec) -> AnyArray:
        if layer.gate == "silu":
            return g / (1 + np.exp(-g)) * u
        if layer.gate_limit is not None:
            g, u = np.minimum(g, layer.gate_limit), np.clip(u, -layer.gate_limit, layer.gate_limit)
        return g / (1 + np.exp(-1.702 * g)) * (u + 1)

    def scale(self, x: AnyArray, by: float) -> AnyArray:
        return x * by

    def forbid(self, logits: AnyArray, ids: tuple[int, ...]) -> AnyArray:
        out = logits.copy()
        out[:, list(ids)] = -np.inf
        return out

    def wanted(self, x: AnyArray) -> AnyArray:
        return x[-1:] if self.last_only else x


def _unit(x: AnyArray, eps: float) -> AnyArray:
    """x over the root of its mean square."""
    out: AnyArray = x / np.sqrt((x * x).mean(-1, keepdims=True) + eps)
    return out
