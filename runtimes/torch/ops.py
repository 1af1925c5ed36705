"""Ops on torch: no cache, differentiable. What training runs.

Float32 as it stands; under autocast, products and attention in bfloat16 with the residual stream in float32.

B sequences, T positions, H query heads, G kv heads, W head width.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import ParamSpec

import numpy as np
import torch
import torch.nn.functional as F

from edge.nn.rope import tables
from edge.nn.sparse import hidden as sparsely_hidden
from edge.spec import LayerSpec, Norm, Rope

Tables = tuple[torch.Tensor, torch.Tensor]  # cos and sin, [P, rotated / 2] each
Kernel = ParamSpec("Kernel")

BLOCK = 128  # queries that share a block of scores: torch's own attention is 2 to 3 times slower on a CPU


class TorchOps:
    """Whole sequences at positions 0..T-1; every row is wanted.

    `compiled` fuses what is element by element; it needs a C++ compiler.
    """

    def __init__(self, weights: Mapping[str, torch.Tensor], *, compiled: bool = False) -> None:
        self.weights = weights
        self._norm = _compiled(rms_norm) if compiled else rms_norm
        self._silu = _compiled(silu_gate) if compiled else silu_gate
        self._gegelu = _compiled(gegelu_gate) if compiled else gegelu_gate
        self._rotate = _compiled(rotate) if compiled else rotate

    def embed(self, name: str, tokens: torch.Tensor) -> torch.Tensor:
        return F.embedding(tokens, self.weights[name])

    def add_norm(
        self, x: torch.Tensor, d: torch.Tensor | None, name: str, norm: Norm
    ) -> tuple[torch.Tensor, torch.Tensor]:
        x = x if d is None else x + d
        if norm.kind == "layer":
            return x, layer_norm(x, self.weights[name], self.weights[f"{name}.bias"], norm.eps)
        return x, self._norm(x, self.weights[name], norm.eps)

    def add(self, x: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
        return x + d

    def linear(self, x: torch.Tensor, *names: str, bias: bool = False) -> tuple[torch.Tensor, ...]:
        weights = [self.weights[name] for name in names]
        added = torch.cat([self.weights[f"{name}.bias"] for name in names]) if bias else None
        if len(weights) == 1:
            return (F.linear(x, weights[0], added),)
        rows = [len(weight) for weight in weights]
        return torch.split_with_sizes(F.linear(x, torch.cat(weights), added), rows, dim=-1)

    def rope(self, rope: Rope, context: int) -> Tables:
        return _tables(rope, context, next(iter(self.weights.values())).device)

    def attend(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        *,
        layer: LayerSpec,
        index: int,
        rope: Tables,
    ) -> torch.Tensor:
        width = layer.head_width
        # [B, T, H, W], [B, T, G, W] twice
        q, k, v = (a.view(*a.shape[:2], -1, width) for a in (q, k, v))
        if layer.qk_norm is not None:
            at = f"layers.{index}.attn."
            q = self._norm(q, self.weights[at + "q_norm"], layer.qk_norm)
            k = self._norm(k, self.weights[at + "k_norm"], layer.qk_norm)
        cos, sin = (table[: q.shape[1]] for table in rope)  # [T, rotated / 2]
        q, k = self._rotate(q, cos, sin), self._rotate(k, cos, sin)
        q, k, v = (a.transpose(1, 2) for a in (q, k, v))  # [B, H, T, W], [B, G, T, W] x 2
        attention = _fused if q.is_cuda else _blocks
        return attention(q, k, v, layer).transpose(1, 2).flatten(2)  # [B, T, H W]

    def gate(self, g: torch.Tensor, u: torch.Tensor, layer: LayerSpec) -> torch.Tensor:
        if layer.gate == "gegelu":
            return self._gegelu(g, u, layer.gate_limit)
        return self._silu(g, u)

    def scale(self, x: torch.Tensor, by: float) -> torch.Tensor:
        return x * by

    def forbid(self, logits: torch.Tensor, ids: tuple[int, ...]) -> torch.Tensor:
        return logits.index_fill(-1, torch.tensor(ids, device=logits.device), float("-inf"))

    def wanted(self, x: torch.Tensor) -> torch.Tensor:
        return x


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """Over the last axis, in float32."""
    wide = x.float()
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return (wide * scale * weight).to(_narrow(x))


def layer_norm(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
) -> torch.Tensor:
    """Over the last axis, in float32."""
    return F.layer_norm(x.float(), weight.shape, weight, bias, eps).to(_narrow(x))


def gegelu_gate(g: torch.Tensor, u: torch.Tensor, limit: float | None) -> torch.Tensor:
    """Phi-3-small's gate (arXiv 2404.14219): a fast GELU of g, times u + 1, both within a limit."""
    wide, up = g.float(), u.float()
    if limit is not None:
        wide, up = wide.clamp(max=limit), up.clamp(-limit, limit)
    return (wide * torch.sigmoid(1.702 * wide) * (up + 1)).to(g.dtype)


