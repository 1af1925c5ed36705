"""Networks that are no decoders on numpy in float32: what every target is compared with.

B batch, T rows, S keys, H heads, W head width, C channels, O channels out, k kernel.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np

from edge.net import NetSpec, batch_of, sizes_of
from edge.nn.composed import Composed
from edge.nn.networks import define
from edge.ops import Act, Fold, Pair
from edge.spec import Norm
from edge.typing import F32, I64, AnyArray
from edge_runtimes.reference.error_function import erf
from edge_runtimes.reference.ops import layer_norm, rms_norm, silu

ACTS: Mapping[Act, Callable[[F32], AnyArray]] = {
    "gelu": lambda x: 0.5 * x * (1 + erf(x * np.sqrt(0.5))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: np.maximum(x, 0),
    "silu": silu,
    "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softplus": lambda x: np.logaddexp(0, x),
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "sin": np.sin,
    "cos": np.cos,
    "abs": np.abs,
}
PAIRS: Mapping[Pair, Callable[[F32, F32 | float], AnyArray]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
    "at_least": lambda x, y: x >= y,
}
_ONE = np.ones(1, np.float32)
FOLDS: Mapping[Fold, Callable[..., AnyArray]] = {"sum": np.sum, "mean": np.mean, "max": np.max}


@dataclass(frozen=True, slots=True)
class ReferenceNet:
    """`edge.protocols.Net` over any source of float32 weights."""

    spec: NetSpec
    weight: Callable[[str], F32]
    product: Callable[[F32, str], F32] | None = None

    def __call__(self, **inputs: AnyArray) -> dict[str, F32]:
        config = self.spec.config
        sizes = sizes_of(config, {name: x.shape for name, x in inputs.items()})
        batch = sizes.get(batch_of(config) or "", 1)
        return dict(define(NumpyNetOps(self.weight, self.product, batch), self.spec, **inputs))


@dataclass(slots=True)
class NumpyNetOps(Composed[AnyArray]):
    """`weight(name)` gives a weight; `product(x, name)`: x [batch, rows, K] times it, transposed, if not
    plainly: it may round each of the batch by itself.
    """

    weight: Callable[[str], F32]
    product: Callable[[F32, str], F32] | None = None
    batch: int = 1

    def embed(self, name: str, tokens: I64) -> F32:
        return self.weight(name)[tokens]

    def add_norm(self, x: F32, d: F32 | None, name: str, norm: Norm) -> tuple[F32, F32]:
        x = x if d is None else x + d
        return x, self.norm(x, name, norm)

    def add(self, x: F32, d: F32) -> F32:
        return x + d

    def linear(self, x: F32, *names: str, biased: Collection[str] = ()) -> tuple[F32, ...]:
        return tuple(
            self._product(x, name) + (self.weight(f"{name}.bias") if name in biased else 0)
            for name in names
        )

    def param(self, name: str) -> F32:
        return self.weight(name)

    def const(self, key: str, shape: tuple[int, ...], make: Callable[[], F32]) -> F32:
        found = make()
        assert found.shape == shape, f"{key}: {found.shape}, not {shape}"
        return found

    def conv(
        self, x: F32, name: str, *, stride: int = 1, pad: tuple[int, int] = (0, 0),
        dilation: int = 1, groups: int = 1, bias: bool = True,
    ) -> F32:  # fmt: skip
        out = convolved(
            x, self.weight(name), stride=stride, pad=pad, dilation=dilation, groups=groups
        )
        return out + self.weight(f"{name}.bias") if bias else out

    def matmul(self, a: F32, b: F32) -> F32:
        return np.matmul(a, b)

    def attention(
        self, q: F32, k: F32, v: F32, *, heads: int, scale: float | None = None,
        keep: F32 | None = None, bias: F32 | None = None,
    ) -> F32:  # fmt: skip
        q, k, v = (np.moveaxis(a.reshape(*a.shape[:2], heads, -1), 2, 1) for a in (q, k, v))
        by = q.shape[-1] ** -0.5 if scale is None else scale
        scores = q @ np.swapaxes(k, 2, 3) * np.float32(by)  # [B, H, T, S]
        if bias is not None:
            scores = scores + bias
        if keep is not None:
            scores = np.where(keep[:, None, None] > 0, scores, -np.inf)
        out = np.moveaxis(self.softmax(scores) @ v, 1, 2)
        return out.reshape(*out.shape[:2], -1)

    def lstm(self, x: F32, name: str) -> F32:
        weights = (self.weight(f"{name}.{part}") for part in ("in", "state", "bias"))
        return remembered(x, *weights)[0]

    def act(self, x: F32, kind: Act) -> F32:
        with np.errstate(over="ignore"):  # exp of a large -x is infinite, and x / inf is right
            return ACTS[kind](x).astype(np.float32)

    def pair(self, kind: Pair, x: F32, y: F32 | float) -> F32:
        return PAIRS[kind](x, y).astype(np.float32)

    def norm(self, x: F32, name: str | None, norm: Norm) -> F32:
        weight = _ONE if name is None else self.weight(name)
        if norm.kind == "rms":
            return rms_norm(x, weight, norm.eps)
        bias = 0 * _ONE if name is None else self.weight(f"{name}.bias")
        return layer_norm(x, weight, bias, norm.eps)

    def softmax(self, x: F32) -> F32:
        weights = np.exp(x - x.max(axis=-1, keepdims=True))
        out: F32 = weights / weights.sum(axis=-1, keepdims=True)
        return out

    def fold(self, x: F32, kind: Fold, axis: int) -> F32:
        return FOLDS[kind](x, axis=axis, keepdims=True)

    def reshape(self, x: F32, *sizes: int) -> F32:
        return x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(sizes)])

    def transpose(self, x: F32, *order: int) -> F32:
        return x.transpose(order)

    def concat(self, *xs: F32, axis: int = -1) -> F32:
        return np.concatenate(xs, axis=axis)

    def split(self, x: F32, *sizes: int, axis: int = -1) -> tuple[F32, ...]:
        assert sum(sizes) == x.shape[axis], f"parts of {sizes} of {x.shape}"
        return tuple(np.split(x, np.cumsum(sizes)[:-1], axis=axis))

    def pad(self, x: F32, axis: int, before: int, after: int) -> F32:
        widths = [(0, 0)] * x.ndim
        widths[axis] = max(before, 0), max(after, 0)
        cut = [slice(None)] * x.ndim
        cut[axis] = slice(max(-before, 0), x.shape[axis] - max(-after, 0))
        return np.pad(x[tuple(cut)], widths)

    def spread(self, x: F32, like: F32) -> F32:
        return np.broadcast_to(x, (like.shape[0], *x.shape))

    def as_many(self, x: F32, like: F32) -> F32:
        return x[: like.shape[1]]

    def take(self, x: F32, rows: I64) -> F32:
        return np.take_along_axis(x, rows[:, :, None], axis=1)

    def top_k(self, x: F32, k: int) -> tuple[F32, I64]:
        rows = np.argsort(-x, axis=-1, kind="stable")[..., :k]
        return np.take_along_axis(x, rows, axis=-1), rows

    def cumsum(self, x: F32) -> F32:
        return np.cumsum(x, axis=-1, dtype=np.float32)

    def _product(self, x: F32, name: str) -> F32:
        if self.product is None:
            return x @ self.weight(name).T
        out = self.product(x.reshape(self.batch, -1, x.shape[-1]), name)
        return out.reshape(*x.shape[:-1], -1)


def remembered(x: F32, into: F32, state: F32, bias: F32) -> tuple[F32, F32, F32]:
    """x [B, T, C] with weights [4 D, C], [4 D, D] and [4 D] -> what an LSTM gives [B, T, D], and its last row and
    cell.
    """
    gates = x @ into.T + bias
    h = c = np.zeros((len(x), state.shape[1]), np.float32)
    out = np.empty((*x.shape[:2], state.shape[1]), np.float32)
    for t in range(x.shape[1]):
        i, f, o, z = np.split(gates[:, t] + h @ state.T, 4, axis=1)
        c = (_sigmoid(f) * c + _sigmoid(i) * np.tanh(z)).astype(np.float32)
        h = (_sigmoid(o) * np.tanh(c)).astype(np.float32)
        out[:, t] = h
    return out, h, c


def _sigmoid(x: F32) -> F32:
    with np.errstate(over="ignore"):
        found = 1 / (1 + np.exp(-x))
    return found.astype(np.float32)


def convolved(
    x: F32, weight: F32, *, stride: int, pad: tuple[int, int], dilation: int, groups: int
) -> F32:
    """One product for each tap of the kernel: x [B, T, C] or [B, H, W, C] with [O, C / groups, k...]."""
    axes = weight.ndim - 2
    x = np.pad(x, [(0, 0), *[pad] * axes, (0, 0)])
    kernel = weight.shape[2:]
    sizes = [(x.shape[1 + i] - dilation * (k - 1) - 1) // stride + 1 for i, k in enumerate(kernel)]
    out = np.zeros((x.shape[0], *sizes, weight.shape[0]), np.float32)
    high, wide = weight.shape[0] // groups, weight.shape[1]
    for tap in np.ndindex(*kernel):
        starts = [dilation * place for place in tap]
        window = x[
            (
                slice(None),
                *(
                    slice(s, s + stride * (n - 1) + 1, stride)
                    for s, n in zip(starts, sizes, strict=True)
                ),
            )
        ]
        for group in range(groups):
            rows = slice(group * high, (group + 1) * high)
            columns = slice(group * wide, (group + 1) * wide)
            out[..., rows] += window[..., columns] @ weight[(rows, slice(None), *tap)].T
    return out
