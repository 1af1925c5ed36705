"""Weights that training leaves as they are: in the type of their checkpoint, or as NormalFloat codes. Products with
them keep no copy for the backward pass, which reads them again.

N rows, K columns.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F

from edge.quant.doubled import BLOCK, Doubled, doubled, levels
from edge.quant.methods import methods
from edge.quant.tensor import QTensor, Scheme
from edge.typing import F32, U8
from edge_runtimes.torch.lowbit import Codes
from edge_runtimes.torch.shared import wide


class Blocks(Protocol):
    """A weight [N, K] that can be read, some rows at a time."""

    def blocks(self, dtype: torch.dtype) -> Iterator[torch.Tensor]: ...


@dataclass(frozen=True, slots=True)
class Frozen:
    """A `edge_runtimes.torch.shared.Matrix` of floats of any type."""

    weight: torch.Tensor

    def take(self, rows: torch.Tensor) -> torch.Tensor:
        return wide(F.embedding(rows, self.weight))

    def product(self, x: torch.Tensor) -> torch.Tensor:
        return product(x, self)

    def first(self, rows: int) -> "Frozen":
        return Frozen(self.weight[:rows])

    def blocks(self, dtype: torch.dtype) -> Iterator[torch.Tensor]:
        yield self.weight.to(dtype)


@dataclass(frozen=True, slots=True)
class FrozenCodes:
    """The same as codes whose scales, and shifts, are rounded once more (`edge.quant.doubled`)."""

    codes: torch.Tensor  # [N, J group / 2]
    scales: "Rounded"  # [N, J]
    shifts: "Rounded | None"
    scheme: Scheme
    columns: int
    levels: torch.Tensor

    @classmethod
    def of(cls, weight: F32, method: str, device: torch.device) -> "FrozenCodes":
        """Of a weight [N, K], by a method of 4 bits that has levels, in the groups of its paper."""
        known = methods()[method]
        scheme = next(s for s in known.schemes if s.group == known.group and s.number == "fp32")
        made = known.quantize(weight, scheme)
        assert made.levels is not None
        shifts = None if made.zeros is None else made.zeros.astype(np.float32)
        return cls(
            torch.from_numpy(_packed(made)).to(device),
            Rounded.of(doubled(made.scales), device),
            None if shifts is None else Rounded.of(doubled(shifts, centred=False), device),
            scheme,
            made.columns,
            torch.from_numpy(made.levels).to(device),
        )

    def take(self, rows: torch.Tensor) -> torch.Tensor:
        return self._codes().take(rows)

    def product(self, x: torch.Tensor) -> torch.Tensor:
        return product(x, self)

    def first(self, rows: int) -> Codes:
        return self._codes().first(rows)

    def blocks(self, dtype: torch.dtype) -> Iterator[torch.Tensor]:
        return self._codes().blocks(dtype)

    def _codes(self) -> Codes:
        shifts = None if self.shifts is None else self.shifts.values()
        return Codes(
            self.codes, self.scales.values(), shifts, self.scheme, self.columns, self.levels
        )


@dataclass(frozen=True, slots=True)
class Rounded:
    """`edge.quant.doubled.Doubled` on a device."""

    codes: torch.Tensor
    largest: torch.Tensor
    like: Doubled
    levels: torch.Tensor

    @classmethod
    def of(cls, numbers: Doubled, device: torch.device) -> "Rounded":
        codes, largest = (torch.from_numpy(a).to(device) for a in (numbers.codes, numbers.largest))
        return cls(codes, largest, numbers, torch.from_numpy(levels()).to(device))

    def values(self) -> torch.Tensor:
        units = self.largest.repeat_interleave(BLOCK)[: len(self.codes)]
        return (self.levels[self.codes.int()] * units + self.like.mean).view(self.like.shape)


def product(x: torch.Tensor, weight: Blocks) -> torch.Tensor:
    """x times a weight, transposed: [..., K] -> [..., N], in the type that autocast asks for, or else in x's."""
    device = x.device.type
    on = torch.is_autocast_enabled(device)
    narrow = torch.get_autocast_dtype(device) if on else x.dtype
    out: torch.Tensor = _Product.apply(x, weight, narrow)  # type: ignore[no-untyped-call]
    return out


def floats(weight: Blocks) -> torch.Tensor:
    """The whole of it, in float32."""
    return torch.cat(list(weight.blocks(torch.float32)))


class _Product(torch.autograd.Function):
    """Of a weight that has no gradient: what comes back is multiplied with it, read anew."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: Blocks, dtype: torch.dtype) -> torch.Tensor:
        ctx.weight, ctx.kind = weight, x.dtype
        narrow = x.to(dtype)
        parts = [F.linear(narrow, block) for block in weight.blocks(dtype)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (grad,), at, parts = grads, 0, []
        for block in ctx.weight.blocks(grad.dtype):
            parts.append(grad[..., at : at + len(block)] @ block)
            at += len(block)
        out = parts[0]
        for part in parts[1:]:
            out = wide(out) + part
        return out.to(ctx.kind), None, None


def _packed(made: QTensor) -> U8:
    """Two codes a byte, the first in its low half."""
    return (made.codes[:, 0::2] | made.codes[:, 1::2] << 4).astype(np.uint8)