def silu_gate(g: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    return (F.silu(g.float()) * u.float()).to(g.dtype)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turn the first rotated dimensions of each head: x [B, T, H, W], cos and sin [T, rotated / 2]."""
    cos, sin = cos[:, None], sin[:, None]  # [T, 1, rotated / 2]
    half = cos.shape[-1]
    a, b, rest = x[..., :half].float(), x[..., half : 2 * half].float(), x[..., 2 * half :]
    turned = torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).to(x.dtype)
    return torch.cat((turned, rest), dim=-1) if rest.shape[-1] else turned


def _blocks(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layer: LayerSpec) -> torch.Tensor:
    """Causal attention, a block of queries against the keys that it sees: q [B, H, T, W] -> same."""
    groups = layer.heads // layer.kv_heads
    if groups > 1:
        k, v = (a.repeat_interleave(groups, dim=1) for a in (k, v))
    shape = q.shape
    q, k, v = (a.flatten(0, 1) for a in (q * layer.scale, k, v))  # [B H, T, W]
    out = []
    for rows, keys, hidden in _visible(shape[2], layer, q.dtype, q.device):
        hidden = hidden.repeat(shape[0], 1, 1) if len(hidden) > 1 else hidden.expand(len(q), -1, -1)
        scores = torch.baddbmm(hidden, q[:, rows], k[:, keys].mT)
        out.append(scores.softmax(-1).to(v.dtype) @ v[:, keys])  # [B H, rows, W]
    return torch.cat(out, dim=1).view(shape)


def _visible(
    t: int, layer: LayerSpec, dtype: torch.dtype, device: torch.device
) -> Iterator[tuple[slice, slice, torch.Tensor]]:
    """Blocks of queries, the keys that any of them sees, and minus infinity where one does not:
    [1 or H, rows, keys].
    """
    window = layer.window or t
    for start in range(0, t, BLOCK):
        stop, first = min(t, start + BLOCK), max(0, start - window + 1)
        age = torch.arange(start, stop, device=device)[:, None] - torch.arange(
            first, stop, device=device
        )
        unseen = ((age < 0) | (age >= window))[None]
        if layer.sparse is not None:
            unseen = unseen | _sparse(layer, range(start, stop), range(first, stop), device)
        hidden = torch.zeros(unseen.shape, dtype=dtype, device=device)
        hidden.masked_fill_(unseen, float("-inf"))
        yield slice(start, stop), slice(first, stop), hidden


def _sparse(layer: LayerSpec, rows: range, keys: range, device: torch.device) -> torch.Tensor:
    """What block-sparse attention hides: [H, rows, keys]."""
    assert layer.sparse is not None
    unseen = sparsely_hidden(layer.sparse, layer.heads, np.array(rows), np.array(keys))
    return torch.from_numpy(unseen).to(device)


def _fused(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layer: LayerSpec) -> torch.Tensor:
    """Causal attention by torch's fused kernels, which take a flag faster than a mask."""
    t, scale = q.shape[2], layer.scale
    short = layer.sparse is None or layer.sparse.reach >= t
    if short and (layer.window is None or layer.window >= t):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=True)
    rows = torch.arange(t, device=q.device)
    age = rows[:, None] - rows
    seen = (age >= 0) & (age < (layer.window or t))
    if layer.sparse is not None:
        seen = seen & ~_sparse(layer, range(t), range(t), q.device)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=scale, enable_gqa=True)


def _narrow(x: torch.Tensor) -> torch.dtype:
    """What autocast would make of x before a product: half the memory between two kernels."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


@lru_cache(maxsize=8)
def _tables(rope: Rope, context: int, device: torch.device) -> Tables:
    cos, sin = tables(rope, context)
    return torch.from_numpy(cos).to(device), torch.from_numpy(sin).to(device)


def _compiled(kernel: Callable[Kernel, torch.Tensor]) -> Callable[Kernel, torch.Tensor]:
    return _compile(kernel)


@lru_cache(maxsize=8)
def _compile(kernel: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Once for every length; kept, since the ops are made anew for each step."""
    return torch.compile(kernel, dynamic=True)
