"""Networks that are no decoders as MIL, for iOS 18 and macOS 15.

A size is a number or a symbol that calls choose (RangeDim); an array that is reshaped has one symbol at
most. B batch, T rows, S keys, C channels, H heads, W head width.
"""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge.errors import Unsupported
from edge.nn.composed import Composed
from edge.ops import Act, Fold, Pair
from edge.typing import F32
from edge_converters.coreml.calls import HIDDEN
from edge_converters.coreml.emitter import STAND_INS, Emitter, Var
from edge_converters.coreml.toolkit import is_symbolic, mb

_LINEAR_AXES = 3  # of what `linear` takes at most
ACTS: Mapping[Act, Callable[[Var], Var]] = {
    "gelu": lambda x: mb.gelu(x=x, mode="EXACT"),
    "gelu_tanh": lambda x: mb.gelu(x=x, mode="TANH_APPROXIMATION"),
    "relu": lambda x: mb.relu(x=x),
    "silu": lambda x: mb.silu(x=x),
    "mish": lambda x: mb.mul(x=x, y=mb.tanh(x=mb.softplus(x=x))),
    "tanh": lambda x: mb.tanh(x=x),
    "sigmoid": lambda x: mb.sigmoid(x=x),
    "softplus": lambda x: mb.softplus(x=x),
    "exp": lambda x: mb.exp(x=x),
    "log": lambda x: mb.log(x=x),
    "sqrt": lambda x: mb.sqrt(x=x),
    "sin": lambda x: mb.sin(x=x),
    "cos": lambda x: mb.cos(x=x),
    "abs": lambda x: mb.abs(x=x),
}
PAIRS: Mapping[Pair, str] = {
    "add": "add",
    "sub": "sub",
    "mul": "mul",
    "div": "real_div",
    "max": "maximum",
    "min": "minimum",
    "at_least": "greater_equal",
}
FOLDS: Mapping[Fold, str] = {"sum": "reduce_sum", "mean": "reduce_mean", "max": "reduce_max"}


