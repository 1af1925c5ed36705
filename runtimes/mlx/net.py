"""Networks that are no decoders on MLX: its kernels behind `edge.ops.NetOps`.

B batch, T rows, S keys, H heads, W head width, C channels, O channels out, k kernel.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

import mlx.core as mx

from edge.nn.composed import Composed
from edge.ops import Act, Fold, Pair
from edge.typing import F32
from edge_runtimes.mlx.shared import SharedMlxOps

Element = Callable[[mx.array], mx.array]
ACTS: Mapping[Act, Element] = {
    "gelu": lambda x: 0.5 * x * (1 + mx.erf(x * math.sqrt(0.5))),
    "gelu_tanh": lambda x: (
        0.5 * x * (1 + mx.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
    ),
    "relu": lambda x: mx.maximum(x, 0.0),
    "silu": lambda x: x * mx.sigmoid(x),
    "mish": lambda x: x * mx.tanh(mx.logaddexp(x, 0.0)),
    "tanh": mx.tanh,
    "sigmoid": mx.sigmoid,
    "softplus": lambda x: mx.logaddexp(x, 0.0),
    "exp": mx.exp,
    "log": mx.log,
    "sqrt": mx.sqrt,
    "sin": mx.sin,
    "cos": mx.cos,
    "abs": mx.abs,
}
PAIRS: Mapping[Pair, Callable[[mx.array, mx.array | float], mx.array]] = {
    "add": mx.add,
    "sub": mx.subtract,
    "mul": mx.multiply,
    "div": mx.divide,
    "max": mx.maximum,
    "min": mx.minimum,
    "at_least": lambda x, y: mx.greater_equal(x, y).astype(x.dtype),
}
FOLDS: Mapping[Fold, Callable[..., mx.array]] = {"sum": mx.sum, "mean": mx.mean, "max": mx.max}


@dataclass(slots=True)
class MlxNetOps(SharedMlxOps, Composed[mx.array]):
    """Holds nothing of a call, so that one serves all calls of a network."""

    constants: dict[str, mx.array] = field(default_factory=dict)

    def param(self, name: str) -> mx.array:
        return self.weights.value(name)

    def const(self, key: str, shape: tuple[int, ...], make: Callable[[], F32]) -> mx.array:
        if key not in self.constants:
            self.constants[key] = mx.array(make()).astype(self.weights.dtype)
        found = self.constants[key]
        assert found.shape == shape, f"{key}: {found.shape}, not {shape}"
        return found

    def conv(
        self, x: mx.array, name: str, *, stride: int = 1, pad: tuple[int, int] = (0, 0),
        dilation: int = 1, groups: int = 1, bias: bool = True,
    ) -> mx.array:  # fmt: skip
        axes = x.ndim - 2
        out = mx.conv_general(
            x,
            self.weights.kernel(name),
            stride=stride,
            padding=([pad[0]] * axes, [pad[1]] * axes),
            kernel_dilation=dilation,
            groups=groups,
        )
        return out + self.weights.value(f"{name}.bias") if bias else out

    def matmul(self, a: mx.array, b: mx.array) -> mx.array:
        return a @ b

    def attention(
        self, q: mx.array, k: mx.array, v: mx.array, *, heads: int, scale: float | None = None,
        keep: mx.array | None = None, bias: mx.array | None = None,
    ) -> mx.array:  # fmt: skip
        q, k, v = (a.reshape(*a.shape[:2], heads, -1).transpose(0, 2, 1, 3) for a in (q, k, v))
        by = q.shape[-1] ** -0.5 if scale is None else scale
        out = mx.fast.scaled_dot_product_attention(q, k, v, scale=by, mask=_mask(keep, bias))
        return out.transpose(0, 2, 1, 3).flatten(2)  # [B, T, H W]

    def lstm(self, x: mx.array, name: str) -> mx.array:
        into, state, bias = (
            self.weights.value(f"{name}.{part}") for part in ("in", "state", "bias")
        )
        gates, out = x @ into.T + bias, []
        h = c = mx.zeros((x.shape[0], state.shape[1]), dtype=gates.dtype)
        for t in range(x.shape[1]):
            i, f, o, z = mx.split(gates[:, t] + h @ state.T, 4, axis=1)
            c = mx.sigmoid(f) * c + mx.sigmoid(i) * mx.tanh(z)
            h = mx.sigmoid(o) * mx.tanh(c)
            out.append(h)
        return mx.stack(out, axis=1)

    def act(self, x: mx.array, kind: Act) -> mx.array:
        return ACTS[kind](x)

    def pair(self, kind: Pair, x: mx.array, y: mx.array | float) -> mx.array:
        return PAIRS[kind](x, y)

    def softmax(self, x: mx.array) -> mx.array:
        return mx.softmax(x, axis=-1)

    def fold(self, x: mx.array, kind: Fold, axis: int) -> mx.array:
        return FOLDS[kind](x, axis=axis, keepdims=True)

    def reshape(self, x: mx.array, *sizes: int) -> mx.array:
        return x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(sizes)])

    def transpose(self, x: mx.array, *order: int) -> mx.array:
        return x.transpose(*order)

    def concat(self, *xs: mx.array, axis: int = -1) -> mx.array:
        return mx.concatenate(list(xs), axis=axis)

    def split(self, x: mx.array, *sizes: int, axis: int = -1) -> tuple[mx.array, ...]:
        assert sum(sizes) == x.shape[axis], f"parts of {sizes} of {x.shape}"
        return tuple(mx.split(x, list(accumulate(sizes))[:-1], axis=axis))

    def pad(self, x: mx.array, axis: int, before: int, after: int) -> mx.array:
        widths = [(0, 0)] * x.ndim
        widths[axis] = max(before, 0), max(after, 0)
        cut = [slice(None)] * x.ndim
        cut[axis] = slice(max(-before, 0), x.shape[axis] - max(-after, 0))
        return mx.pad(x[tuple(cut)], widths)

    def spread(self, x: mx.array, like: mx.array) -> mx.array:
        return mx.broadcast_to(x, (like.shape[0], *x.shape))

    def as_many(self, x: mx.array, like: mx.array) -> mx.array:
        return x[: like.shape[1]]

    def take(self, x: mx.array, rows: mx.array) -> mx.array:
        return mx.take_along_axis(x, rows[:, :, None], axis=1)

    def top_k(self, x: mx.array, k: int) -> tuple[mx.array, mx.array]:
        rows = mx.argsort(-x, axis=-1)[..., :k]
        return mx.take_along_axis(x, rows, axis=-1), rows

    def cumsum(self, x: mx.array) -> mx.array:
        return mx.cumsum(x, axis=-1)


def _mask(keep: mx.array | None, bias: mx.array | None) -> mx.array | None:
    """What MLX's attention takes: keys that count [B, 1, 1, S], or what is added to scores."""
    if keep is None:
        return bias
    seen = keep[:, None, None] > 0
    return seen if bias is None else mx.where(seen, bias, float("-inf"))
