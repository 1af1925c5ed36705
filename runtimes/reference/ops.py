"""Ops on numpy in float32: the oracle. Slow, plain, and what every target is compared with.

T new tokens, S cached and new tokens, H query heads, G kv heads, R = H / G, W head width.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from edge.nn.rope import rotate, tables
from edge.nn.sparse import hidden as sparsely_hidden
from edge.quant.tensor import Float, rounded
from edge.spec import LayerSpec, Norm, Rope
from edge.typing import F32, I64

Tables = tuple[F32, F32]


@dataclass(slots=True)
class Cache:
    """Rotated keys and values of each layer, [S, G, W], by layer number, rounded to a type."""

    number: Float = "fp32"
    keys: dict[int, F32] = field(default_factory=dict)
    values: dict[int, F32] = field(default_factory=dict)

    def append(self, index: int, k: F32, v: F32) -> Tables:
        k, v = rounded(k, self.number), rounded(v, self.number)
        if index in self.keys:
            k, v = np.concatenate((self.keys[index], k)), np.concatenate((self.values[index], v))
        self.keys[index], self.values[index] = k, v
        return k, v

    def copy(self) -> "Cache":
        return replace(self, keys=dict(self.keys), values=dict(self.values))

    def rewind(self, rows: Sequence[int]) -> None:
        """Keep the first so many of each layer."""
        for part in (self.keys, self.values):
            for index, cached in part.items():
                part[index] = cached[: rows[index]]

    def keep(self, rows: Sequence[I64]) -> None:
        """Of each layer these rows, [G, C] by kv head."""
        for part in (self.keys, self.values):
            for index, cached in part.items():
                part[index] = np.take_along_axis(cached, rows[index].T[:, :, None], axis=0)


@dataclass(slots=True)
class NumpyOps:
    """`weight(name, rows)` gives a weight, or only some of its rows; nothing is kept."""

    weight: Callable[[str, I64 | None], F32]
    cache: Cache
    start: int  # position of the first new token
    last_only: bool
    product: Callable[[F32, str], F32] | None = None  # x times a weight, transposed, if not plainly
    votes: dict[int, F32] | None = None  # by layer, where they are asked for: [H, S]

    def embed(self, name: str, tokens: I64) -> F32:
        return self.weight(name, tokens)

    def add_norm(self, x: F32, d: F32 | None, name: str, norm: Norm) -> tuple[F32, F32]:
        x = x if d is None else x + d
        weight = self.weight(name, None)
        if norm.kind == "layer":
            return x, layer_norm(x, weight, self.weight(f"{name}.bias", None), norm.eps)
        return x, rms_norm(x, weight, norm.eps)

    def add(self, x: F32, d: F32) -> F32:
        return x + d

    def linear(self, x: F32, *names: str, biased: Collection[str] = ()) -> tuple[F32, ...]:
        product = self.product or self._product
        out = tuple(product(x, name) for name in names)
        return tuple(
            y + self.weight(f"{name}.bias", None) if name in biased else y
            for y, name in zip(out, names, strict=True)
        )

    def rope(self, rope: Rope, context: int) -> Tables:
        return tables(rope, context)

    def attend(self, q: F32, k: F32, v: F32, *, layer: LayerSpec, index: int, rope: Tables) -> F32:
        q, k, v = (a.reshape(len(a), -1, layer.head_width) for a in (q, k, v))  # [T, H or G, W]
        if layer.qk_norm is not None:
            at = f"layers.{index}.attn."
            q = rms_norm(q, self.weight(at + "q_norm", None), layer.qk_norm)
            k = rms_norm(k, self.weight(at + "k_norm", None), layer.qk_norm)
        q, k = rotate(q, rope, self.start), rotate(k, rope, self.start)
        k, v = self.cache.append(index, k, v)
        weights = attention_weights(q, k, layer)  # [H, T, S]
        if self.votes is not None:
            self.votes[index] = weights.sum(axis=1)
        return mix(weights, v).reshape(len(q), -1)

    def gate(self, g: F32, u: F32, layer: LayerSpec) -> F32:
        # exp(-g) of a very negative g is infinite, and g / inf is right
        with np.errstate(over="ignore"):
            return gegelu(g, u, layer.gate_limit) if layer.gate == "gegelu" else silu(g) * u

    def scale(self, x: F32, by: float) -> F32:
        return x * np.float32(by)

    def forbid(self, logits: F32, ids: tuple[int, ...]) -> F32:
        out = logits.copy()
        out[:, list(ids)] = -np.inf
        return out

    def wanted(self, x: F32) -> F32:
        return x[-1:] if self.last_only else x

    def _product(self, x: F32, name: str) -> F32:
        return x @ self.weight(name, None).T


def rms_norm(x: F32, weight: F32, eps: float) -> F32:
    """x over the root of its mean square, along the last axis (arXiv 1910.07467)."""
    mean = np.mean(x * x, axis=-1, keepdims=True)
    normed: F32 = x / np.sqrt(mean + np.float32(eps)) * weight
    return normed


def layer_norm(x: F32, weight: F32, bias: F32, eps: float) -> F32:
    """x less its mean, over its standard deviation, along the last axis (arXiv 1607.06450)."""
    centred = x - np.mean(x, axis=-1, keepdims=True)
    variance = np.mean(centred * centred, axis=-1, keepdims=True)
    normed: F32 = centred / np.sqrt(variance + np.float32(eps)) * weight + bias
    return normed


def silu(g: F32) -> F32:
    return g / (1 + np.exp(-g))


def gegelu(g: F32, u: F32, limit: float | None) -> F32:
    """Phi-3-small's gate (arXiv 2404.14219): a fast GELU of g, times u + 1, both within a limit."""
    if limit is not None:
        g, u = np.minimum(g, np.float32(limit)), np.clip(u, -limit, limit)
    return g / (1 + np.exp(np.float32(-1.702) * g)) * (u + 1)


def attention_weights(q: F32, k: F32, layer: LayerSpec) -> F32:
    """How much each query sees of each key, causal and grouped: q [T, H, W], k [S, G, W] -> [H, T, S]."""
    (t, h, w), (s, g, _) = q.shape, k.shape
    q = q.reshape(t, g, h // g, w)  # [T, G, R, W]
    scores = np.einsum("tgrw,sgw->grts", q, k, optimize=True)  # [G, R, T, S]
    scores = scores.reshape(h, t, s) * np.float32(layer.scale)

    # The T new tokens are the last T of S: row i stands at column S - T + i.
    age = np.arange(s - t, s)[:, None] - np.arange(s)  # [T, S]
    hidden = (age < 0) if layer.window is None else (age < 0) | (age >= layer.window)
    scores[:, hidden] = -np.inf
    if layer.sparse is not None:
        scores[sparsely_hidden(layer.sparse, h, np.arange(s - t, s), np.arange(s))] = -np.inf

    # Subtract the row's maximum first; exp overflows past 88.
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    out: F32 = weights / weights.sum(axis=-1, keepdims=True)
    return out


def mix(weights: F32, v: F32) -> F32:
    """Values by their weights: [H, T, S] and v [S, G, W] -> [T, H, W]."""
    (h, t, s), (_, g, w) = weights.shape, v.shape
    grouped = weights.reshape(g, h // g, t, s)
    out: F32 = np.einsum("grts,sgw->tgrw", grouped, v, optimize=True)  # [T, G, R, W]
    return out.reshape(t, h, w)
