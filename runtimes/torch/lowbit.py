"""Low-bit matrices: dequantized a block of rows at a time where they are used, or multiplied by
torch's own 4-bit kernel.

N rows, K columns, J groups of a row, T rows of x.
"""

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace
from functools import cache

import torch
import torch.nn.functional as F

from edge.quant import rotation
from edge.quant.tensor import Scheme
from edge.typing import F32

_BLOCK = {"cpu": 1 << 20, "cuda": 1 << 26}  # weights that are floats at a time
_DENSE_ROWS = 192  # of x, from which dequantizing once is faster than the kernel
_PACKED_AT_ONCE = 4096  # rows; a multiple of every layout's own blocks


@dataclass(frozen=True, slots=True)
class Codes:
    """A stored matrix: codes [N, J group bits / 8] as bytes; scales [N, J]; zeros [N, J], or none; levels
    [2^bits], or none: codes are numbers.
    """

    codes: torch.Tensor
    scales: torch.Tensor
    zeros: torch.Tensor | None
    scheme: Scheme
    columns: int  # K
    levels: torch.Tensor | None = None

    def take(self, rows: torch.Tensor) -> torch.Tensor:
        flat = rows.flatten()
        zeros = None if self.zeros is None else self.zeros[flat]
        made = self._floats(self.codes[flat], self.scales[flat], zeros, torch.float32)
        return made.view(*rows.shape, -1)

    def product(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([F.linear(x, block) for block in self.blocks(x.dtype)], dim=-1)

    def first(self, rows: int) -> "Codes":
        zeros = None if self.zeros is None else self.zeros[:rows]
        return replace(self, codes=self.codes[:rows], scales=self.scales[:rows], zeros=zeros)

    def blocks(self, dtype: torch.dtype) -> Iterator[torch.Tensor]:
        """The weights of a type, some rows at a time: [rows, K]."""
        step = max(1, _BLOCK[self.codes.device.type] // self.columns)
        for row in range(0, len(self.codes), step):
            rows = slice(row, row + step)
            zeros = None if self.zeros is None else self.zeros[rows]
            yield self._floats(self.codes[rows], self.scales[rows], zeros, dtype)

    def _floats(
        self,
        codes: torch.Tensor,
        scales: torch.Tensor,
        zeros: torch.Tensor | None,
        dtype: torch.dtype,
    ) -> torch.Tensor:
        """What codes mean, in float32 first: [n, J group bits / 8] -> [n, K]."""
        scheme = self.scheme
        each = unpacked(codes, scheme.bits).view(len(codes), scales.shape[1], -1)
        wide = each.float() if self.levels is None else self.levels.float()[each.int()]
        scale = scales.float()[:, :, None]
        if scheme.zero == "levels":
            wide.mul_(scale)
        elif zeros is None:
            wide.sub_(1 << (scheme.bits - 1)).mul_(scale)
        elif scheme.zero == "integer":
            wide.sub_(zeros.float()[:, :, None]).mul_(scale)
        else:
            wide.mul_(scale).add_(zeros.float()[:, :, None])
        return wide.view(len(codes), -1)[:, : self.columns].to(dtype)


@dataclass(frozen=True, slots=True)
class Sum:
    """Weights that are sums of two: the second of the first columns in an order [K], if there is one."""

    base: Codes
    added: Codes
    order: torch.Tensor | None

    def take(self, rows: torch.Tensor) -> torch.Tensor:
        made, more = self.base.take(rows), self.added.take(rows)
        made[..., : more.shape[-1]] += more
        if self.order is None:
            return made
        out = torch.empty_like(made)
        out[..., self.order] = made
        return out

    def product(self, x: torch.Tensor) -> torch.Tensor:
        if self.order is not None:
            x = x[..., self.order]
        return self.base.product(x) + self.added.product(x[..., : self.added.columns])

    def first(self, rows: int) -> "Sum":
        return Sum(self.base.first(rows), self.added.first(rows), self.order)


@dataclass(frozen=True, slots=True)
class Rotated:
    """Weights [N, K] whose columns are rotated (`edge.quant.rotation`), as what they multiply is here."""

    base: "Codes | Int4Product"
    signs: torch.Tensor
    factors: tuple[torch.Tensor, ...]

    @classmethod
    def of(
        cls, base: "Codes | Int4Product", columns: int, dtype: torch.dtype, device: torch.device
    ) -> "Rotated":
        def there(values: F32) -> torch.Tensor:
            return torch.from_numpy(values.copy()).to(device, dtype)

        parts = tuple(there(matrix) for matrix in rotation.matrices(columns))
        return cls(base, there(rotation.signs(columns)), parts)

    def take(self, rows: torch.Tensor) -> torch.Tensor:
        made = self.base.take(rows)
        return rotation.multiplied(made, [matrix.T for matrix in self.factors]) * self.signs

    def product(self, x: torch.Tensor) -> torch.Tensor:
        return self.base.product(rotation.multiplied(x * self.signs, self.factors))

    def first(self, rows: int) -> "Rotated":
        return replace(self, base=self.base.first(rows))


@dataclass(frozen=True, slots=True)
class Rounded:
    """Weights that multiply what is rounded to so many bits, with a scale for each token."""

    base: Codes
    bits: int

    def take(self, rows: torch.Tensor) -> torch.Tensor:
        return self.base.take(rows)

    def product(self, x: torch.Tensor) -> torch.Tensor:
        most = (1 << self.bits - 1) - 1
        largest = x.abs().amax(-1, keepdim=True)
        inverse = torch.where(largest > 0, most / largest, 0)
        return self.base.product((x * inverse).round() * (largest / most))

    def first(self, rows: int) -> "Rounded":
        return replace(self, base=self.base.first(rows))


class Int4Product:
    """Codes for torch's 4-bit kernel, which takes bfloat16 scales; 8-bit codes as their two halves.

    With c = 16 h + l: (c - 128) s = (h - 8) 16 s + (l - 8) s + 8 s, where each scale and the last term
    are bfloat16 exactly. What a zero or a minimum of a group's own adds is a small product of the
    sums of x by group, in float32.
    """

    def __init__(self, codes: Codes) -> None:
        self.table = codes  # its pages stay on the disk until a row is asked for
        scheme, scales = codes.scheme, codes.scales
        assert scheme.group is not None
        self._group = scheme.group
        middle = scheme.zero == "middle"
        if scheme.bits == 4:
            parts, factors, zeros = [slice(0, 4)], [1.0], [0.0]
        else:
            parts, factors, zeros = [slice(4, 8), slice(0, 4)], [16.0, 1.0], [0.0, 8.0 * middle]
        self._terms = [
            (_packed(codes, part), _scales_and_zeros(scales * factor, scales * zero))
            for part, factor, zero in zip(parts, factors, zeros, strict=True)
        ]
        self._common = None if middle else _common(codes)  # [J, N]

    def take(self, rows: torch.Tensor) -> torch.Tensor:
        return self.table.take(rows)

    def first(self, rows: int) -> "Int4Product":
        """Whole blocks, whose scales alone are copied."""
        block = _block_rows()
        count = -(-rows // block) * block if block else len(self.table.codes)
        if count >= len(self.table.codes):
            return self
        other = copy(self)
        other.table = self.table.first(count)
        other._terms = [
            (packed[:count], numbers[:, :count].contiguous()) for packed, numbers in self._terms
        ]
        other._common = None if self._common is None else self._common[:, :count]
        return other

    def product(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.flatten(0, -2).contiguous()  # [T, K]
        if len(flat) >= _DENSE_ROWS:
            return self.table.product(x)
        outs = [
            torch.ops.aten._weight_int4pack_mm_for_cpu(flat, packed, self._group, numbers)
            for packed, numbers in self._terms
        ]
        out: torch.Tensor = outs[0] if len(outs) == 1 else outs[0].float() + outs[1].float()
        if self._common is not None:
            sums = flat.float().view(len(flat), -1, self._group).sum(-1)  # [T, J]
            out = out.float() + sums @ self._common
        return out.to(x.dtype).view(*x.shape[:-1], -1)


def has_kernel(codes: Codes, dtype: torch.dtype) -> bool:
    """Whether torch's 4-bit kernel computes these weights exactly, and fast: in bfloat16 on a CPU."""
    scheme = codes.scheme
    return (
        dtype == torch.bfloat16
        and codes.codes.device.type == "cpu"
        and scheme.number == "bf16"
        and scheme.bits in (4, 8)
        and codes.levels is None
        and scheme.group is not None
        and codes.columns % scheme.group == 0
        and len(codes.codes) % 16 == 0
    )


def unpacked(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """Bytes [N, K bits / 8] -> codes [N, K]."""
    if bits == 8:
        return codes
    if bits == 4:
        return torch.stack((codes & 15, codes >> 4), dim=-1).flatten(1)
    if bits == 2:
        return torch.stack([codes >> at & 3 for at in (0, 2, 4, 6)], dim=-1).flatten(1)
    # Eight codes fill `bits` bytes: each bit by itself, and a code of its own ones.
    places = torch.arange(8, dtype=torch.uint8, device=codes.device)
    each = (codes[:, :, None] >> places & 1).view(len(codes), -1, bits)
    return (each << places[:bits]).sum(dim=-1, dtype=torch.uint8)


def _packed(codes: Codes, bits: slice) -> torch.Tensor:
    """Four bits of each code in the kernel's own layout, [N, K / 2], made some rows at a time."""
    block, out = _block_rows(), []
    for row in range(0, len(codes.codes), _PACKED_AT_ONCE):
        raw = codes.codes[row : row + _PACKED_AT_ONCE]
        if codes.scheme.bits == 8:
            half = (raw >> bits.start) & 15
            raw = half[:, 0::2] | half[:, 1::2] << 4
        whole = len(raw) - len(raw) % block if block else 0
        if whole:
            out.append(_interleaved(raw[:whole], block))
        if whole < len(raw):
            out.append(_converted(raw[whole:]))
    return torch.cat(out)


@cache
def _block_rows() -> int:
    """Rows that this processor's kernel interleaves, found by trying; 0 where it does it otherwise."""
    probe = torch.arange(64 * 32, dtype=torch.int32).mul(37).to(torch.uint8).view(64, 32)
    want = _converted(probe)
    return next((rows for rows in (64, 32) if torch.equal(_interleaved(probe, rows), want)), 0)


def _interleaved(packed: torch.Tensor, rows: int) -> torch.Tensor:
    """What `_converted` makes of blocks of so many rows, without an int32 a code: for each column, a row
    in the low half of a byte with the row half a block below in the high one.
    """
    blocks, pairs = len(packed) // rows, packed.shape[1]
    low, high = packed.view(blocks, 2, rows // 2, pairs).unbind(1)
    even, odd = (low & 15) | (high << 4), (low >> 4) | (high & 0xF0)
    return torch.stack((even, odd), dim=1).permute(0, 3, 1, 2).reshape(len(packed), pairs)


def _converted(packed: torch.Tensor) -> torch.Tensor:
    """By torch itself: two codes a byte, [N, K / 2] -> the kernel's layout."""
    made: torch.Tensor = torch.ops.aten._convert_weight_to_int4pack_for_cpu(
        unpacked(packed, 4).int(), 1
    )
    return made


def _scales_and_zeros(scales: torch.Tensor, zeros: torch.Tensor) -> torch.Tensor:
    """[N, J] twice -> [J, N, 2]."""
    return torch.stack((scales.T, zeros.T), dim=-1).contiguous()


def _common(codes: Codes) -> torch.Tensor:
    """What all weights of a group have in common, once their middle code is taken off: [J, N]."""
    assert codes.zeros is not None
    middle, scales = 8 if codes.scheme.bits == 4 else 136, codes.scales.float()
    if codes.scheme.zero == "integer":
        return ((middle - codes.zeros.float()) * scales).T.contiguous()
    return (middle * scales + codes.zeros.float()).T.contiguous()
