"""What ops of decoders and of other networks have in common on torch: weights, products and norms.

Products compute in `dtype`, or else as autocast says; norms in float32, or in float64 where x is.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import ParamSpec, Protocol

import torch
import torch.nn.functional as F

from edge.spec import Norm

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


class SharedOps:
    """`edge.ops.SharedOps` over weights by name.

    `stacks`: several products of one input are one, whose gradient is one, too; it copies the weights.
    `compiled` fuses what is element by element; it needs a C++ compiler.
    """

    def __init__(
        self,
        weights: Mapping[str, torch.Tensor | Matrix],
        *,
        dtype: torch.dtype | None = None,
        stacks: bool = False,
        compiled: bool = False,
    ) -> None:
        self.weights, self.dtype, self.stacks = weights, dtype, stacks
        self._rms_norm = once_compiled(rms_norm) if compiled else rms_norm

    def embed(self, name: str, tokens: torch.Tensor) -> torch.Tensor:
        return taken(self.weights[name], tokens)

    def add_norm(
        self, x: torch.Tensor, d: torch.Tensor | None, name: str, norm: Norm
    ) -> tuple[torch.Tensor, torch.Tensor]:
        x = x if d is None else x + d
        return x, self.norm(x, name, norm)

    def add(self, x: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
        return x + d

    def norm(self, x: torch.Tensor, name: str | None, norm: Norm) -> torch.Tensor:
        """Over the last axis; without a name nothing is learned."""
        weight = None if name is None else self._vector(name)
        if norm.kind == "layer":
            bias = None if name is None else self._vector(f"{name}.bias")
            return layer_norm(x, weight, bias, norm.eps, self._narrow(x))
        return self._rms_norm(x, weight, norm.eps, self._narrow(x))

    def linear(
        self, x: torch.Tensor, *names: str, biased: Collection[str] = ()
    ) -> tuple[torch.Tensor, ...]:
        weights = [self.weights[name] for name in names]
        added = [self._vector(f"{name}.bias") if name in biased else None for name in names]
        if self.stacks and len(weights) > 1 and all(isinstance(w, torch.Tensor) for w in weights):
            matrices = [tensor(weight) for weight in weights]
            out = product(x, torch.cat(matrices), _stacked(matrices, added))
            return torch.split_with_sizes(out, [len(matrix) for matrix in matrices], dim=-1)
        return tuple(product(x, w, b) for w, b in zip(weights, added, strict=True))

    def _vector(self, name: str) -> torch.Tensor:
        return tensor(self.weights[name])

    def _narrow(self, x: torch.Tensor) -> torch.dtype:
        """What products take: what autocast would make of x, half the memory between two kernels."""
        if self.dtype is not None:
            return self.dtype
        device = x.device.type
        return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def wide(x: torch.Tensor) -> torch.Tensor:
    """In float32, or in float64 as it is."""
    return x if x.dtype == torch.float64 else x.float()


def rms_norm(
    x: torch.Tensor, weight: torch.Tensor | None, eps: float, dtype: torch.dtype
) -> torch.Tensor:
    """Over the last axis (arXiv 1910.07467)."""
    x = wide(x)
    out = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
    return (out if weight is None else out * weight).to(dtype)


def layer_norm(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    eps: float,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Over the last axis (arXiv 1607.06450)."""
    return F.layer_norm(wide(x), x.shape[-1:], weight, bias, eps).to(dtype)


def taken(table: torch.Tensor | Matrix, rows: torch.Tensor) -> torch.Tensor:
    """Rows of a weight, in float32 or wider: [...] -> [..., K]."""
    return wide(F.embedding(rows, table)) if isinstance(table, torch.Tensor) else table.take(rows)


def product(
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


def tensor(weight: torch.Tensor | Matrix) -> torch.Tensor:
    assert isinstance(weight, torch.Tensor), "a vector, or a weight that is trained, is a tensor"
    return weight


def once_compiled(kernel: Callable[Kernel, torch.Tensor]) -> Callable[Kernel, torch.Tensor]:
    """Compiled for every length."""
    return _compile(kernel)


@lru_cache(maxsize=8)
def _compile(kernel: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Once for every length; kept, since the ops are made anew for each step."""
    return torch.compile(kernel, dynamic=True)


def _stacked(
    matrices: Sequence[torch.Tensor], added: Sequence[torch.Tensor | None]
) -> torch.Tensor | None:
    """Biases end to end, zeros for the rows of a matrix without; None where none has one."""
    some = next((bias for bias in added if bias is not None), None)
    if some is None:
        return None
    pairs = zip(matrices, added, strict=True)
    return torch.cat([some.new_zeros(len(m)) if bias is None else bias for m, bias in pairs])
