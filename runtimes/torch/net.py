"""Networks that are no decoders on torch: differentiable, on whatever type of float x has.

B batch, T rows, S keys, H heads, W head width, C channels, Q queries, P points.
"""

from collections.abc import Callable, Collection, Mapping

import torch
import torch.nn.functional as F

from edge.nn.composed import Composed
from edge.nn.resizing import Rule
from edge.ops import Act, Fold, Pair
from edge.typing import F32
from edge_runtimes.torch.shared import Matrix, SharedOps, wide

Tensor = torch.Tensor

ACTS: Mapping[Act, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "mish": F.mish,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "sin": torch.sin,
    "cos": torch.cos,
    "abs": torch.abs,
}
PAIRS: Mapping[Pair, Callable[[Tensor, Tensor | float], Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "max": lambda x, y: torch.maximum(x, y) if isinstance(y, Tensor) else x.clamp(min=y),
    "min": lambda x, y: torch.minimum(x, y) if isinstance(y, Tensor) else x.clamp(max=y),
    "at_least": lambda x, y: (x >= y).to(x.dtype),
}
FOLDS: Mapping[Fold, Callable[[Tensor, int], Tensor]] = {
    "sum": lambda x, axis: x.sum(axis, keepdim=True),
    "mean": lambda x, axis: x.mean(axis, keepdim=True),
    "max": lambda x, axis: x.amax(axis, keepdim=True),
}


class TorchNetOps(SharedOps, Composed[Tensor]):
    """`edge.nn.composed.Composed` over weights by name.

    Products take x in `dtype`, that of the matrices, or else as it comes; what is added, normed or learned
    as a vector stays as wide as it is. Constants lie on `device`.
    """

    def __init__(
        self,
        weights: Mapping[str, Tensor | Matrix],
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | None = None,
        stacks: bool = False,
    ) -> None:
        super().__init__(weights, dtype=dtype, stacks=stacks)
        self.device = device
        self._consts: dict[str, Tensor] = {}

    def linear(self, x: Tensor, *names: str, biased: Collection[str] = ()) -> tuple[Tensor, ...]:
        return super().linear(x.to(self._narrow(x)), *names, biased=biased)

    def param(self, name: str) -> Tensor:
        return wide(self._vector(name))

    def const(self, key: str, shape: tuple[int, ...], make: Callable[[], F32]) -> Tensor:
        if key not in self._consts:
            with torch.inference_mode(False):  # whoever asks first: training may ask next
                self._consts[key] = torch.from_numpy(make()).to(self.device)
        found = self._consts[key]
        assert found.shape == shape, f"{key}: {tuple(found.shape)}, not {shape}"
        return found

    def conv(
        self, x: Tensor, name: str, *, stride: int = 1, pad: tuple[int, int] = (0, 0),
        dilation: int = 1, groups: int = 1, bias: bool = True,
    ) -> Tensor:  # fmt: skip
        weight = self._vector(name)
        axes = weight.ndim - 2
        added = self._vector(f"{name}.bias").to(weight.dtype) if bias else None
        x = x.to(weight.dtype).movedim(-1, 1)  # torch wants channels second
        same = pad[0] == pad[1]  # else the zeros are put there before
        x = x if same else F.pad(x, pad * axes)
        call = F.conv1d if axes == 1 else F.conv2d
        out = call(
            x,
            weight,
            added,
            stride=stride,
            padding=pad[0] if same else 0,
            dilation=dilation,
            groups=groups,
        )
        return out.movedim(1, -1)

    def matmul(self, a: Tensor, b: Tensor) -> Tensor:
        kind = torch.promote_types(a.dtype, b.dtype)  # a constant is in float32
        return torch.matmul(a.to(kind), b.to(kind))

    def attention(
        self, q: Tensor, k: Tensor, v: Tensor, *, heads: int, scale: float | None = None,
        keep: Tensor | None = None, bias: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        q, k, v = (
            a.to(self._narrow(a)).reshape(*a.shape[:2], heads, -1).transpose(1, 2)
            for a in (q, k, v)
        )
        mask = None if bias is None else bias.to(q.dtype)
        if keep is not None:
            # Of four dimensions: with fewer, torch widens and repeats all keys instead.
            kept = keep[:, None, None] > 0  # [B, 1, 1, S]
            mask = kept if mask is None else mask.masked_fill(~kept, float("-inf"))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)  # [B, H, T, W]
        return out.transpose(1, 2).flatten(2)

    def lstm(self, x: Tensor, name: str) -> Tensor:
        into, state, bias = (self.param(f"{name}.{part}") for part in ("in", "state", "bias"))

        def ordered(weight: Tensor) -> Tensor:
            i, f, o, z = weight.chunk(4)
            return torch.cat((i, f, z, o))

        every = [ordered(w) for w in (into, state, bias, torch.zeros_like(bias))]
        start = into.new_zeros(1, len(x), state.shape[1])
        out, _, _ = torch.lstm(
            x.to(into.dtype), (start, start), every,
            has_biases=True, num_layers=1, dropout=0.0, train=False, bidirectional=False, batch_first=True,
        )  # fmt: skip
        return out

    def act(self, x: Tensor, kind: Act) -> Tensor:
        return ACTS[kind](x)

    def pair(self, kind: Pair, x: Tensor, y: Tensor | float) -> Tensor:
        return PAIRS[kind](x, y)

    def softmax(self, x: Tensor) -> Tensor:
        return x.softmax(-1)

    def fold(self, x: Tensor, kind: Fold, axis: int) -> Tensor:
        return FOLDS[kind](x, axis)

    def reshape(self, x: Tensor, *sizes: int) -> Tensor:
        return x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(sizes)])

    def transpose(self, x: Tensor, *order: int) -> Tensor:
        return x.permute(order)

    def concat(self, *xs: Tensor, axis: int = -1) -> Tensor:
        return torch.cat(xs, dim=axis)

    def split(self, x: Tensor, *sizes: int, axis: int = -1) -> tuple[Tensor, ...]:
        return torch.split_with_sizes(x, sizes, dim=axis)

    def pad(self, x: Tensor, axis: int, before: int, after: int) -> Tensor:
        later = x.ndim - 1 - axis % x.ndim  # torch counts from the last axis
        return F.pad(x, [0, 0] * later + [before, after])

    def spread(self, x: Tensor, like: Tensor) -> Tensor:
        return x.expand(len(like), *x.shape)

    def as_many(self, x: Tensor, like: Tensor) -> Tensor:
        return x[: like.shape[1]]

    def take(self, x: Tensor, rows: Tensor) -> Tensor:
        return x.gather(1, rows.long()[:, :, None].expand(-1, -1, x.shape[-1]))

    def top_k(self, x: Tensor, k: int) -> tuple[Tensor, Tensor]:
        values, rows = x.sort(dim=-1, descending=True, stable=True)  # of equals the first, as numpy
        return values[..., :k], rows[..., :k]

    def cumsum(self, x: Tensor) -> Tensor:
        return x.cumsum(-1)

    def group_norm(self, x: Tensor, name: str, *, groups: int, channels: int, eps: float) -> Tensor:
        weight, bias = self._vector(name), self._vector(f"{name}.bias")
        out = F.group_norm(wide(x).movedim(-1, 1), groups, weight, bias, eps)
        return out.movedim(1, -1)

    def resize(
        self, x: Tensor, start: tuple[int, int, int], stop: tuple[int, int], rule: Rule
    ) -> Tensor:
        kind, _, aligned = rule.partition("-")
        if kind == "bicubic":  # torch's own takes seven times as long as products on a CPU
            return super().resize(x, start, stop, rule)
        out = F.interpolate(x.movedim(-1, 1), stop, mode=kind, align_corners=bool(aligned))
        return out.movedim(1, -1)

    def sample(
        self, v: Tensor, x: Tensor, y: Tensor, weights: Tensor,
        *, size: tuple[int, int, int], heads: int, points: int,
    ) -> Tensor:  # fmt: skip
        rows, columns, channels = size
        maps = wide(v).reshape(-1, rows, columns, heads, channels // heads)
        maps = maps.permute(0, 3, 4, 1, 2).flatten(0, 1)  # [B heads, C / heads, H, W]
        px, py, share = (
            wide(a).reshape(*a.shape[:2], heads, points).transpose(1, 2).flatten(0, 1)
            for a in (x, y, weights)
        )  # [B heads, Q, P]
        # torch wants places from the map's left edge, -1, to its right one, 1.
        grid = torch.stack(((2 * px + 1) / columns - 1, (2 * py + 1) / rows - 1), dim=-1)
        seen = F.grid_sample(maps, grid, padding_mode="zeros", align_corners=False)
        out = (seen * share[:, None]).sum(-1)  # [B heads, C / heads, Q]
        return out.reshape(len(v), channels, -1).mT.to(v.dtype)
