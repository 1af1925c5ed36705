"""Ops on torch: differentiable over whole sequences, or one sequence that goes on over a cache.

Products and attention compute in `dtype`, or else as autocast says, with the residual stream in
float32.

B sequences, T new positions, S positions in the cache, H query heads, G kv heads, W head width.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Protocol

import torch
import torch.nn.functional as F

from edge.nn.rope import tables
from edge.spec import LayerSpec, Rope
from edge_runtimes.torch.attention import blocks, fused, vote
from edge_runtimes.torch.shared import Matrix, SharedOps, once_compiled

Tables = tuple[torch.Tensor, torch.Tensor]  # cos and sin, [P, rotated / 2] each


class Cache(Protocol):
    """Rotated keys and values of one sequence."""

    @property
    def length(self) -> int:
        """The position of the next token."""
        ...

    def append(
        self, index: int, k: torch.Tensor, v: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keep k and v [1, G, T, W] of a layer after what is there -> all of them, [1, G, S, W]."""
        ...


class TorchOps(SharedOps):
    """Without a cache whole sequences at positions 0..T-1; every row is wanted unless `last_only`.

    `compiled`: as of `edge_runtimes.torch.shared.SharedOps`. `votes`: by layer, where they are asked for,
    what attention each row of the cache gets from each head: [H, S].
    """

    def __init__(
        self,
        weights: Mapping[str, torch.Tensor | Matrix],
        *,
        cache: Cache | None = None,
        dtype: torch.dtype | None = None,
        last_only: bool = False,
        compiled: bool = False,
        votes: dict[int, torch.Tensor] | None = None,
    ) -> None:
        super().__init__(weights, dtype=dtype, stacks=cache is None, compiled=compiled)
        self.cache, self.last_only, self.votes = cache, last_only, votes
        self._silu = once_compiled(silu_gate) if compiled else silu_gate
        self._gegelu = once_compiled(gegelu_gate) if compiled else gegelu_gate
        self._rotate = once_compiled(rotate) if compiled else rotate

    def rope(self, rope: Rope, context: int) -> Tables:
        return _tables(rope, context, self._vector("norm").device)

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
            q = self._rms_norm(q, self._vector(at + "q_norm"), layer.qk_norm, q.dtype)
            k = self._rms_norm(k, self._vector(at + "k_norm"), layer.qk_norm, k.dtype)
        start = 0 if self.cache is None else self.cache.length
        cos, sin = (table[start : start + q.shape[1]] for table in rope)  # [T, rotated / 2]
        q, k = self._rotate(q, cos, sin), self._rotate(k, cos, sin)
        q, k, v = (a.transpose(1, 2) for a in (q, k, v))  # [B, H, T, W], [B, G, T, W] x 2
        if self.cache is not None:
            k, v = self.cache.append(index, k, v)  # [B, G, S, W] x 2
        if self.votes is not None:
            self.votes[index] = vote(q, k, layer)
        attention = blocks if self.cache is None and not q.is_cuda else fused
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
        return x[:, -1:] if self.last_only else x


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


@lru_cache(maxsize=8)
def _tables(rope: Rope, context: int, device: torch.device) -> Tables:
    cos, sin = tables(rope, context)
    with torch.inference_mode(False):  # whoever asks first: training may ask next
        return torch.from_numpy(cos).to(device), torch.from_numpy(sin).to(device)
