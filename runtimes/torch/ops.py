"""Ops on torch: differentiable over whole sequences, or one sequence that goes on over a cache.

Products and attention compute in `dtype`, or else as autocast says, with the residual stream in
float32.

B sequences, T new positions, S positions in the cache, H query heads, G kv heads, W head width.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import ParamSpec, Protocol

import torch
import torch.nn.functional as F

from edge.nn.rope import tables
from edge.spec import LayerSpec, Norm, Rope
from edge_runtimes.torch.attention import blocks, fused, vote

Tables = tuple[torch.Tensor, torch.Tensor]  # cos and sin, [P, rotated / 2] each
Kernel = ParamSpec("Kernel")


class Matrix(Protocol):
    """A weight [N, K] that is not stored as a tensor of floats."""

    def take(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows of it, in float32: [...] -> [..., K]."""
        ...

    def product(self, x: torch.Tensor) -> torch.Tensor:
        """x times it, transposed: [..., K] -> [..., N] in x's type."""
        ...

    def first(self, rows: int) -> "torch.Tensor | Matrix":
        """Its first rows, where they lie, to multiply with; or some more, if they are packed in blocks."""
        ...


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


class TorchOps:
    """Without a cache whole sequences at positions 0..T-1; every row is wanted unless `last_only`.

    `compiled` fuses what is element by element; it needs a C++ compiler. `votes`: by layer, where they are
    asked for, what attention each row of the cache gets from each head: [H, S].
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
        self.weights = weights
        self.cache, self.dtype, self.last_only = cache, dtype, last_only
        self.votes = votes
        self._norm = _compiled(rms_norm) if compiled else rms_norm
        self._silu = _compiled(silu_gate) if compiled else silu_gate
        self._gegelu = _compiled(gegelu_gate) if compiled else gegelu_gate
        self._rotate = _compiled(rotate) if compiled else rotate

    def embed(self, name: str, tokens: torch.Tensor) -> torch.Tensor:
        table = self.weights[name]
        if isinstance(table, torch.Tensor):
            return F.embedding(tokens, table).float()
        return table.take(tokens)

    def add_norm(
        self, x: torch.Tensor, d: torch.Tensor | None, name: str, norm: Norm
    ) -> tuple[torch.Tensor, torch.Tensor]:
        x = x if d is None else x + d
        if norm.kind == "layer":
            weight, bias = self._vector(name), self._vector(f"{name}.bias")
            return x, layer_norm(x, weight, bias, norm.eps, self._narrow(x))
        return x, self._norm(x, self._vector(name), norm.eps, self._narrow(x))

    def add(self, x: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
        return x + d

    def linear(
        self, x: torch.Tensor, *names: str, biased: Collection[str] = ()
    ) -> tuple[torch.Tensor, ...]:
        weights = [self.weights[name] for name in names]
        added = [self._vector(f"{name}.bias") if name in biased else None for name in names]
        if self.cache is None and len(weights) > 1:  # one product, whose gradient is one, too
            matrices = [_tensor(weight) for weight in weights]
            out = _product(x, torch.cat(matrices), _stacked(matrices, added))
            return torch.split_with_sizes(out, [len(matrix) for matrix in matrices], dim=-1)
        return tuple(_product(x, w, b) for w, b in zip(weights, added, strict=True))

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
            q = self._norm(q, self._vector(at + "q_norm"), layer.qk_norm, q.dtype)
            k = self._norm(k, self._vector(at + "k_norm"), layer.qk_norm, k.dtype)
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

    def _vector(self, name: str) -> torch.Tensor:
        return _tensor(self.weights[name])

    def _narrow(self, x: torch.Tensor) -> torch.dtype:
        """What products take: what autocast would make of x, half the memory between two kernels."""
        if self.dtype is not None:
            return self.dtype
        device = x.device.type
        return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float, dtype: torch.dtype) -> torch.Tensor:
    """Over the last axis, in float32."""
    wide = x.float()
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return (wide * scale * weight).to(dtype)


def layer_norm(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float, dtype: torch.dtype
) -> torch.Tensor:
    """Over the last axis, in float32."""
    return F.layer_norm(x.float(), weight.shape, weight, bias, eps).to(dtype)


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


def _tensor(weight: torch.Tensor | Matrix) -> torch.Tensor:
    assert isinstance(weight, torch.Tensor), "a vector, or a weight that is trained, is a tensor"
    return weight


def _stacked(
    matrices: Sequence[torch.Tensor], added: Sequence[torch.Tensor | None]
) -> torch.Tensor | None:
    """Biases end to end, zeros for the rows of a matrix without; None where none has one."""
    some = next((bias for bias in added if bias is not None), None)
    if some is None:
        return None
    pairs = zip(matrices, added, strict=True)
    return torch.cat([some.new_zeros(len(m)) if bias is None else bias for m, bias in pairs])


def _product(
    x: torch.Tensor, weight: torch.Tensor | Matrix, bias: torch.Tensor | None
) -> torch.Tensor:
    """x times a weight, transposed: [..., K] -> [..., N]."""
    if isinstance(weight, torch.Tensor):
        if bias is None or bias.dtype == x.dtype:
            return F.linear(x, weight, bias)
        out = F.linear(x, weight)
    else:
        out = weight.product(x)
    return out if bias is None else (out + bias).to(out.dtype)


@lru_cache(maxsize=8)
def _tables(rope: Rope, context: int, device: torch.device) -> Tables:
    cos, sin = tables(rope, context)
    with torch.inference_mode(False):  # whoever asks first: training may ask next
        return torch.from_numpy(cos).to(device), torch.from_numpy(sin).to(device)


def _compiled(kernel: Callable[Kernel, torch.Tensor]) -> Callable[Kernel, torch.Tensor]:
    return _compile(kernel)


@lru_cache(maxsize=8)
def _compile(kernel: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Once for every length; kept, since the ops are made anew for each step."""
    return torch.compile(kernel, dynamic=True)