@dataclass(slots=True, kw_only=True)
class MilNetOps(Emitter, Composed[Var]):
    """Emits into the function that is being built."""

    def linear(self, x: Var, *names: str, biased: Collection[str] = ()) -> tuple[Var, ...]:
        if len(x.shape) <= _LINEAR_AXES:
            return Emitter.linear(self, x, *names, biased=biased)
        *sizes, columns = x.shape
        rows = self._shaped(x, [sizes[0], math.prod(sizes[1:]), columns])
        found = Emitter.linear(self, rows, *names, biased=biased)
        return tuple(self._shaped(out, [*sizes, out.shape[-1]]) for out in found)

    def param(self, name: str) -> Var:
        return self._blob(self.weights.vector(name))

    def const(self, key: str, shape: tuple[int, ...], make: Callable[[], F32]) -> Var:
        kind = STAND_INS[self.number]
        blob = self.weights.constant(
            f"{key} made {self.number}", self.number, shape, lambda: make().astype(kind)
        )
        return self._blob(blob)

    def conv(
        self, x: Var, name: str, *, stride: int = 1, pad: tuple[int, int] = (0, 0),
        dilation: int = 1, groups: int = 1, bias: bool = True,
    ) -> Var:  # fmt: skip
        axes = len(x.shape) - 2
        inner = range(1, axes + 1)
        out = mb.conv(
            x=self.transpose(x, 0, axes + 1, *inner),  # [B, C, ...]
            weight=self.param(name),
            strides=[stride] * axes,
            pad_type="custom",
            pad=[*pad] * axes,
            dilations=[dilation] * axes,
            groups=groups,
            **({"bias": self.param(f"{name}.bias")} if bias else {}),
        )
        return self.transpose(out, 0, *(i + 1 for i in inner), 1)

    def matmul(self, a: Var, b: Var) -> Var:
        return mb.matmul(x=a, y=b)

    def attention(
        self, q: Var, k: Var, v: Var, *, heads: int, scale: float | None = None,
        keep: Var | None = None, bias: Var | None = None,
    ) -> Var:  # fmt: skip
        width = q.shape[-1] // heads
        # The operation divides scores by the root of the width.
        by = 1.0 if scale is None else scale * math.sqrt(width)
        q = q if math.isclose(by, 1) else self.mul(q, by)
        q, k, v = (self._heads(x, heads) for x in (q, k, v))
        masks = [] if bias is None else [bias]
        if keep is not None:
            masks.append(self._hidden(keep))
        mask = {"attn_mask": masks[0] if len(masks) == 1 else self.add(*masks)} if masks else {}
        out = mb.scaled_dot_product_attention(query=q, key=k, value=v, **mask)
        out = self.transpose(out, 0, 2, 1, 3)  # [B, T, H, W]
        return self.reshape(out, 0, 0, v.shape[-1] * heads)

    def lstm(self, x: Var, name: str) -> Var:
        into, state, bias = (self.param(f"{name}.{part}") for part in ("in", "state", "bias"))
        size = (int(x.shape[0]), int(state.shape[1]))
        start = self.const(f"nothing.{size}", size, lambda: np.zeros(size, np.float32))
        out, _, _ = mb.lstm(
            x=self.transpose(x, 1, 0, 2),
            initial_h=start,
            initial_c=start,
            weight_ih=into,
            weight_hh=state,
            bias=bias,
            output_sequence=True,
        )
        return self.transpose(out, 1, 0, 2)

    def act(self, x: Var, kind: Act) -> Var:
        return ACTS[kind](x)

    def pair(self, kind: Pair, x: Var, y: Var | float) -> Var:
        other = self._number(y) if isinstance(y, int | float) else y
        out = getattr(mb, PAIRS[kind])(x=x, y=other)
        return self._cast(out, self.number)

    def softmax(self, x: Var) -> Var:
        return mb.softmax(x=x, axis=-1)

    def fold(self, x: Var, kind: Fold, axis: int) -> Var:
        return getattr(mb, FOLDS[kind])(x=x, axes=[axis], keep_dims=True)

    def reshape(self, x: Var, *sizes: int) -> Var:
        wanted: list[Any] = [x.shape[i] if size == 0 else size for i, size in enumerate(sizes)]
        if -1 in sizes:
            at = sizes.index(-1)
            others = math.prod(size for i, size in enumerate(wanted) if i != at)
            wanted[at] = math.prod(x.shape) // others
        return self._shaped(x, wanted)

    def transpose(self, x: Var, *order: int) -> Var:
        return mb.transpose(x=x, perm=list(order))

    def concat(self, *xs: Var, axis: int = -1) -> Var:
        return mb.concat(values=list(xs), axis=axis)

    def split(self, x: Var, *sizes: int, axis: int = -1) -> tuple[Var, ...]:
        if len(sizes) == 1:
            return (x,)
        return tuple(mb.split(x=x, split_sizes=list(sizes), axis=axis))

    def pad(self, x: Var, axis: int, before: int, after: int) -> Var:
        rank = len(x.shape)
        axis %= rank
        if before < 0 or after < 0:
            x = self._cut(x, axis, max(-before, 0), max(-after, 0))
        widths = [max(before, 0), max(after, 0)]
        if not any(widths):
            return x
        pairs = [*widths, *[0, 0] * (rank - 1 - axis)]
        return mb.pad(x=x, pad=pairs, mode="constant", constant_val=self._number(0))

    def spread(self, x: Var, like: Var) -> Var:
        batch = like.shape[0]
        if is_symbolic(batch):
            problem = "coreml cannot repeat a table for a batch that each call chooses"
            raise Unsupported(problem, fix="give the batch a number")
        table = mb.expand_dims(x=x, axes=[0])
        return mb.tile(x=table, reps=[batch, *[1] * len(x.shape)])

    def as_many(self, x: Var, like: Var) -> Var:
        if not is_symbolic(like.shape[1]):
            return mb.slice_by_size(x=x, begin=[0, 0], size=[like.shape[1], x.shape[1]])
        rows = mb.slice_by_size(x=mb.shape(x=like), begin=[1], size=[1])
        size = mb.concat(values=[rows, [x.shape[1]]], axis=0)
        return mb.slice_by_size(x=x, begin=[0, 0], size=size)

    def take(self, x: Var, rows: Var) -> Var:
        rows = mb.tile(x=mb.expand_dims(x=rows, axes=[2]), reps=[1, 1, x.shape[-1]])  # [B, K, D]
        return mb.gather_along_axis(x=x, indices=rows, axis=1)

    def top_k(self, x: Var, k: int) -> tuple[Var, Var]:
        values, rows = mb.topk(x=x, k=k, axis=-1)
        return values, rows

    def cumsum(self, x: Var) -> Var:
        return mb.cumsum(x=x, axis=len(x.shape) - 1)

    def _heads(self, x: Var, heads: int) -> Var:
        """[B, T, H W] -> [B, H, T, W]."""
        return self.transpose(self.reshape(x, 0, 0, heads, x.shape[-1] // heads), 0, 2, 1, 3)

    def _hidden(self, keep: Var) -> Var:
        """What is added to scores of keys [B, S] that do not count: [B, 1, 1, S]."""
        away = self.mul(self.pair("sub", keep, 1.0), -HIDDEN)
        return mb.expand_dims(x=away, axes=[1, 2])

    def _shaped(self, x: Var, sizes: list[Any]) -> Var:
        """Core ML of iOS 17 and later counts a 0 of a reshape from the right, others from the left: so
        every size is a number here, but for one symbol, which stays the same symbol.
        """
        symbols = [i for i, size in enumerate(sizes) if is_symbolic(size)]
        if not symbols:
            return mb.reshape(x=x, shape=[int(size) for size in sizes])
        if len(symbols) > 1:
            problem = f"coreml cannot reshape {x.name}: calls choose {len(symbols)} of its sizes"
            raise Unsupported(problem, fix="give all of its sizes but one a number")
        shape = [-1 if i == symbols[0] else int(size) for i, size in enumerate(sizes)]
        return mb.reshape(x=x, shape=shape)

    def _cut(self, x: Var, axis: int, first: int, last: int) -> Var:
        """Without so many at both ends of an axis."""
        here = [i == axis for i in range(len(x.shape))]
        return mb.slice_by_index(
            x=x,
            begin=[first if cut else 0 for cut in here],
            end=[-last if cut else 0 for cut in here],
            end_mask=[not (cut and last) for cut in here],
        )
