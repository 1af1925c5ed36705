"""Networks that are no decoders as ONNX, with the fused kernels of ONNX Runtime (domain com.microsoft).

B batch, T rows, S keys, C channels, H heads, W head width, Q queries, P points.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edge.nn.composed import Composed
from edge.ops import Act, Fold, Pair
from edge.spec import Norm
from edge.typing import F32
from edge_converters.onnx.emitter import Emitter
from edge_converters.onnx.weights import MS

_END = (1 << 63) - 1  # of a slice: the last element, too
ACTS: Mapping[Act, tuple[str, dict[str, Any], str]] = {
    "gelu": ("Gelu", {}, ""),
    "gelu_tanh": ("Gelu", {"approximate": "tanh"}, ""),
    "relu": ("Relu", {}, ""),
    "silu": ("QuickGelu", {"alpha": 1.0}, MS),  # x sigmoid(alpha x)
    "mish": ("Mish", {}, ""),
    "tanh": ("Tanh", {}, ""),
    "sigmoid": ("Sigmoid", {}, ""),
    "softplus": ("Softplus", {}, ""),
    "exp": ("Exp", {}, ""),
    "log": ("Log", {}, ""),
    "sqrt": ("Sqrt", {}, ""),
    "sin": ("Sin", {}, ""),
    "cos": ("Cos", {}, ""),
    "abs": ("Abs", {}, ""),
}
PAIRS: Mapping[Pair, str] = {
    "add": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "div": "Div",
    "max": "Max",
    "min": "Min",
    "at_least": "GreaterOrEqual",
}
FOLDS: Mapping[Fold, str] = {"sum": "ReduceSum", "mean": "ReduceMean", "max": "ReduceMax"}


@dataclass(slots=True, kw_only=True)
class OnnxNetOps(Emitter, Composed[ir.Value]):
    """Emits graphs whose open sizes each call chooses."""

    def param(self, name: str) -> ir.Value:
        return self.weights.value(name)

    def const(self, key: str, shape: tuple[int, ...], make: Callable[[], F32]) -> ir.Value:
        def rows(which: range) -> F32:
            return make()[which.start : which.stop]

        return self.weights.table(f"{key} made", shape, rows)

    def conv(
        self, x: ir.Value, name: str, *, stride: int = 1, pad: tuple[int, int] = (0, 0),
        dilation: int = 1, groups: int = 1, bias: bool = True,
    ) -> ir.Value:  # fmt: skip
        axes = len(self.weights.store.shape(name)) - 2
        inner = range(1, axes + 1)
        given = [self.transpose(x, 0, axes + 1, *inner), self.param(name)]
        out = self._op(
            "Conv",
            [*given, self.param(f"{name}.bias")] if bias else given,
            {
                "strides": [stride] * axes,
                "pads": [pad[0]] * axes + [pad[1]] * axes,
                "dilations": [dilation] * axes,
                "group": groups,
            },
        )
        return self.transpose(out, 0, *(i + 1 for i in inner), 1)

    def matmul(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self._op("MatMul", [a, b])

    def attention(
        self, q: ir.Value, k: ir.Value, v: ir.Value, *, heads: int, scale: float | None = None,
        keep: ir.Value | None = None, bias: ir.Value | None = None,
    ) -> ir.Value:  # fmt: skip
        attributes: dict[str, Any] = {"num_heads": heads, "mask_filter_value": float("-inf")}
        if scale is not None:
            attributes["scale"] = scale
        mask = None if keep is None else self._op("Cast", [keep], {"to": ir.DataType.INT32})
        given = [q, k, v, None, mask, bias]  # no bias of the products: they have had theirs
        while given[-1] is None:
            given.pop()
        return self.tape.op("MultiHeadAttention", given, attributes, domain=MS)

    def lstm(self, x: ir.Value, name: str) -> ir.Value:
        width = self.weights.store.shape(f"{name}.state")[1]
        into, state, bias = (
            self._gates(f"{name}.{part}", width) for part in ("in", "state", "bias")
        )
        none = self.const(f"lstm.{width}", (4 * width,), lambda: np.zeros(4 * width, np.float32))
        one = self._numbers(0)
        both = self._op("Unsqueeze", [self.concat(bias, none), one])
        given = [
            self.transpose(x, 1, 0, 2),
            *(self._op("Unsqueeze", [w, one]) for w in (into, state)),
            both,
        ]
        out = self._op("LSTM", given, {"hidden_size": width})  # [T, 1, B, D]
        return self.transpose(self._op("Squeeze", [out, self._numbers(1)]), 1, 0, 2)

    def _gates(self, name: str, width: int) -> ir.Value:
        """The input's, the output's, the forget gate and the cell's: ONNX's order."""
        i, f, o, z = self.split(self.param(name), *[width] * 4, axis=0)
        return self.concat(i, o, f, z, axis=0)

    def act(self, x: ir.Value, kind: Act) -> ir.Value:
        name, attributes, domain = ACTS[kind]
        return self._op(name, [x], attributes, domain)

    def pair(self, kind: Pair, x: ir.Value, y: ir.Value | float) -> ir.Value:
        other = y if isinstance(y, ir.Value) else self.weights.number(y)
        out = self._op(PAIRS[kind], [x, other])
        return self._op("Cast", [out], {"to": ir.DataType.FLOAT}) if kind == "at_least" else out

    def add_norm(
        self, x: ir.Value, d: ir.Value | None, name: str, norm: Norm
    ) -> tuple[ir.Value, ir.Value]:
        """Not by the fused kernel, which takes twice as long as both of its parts where rows are many."""
        x = x if d is None else self.add(x, d)
        return x, self.norm(x, name, norm)

    def norm(self, x: ir.Value, name: str | None, norm: Norm) -> ir.Value:
        if name is not None:
            kind, learned = self._norm_of(name, norm)
            return self._normed(kind, x, learned, norm)
        # The kernels want a weight as long as the axis, which may be open here.
        centred = x if norm.kind == "rms" else self.pair("sub", x, self.fold(x, "mean", -1))
        square = self.fold(self.mul(centred, centred), "mean", -1)
        spread = self.act(self.pair("add", square, norm.eps), "sqrt")
        return self.pair("div", centred, spread)

    def softmax(self, x: ir.Value) -> ir.Value:
        return self._op("Softmax", [x], {"axis": -1})

    def fold(self, x: ir.Value, kind: Fold, axis: int) -> ir.Value:
        return self._op(FOLDS[kind], [x, self._numbers(axis)], {"keepdims": 1})

    def reshape(self, x: ir.Value, *sizes: int) -> ir.Value:
        return self._op("Reshape", [x, self._numbers(*sizes)])

    def transpose(self, x: ir.Value, *order: int) -> ir.Value:
        return self._op("Transpose", [x], {"perm": list(order)})

    def concat(self, *xs: ir.Value, axis: int = -1) -> ir.Value:
        return self._op("Concat", list(xs), {"axis": axis})

    def split(self, x: ir.Value, *sizes: int, axis: int = -1) -> tuple[ir.Value, ...]:
        return self._cut(x, sizes, axis)

    def pad(self, x: ir.Value, axis: int, before: int, after: int) -> ir.Value:
        if before < 0 or after < 0:
            start, stop = max(-before, 0), -max(-after, 0) or _END
            x = self._op("Slice", [x, *map(self._numbers, (start, stop, axis))])
        before, after = max(before, 0), max(after, 0)
        if not before and not after:
            return x
        given = [x, self._numbers(before, after), None, self._numbers(axis)]
        return self.tape.op("Pad", given, {"mode": "constant"})

    def spread(self, x: ir.Value, like: ir.Value) -> ir.Value:
        shape = self._op("Shape", [like], {"start": 0, "end": 1})
        return self._op(
            "Expand", [x, self._op("Concat", [shape, self._numbers(1, 1)], {"axis": 0})]
        )

    def as_many(self, x: ir.Value, like: ir.Value) -> ir.Value:
        rows = self._op("Shape", [like], {"start": 1, "end": 2})
        return self._op("Slice", [x, self._numbers(0), rows, self._numbers(0)])

    def take(self, x: ir.Value, rows: ir.Value) -> ir.Value:
        places = self._op("Cast", [rows], {"to": ir.DataType.INT64})
        places = self._op("Unsqueeze", [places, self._numbers(-1)])  # [B, K, 1]
        return self._op("GatherND", [x, places], {"batch_dims": 1})

    def top_k(self, x: ir.Value, k: int) -> tuple[ir.Value, ir.Value]:
        attributes = {"axis": -1, "largest": 1, "sorted": 1}
        values, rows = self.tape.op_multi_out(
            "TopK", [x, self._numbers(k)], attributes, num_outputs=2
        )
        return values, rows

    def cumsum(self, x: ir.Value) -> ir.Value:
        return self._op("CumSum", [x, self.weights.constant("numbers.last", -1)])

    def sample(
        self, v: ir.Value, x: ir.Value, y: ir.Value, weights: ir.Value,
        *, size: tuple[int, int, int], heads: int, points: int,
    ) -> ir.Value:  # fmt: skip
        rows, columns, channels = size
        maps = self.reshape(self.transpose(v, 0, 2, 1), -1, channels // heads, rows, columns)
        # From the map's left edge, -1, to its right one, 1.
        places = [
            self._by_head(self.pair("add", self.mul(a, 2 / n), 1 / n - 1), points)
            for a, n in ((x, columns), (y, rows))
        ]
        grid = self.concat(*(self._op("Unsqueeze", [a, self._numbers(-1)]) for a in places))
        attributes = {"mode": "linear", "padding_mode": "zeros", "align_corners": 0}
        seen = self._op("GridSample", [maps, grid], attributes)  # [B H, C / H, P, Q]
        share = self._op("Unsqueeze", [self._by_head(weights, points), self._numbers(1)])
        out = self.fold(self.mul(seen, share), "sum", 2)
        out = self._op("Squeeze", [out, self._numbers(2)])  # [B H, C / H, Q]
        return self.transpose(self.reshape(out, -1, channels, 0), 0, 2, 1)

    def _by_head(self, x: ir.Value, points: int) -> ir.Value:
        """[B, Q, H P] -> [B H, P, Q]."""
        return self.reshape(self.transpose(x, 0, 2, 1), -1, points, 0)

    def group_norm(
        self, x: ir.Value, name: str, *, groups: int, channels: int, eps: float
    ) -> ir.Value:
        x = self.reshape(self.transpose(x, 0, 2, 1), 0, groups, -1)
        ones, none = (
            self.weights.constant(f"groups.{groups}.{n}", [float(n)] * groups, ir.DataType.FLOAT)
            for n in (1, 0)
        )
        x = self._op("InstanceNormalization", [x, ones, none], {"epsilon": eps})
        x = self.transpose(self.reshape(x, 0, channels, -1), 0, 2, 1)
        return self.add(self.mul(x, self.param(name)), self.param(f"{name}.bias"))

    def _numbers(self, *values: int) -> ir.Value:
        return self.weights.constant("numbers." + ".".join(map(str, values)), list(values))
