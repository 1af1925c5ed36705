"""Attention of the last T of S positions, over queries and keys that are rotated already.

B sequences, T queries, S keys, H query heads, G kv heads, R = H / G, W head width.
"""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F

from edge.nn.sparse import hidden as sparsely_hidden
from edge.spec import LayerSpec

BLOCK = 128  # queries that share a block of scores


def fused(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layer: LayerSpec) -> torch.Tensor:
    """By torch's own kernels, a block of queries at a time: q [B, H, T, W], k and v [B, G, S, W] ->
    [B, H, T, W].
    """
    t, s = q.shape[2], k.shape[2]
    if t == s and _plain(layer, s):  # a flag is faster than a mask
        return _attend(q, k, v, layer, causal=True)
    if t == 1 and _reaches(layer, s):
        first = 0 if layer.window is None else max(0, s - layer.window)
        return _attend(q, k[:, :, first:], v[:, :, first:], layer)
    out = [
        # Of four dimensions: with three, torch widens and repeats the whole cache instead.
        _attend(q[:, :, rows], k[:, :, keys], v[:, :, keys], layer, ~unseen[None])
        for rows, keys, unseen in _visible(t, s, layer, q.device)
    ]
    return torch.cat(out, dim=2)


def vote(q: torch.Tensor, k: torch.Tensor, layer: LayerSpec) -> torch.Tensor:
    """What attention the last T positions give each of S, summed over them: q [1, H, T, W], k [1, G, S, W]
    -> [H, S]. In float32, a kv head at a time: no full matrix.
    """
    t, s = q.shape[2], k.shape[2]
    unseen = torch.ones(t, s, dtype=torch.bool, device=q.device).triu(s - t + 1)
    out = []
    for queries, keys in zip(q[0].chunk(layer.kv_heads), k[0], strict=True):
        scores = (queries.float() * layer.scale) @ keys.float().mT  # [R, T, S]
        out.append(scores.masked_fill_(unseen, float("-inf")).softmax(-1).sum(1))
    return torch.cat(out)


def blocks(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layer: LayerSpec) -> torch.Tensor:
    """As plain products, for training on a CPU, where torch's own attention is 2 to 3 times slower:
    T = S.
    """
    groups = layer.heads // layer.kv_heads
    if groups > 1:
        k, v = (a.repeat_interleave(groups, dim=1) for a in (k, v))
    shape = q.shape
    q, k, v = (a.flatten(0, 1) for a in (q * layer.scale, k, v))  # [B H, T, W]
    out = []
    for rows, keys, unseen in _visible(shape[2], shape[2], layer, q.device):
        hidden = torch.zeros(unseen.shape, dtype=q.dtype, device=q.device)
        hidden.masked_fill_(unseen, float("-inf"))
        hidden = hidden.repeat(shape[0], 1, 1) if len(hidden) > 1 else hidden.expand(len(q), -1, -1)
        scores = torch.baddbmm(hidden, q[:, rows], k[:, keys].mT)
        out.append(scores.softmax(-1).to(v.dtype) @ v[:, keys])  # [B H, rows, W]
    return torch.cat(out, dim=1).view(shape)


def _attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    layer: LayerSpec,
    mask: torch.Tensor | None = None,
    *,
    causal: bool = False,
) -> torch.Tensor:
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=causal, scale=layer.scale, enable_gqa=True
    )


def _visible(
    t: int, s: int, layer: LayerSpec, device: torch.device
) -> Iterator[tuple[slice, slice, torch.Tensor]]:
    """Blocks of the queries, the keys that any of them sees, and where one does not: [1 or H, rows,
    keys].
    """
    window = layer.window or s
    for row in range(0, t, BLOCK):
        end = min(t, row + BLOCK)
        start, stop = s - t + row, s - t + end  # their positions
        first = max(0, start - window + 1)
        age = torch.arange(start, stop, device=device)[:, None] - torch.arange(
            first, stop, device=device
        )
        unseen = ((age < 0) | (age >= window))[None]
        if not _reaches(layer, s):
            unseen = unseen | _sparse(layer, range(start, stop), range(first, stop), device)
        yield slice(row, end), slice(first, stop), unseen


def _sparse(layer: LayerSpec, rows: range, keys: range, device: torch.device) -> torch.Tensor:
    """What block-sparse attention hides: [H, rows, keys]."""
    assert layer.sparse is not None
    unseen = sparsely_hidden(layer.sparse, layer.heads, np.array(rows), np.array(keys))
    return torch.from_numpy(unseen).to(device)


def _reaches(layer: LayerSpec, s: int) -> bool:
    """Whether block-sparse attention over so few keys is dense."""
    return layer.sparse is None or layer.sparse.reach >= s


def _plain(layer: LayerSpec, s: int) -> bool:
    """Whether every key up to a query's own position is seen."""
    return _reaches(layer, s) and (layer.window is None or layer.window >= s)
