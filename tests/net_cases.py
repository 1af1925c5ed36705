"""Every operation of `edge.ops.NetOps` and `edge.nn.composed`, at its edges: small networks of random
weights that each target must compute as numpy does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np

from edge.ops import Act, Fold, Pair
from edge.spec import Norm

Define = Callable[..., Mapping[str, Any]]
LAYER, RMS = Norm(eps=1e-5, kind="layer"), Norm(eps=1e-6)


@dataclass(frozen=True)
class Case:
    """`define(ops, **inputs)` -> outputs by name."""

    name: str
    define: Define
    inputs: Mapping[str, np.ndarray]
    weights: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def array(values: Any, kind: type = np.float32) -> np.ndarray:
    return np.array(values, kind)


def one(call: Callable[[Any, Any], Any]) -> Define:
    return lambda ops, x: {"out": call(ops, x)}


def op(name: str, *more: Any, **named: Any) -> Define:
    """One operation of x."""
    return lambda ops, x: {"out": getattr(ops, name)(x, *more, **named)}


def two(call: Callable[[Any, Any, Any], Any]) -> Define:
    return lambda ops, x, y: {"out": call(ops, x, y)}


X, MAP = random(2, 5, 8), random(2, 6, 4, 8)
POSITIVE = {"log", "sqrt"}


def _elements() -> list[Case]:
    cases = [
        Case(f"act {kind}", op("act", kind), {"x": np.abs(4 * X) + 0.01 if kind in POSITIVE else 4 * X})
        for kind in get_args(Act)
    ]  # fmt: skip
    shapes = {"alike": (2, 5, 8), "a row": (1, 1, 8), "a column": (2, 5, 1)}
    for kind in get_args(Pair):
        for what, shape in shapes.items():
            inputs = {"x": X, "y": np.abs(random(*shape, seed=1)) + 0.1}
            cases += [
                Case(f"pair {kind} {what}", _paired(kind), inputs),
                Case(f"pair {kind} to {what}", _paired(kind, turned=True), inputs),
            ]
        cases.append(Case(f"pair {kind} number", _numbered(kind), {"x": X}))
    equal = array([[[0.0, 1.0, -1.0, 2.0]]])
    cases.append(Case("at least: equals count", _paired("at_least"), {"x": equal, "y": +equal}))
    for kind in get_args(Fold):
        cases += [
            Case(f"fold {kind} {axis}", op("fold", kind, axis), {"x": MAP}) for axis in (1, 2, -1)
        ]
    return [
        *cases,
        Case("softmax", op("softmax"), {"x": 30 * X}),
        Case("cumsum", op("cumsum"), {"x": X}),
    ]


def _paired(kind: str, *, turned: bool = False) -> Define:
    def define(ops: Any, x: Any, y: Any) -> dict[str, Any]:
        return {"out": ops.pair(kind, y, x) if turned else ops.pair(kind, x, y)}

    return define


def _numbered(kind: str) -> Define:
    return lambda ops, x: {"out": ops.pair(kind, x, 0.5)}


def _norms() -> list[Case]:
    weights = {"n": random(8, seed=2), "n.bias": random(8, seed=3)}
    cases = []
    for norm in (LAYER, RMS):
        cases += [
            Case(f"norm {norm.kind} {name}", op("norm", name, norm), {"x": 3 * X + 1}, weights)
            for name in ("n", None)
        ]
        inputs = {"x": X, "y": random(2, 5, 8, seed=9)}
        cases.append(Case(f"add_norm {norm.kind}", _added(norm), inputs, weights))
    first = one(lambda ops, x: ops.add_norm(x, None, "n", LAYER)[1])
    cases.append(Case("add_norm of one", first, {"x": X}, weights))
    grouped = op("group_norm", "n", groups=4, channels=8, eps=1e-5)
    return [*cases, Case("group_norm", grouped, {"x": X}, weights)]


def _added(norm: Norm) -> Define:
    return lambda ops, x, y: dict(zip(("sum", "out"), ops.add_norm(x, y, "n", norm), strict=True))


def _products() -> list[Case]:
    weights = {f"w{i}": random(n, 8, seed=i) for i, n in enumerate((6, 6, 3))}
    weights |= {f"w{i}.bias": random(len(weights[f"w{i}"]), seed=7 + i) for i in range(2)}
    names = ("w0", "w1", "w2")

    def several(ops: Any, x: Any) -> dict[str, Any]:
        return dict(zip("abc", ops.linear(x, *names, biased=names[:2]), strict=True))

    def by_constant(ops: Any, x: Any) -> dict[str, Any]:
        return {"out": ops.matmul(ops.const("c", (4, 5), lambda: random(4, 5, seed=4)), x)}

    product = two(lambda ops, x, y: ops.matmul(x, y))
    return [
        Case("linear of several", several, {"x": X}, weights),
        Case("linear of a map", one(lambda ops, x: ops.linear(x, "w2")[0]), {"x": MAP}, weights),
        Case("linear of rows", one(lambda ops, x: ops.linear(x, "w0", biased=["w0"])[0]), {"x": X[0]}, weights),
        Case("embed", one(lambda ops, x: ops.embed("w0", x)), {"x": array([[1, 0, 5], [2, 2, 3]], np.int32)}, weights),
        Case("param", one(lambda ops, x: ops.mul(x, ops.param("w0.bias"))), {"x": random(2, 3, 6)}, weights),
        Case("matmul", product, {"x": X, "y": random(2, 8, 3)}),
        Case("matmul, one of all", product, {"x": random(1, 5, 8), "y": random(2, 8, 3)}),
        Case("matmul of four axes", product, {"x": MAP, "y": random(2, 1, 8, 3)}),
        Case("matmul with a constant", by_constant, {"x": X}),
    ]  # fmt: skip


def _convolutions() -> list[Case]:
    ways: dict[str, tuple[tuple[int, ...], np.ndarray, dict[str, Any]]] = {
        "k3": ((6, 8, 3), X, {"pad": (1, 1)}),
        "causal, dilated": ((6, 8, 3), X, {"pad": (4, 0), "dilation": 2}),
        "stride 2": ((6, 8, 2), X, {"stride": 2}),
        "dilated stride": ((6, 8, 2), X, {"stride": 2, "dilation": 3, "pad": (2, 1)}),
        "k1 without a bias": ((6, 8, 1), X, {"bias": False}),
        "depthwise": ((8, 1, 3), X, {"pad": (1, 1), "groups": 8}),
        "two groups": ((6, 4, 3), X, {"pad": (1, 1), "groups": 2}),
        "map": ((6, 8, 3, 3), MAP, {"pad": (1, 1)}),
        "map, uneven kernel": ((6, 8, 3, 1), MAP, {}),
        "map, stride 2": ((6, 8, 2, 2), MAP, {"stride": 2}),
        "map, depthwise": ((8, 1, 3, 3), MAP, {"pad": (1, 1), "groups": 8}),
        "map, uneven pad": ((6, 8, 2, 2), MAP, {"pad": (0, 1), "dilation": 2}),
    }
    cases = [
        Case(f"conv {name}", op("conv", "w", **more), {"x": x},
             {"w": random(*shape), "w.bias": random(shape[0], seed=5)})
        for name, (shape, x, more) in ways.items()
    ]  # fmt: skip
    for stride, cut in ((2, (0, 0)), (2, (1, 1)), (4, (1, 1)), (2, (0, 2)), (2, (1, 0))):
        call = op("conv_transpose", "w", kernel=4, stride=stride, width=3, cut=cut)
        weights = {"w": random(12, 8), "w.bias": random(3, seed=5)}
        cases.append(Case(f"conv_transpose {stride} {cut}", call, {"x": X}, weights))
    rows = {"w": random(6, 24), "w.bias": random(6, seed=5)}
    ways_of_rows: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
        "conv_rows": (X, {"kernel": 3, "pad": (1, 1)}),
        "conv_rows, dilated": (X, {"kernel": 3, "pad": (2, 2), "dilation": 2}),
        "conv_rows, causal": (X, {"kernel": 3, "pad": (2, 0)}),
        "conv_rows of one row": (X[:, :1], {"kernel": 3, "pad": (4, 4), "dilation": 4}),
    }
    cases += [
        Case(name, op("conv_rows", "w", **more), {"x": x}, rows)
        for name, (x, more) in ways_of_rows.items()
    ]
    strided = op("conv_strided", "w", kernel=4, stride=2, width=6, pad=(1, 2))
    return [*cases, Case("conv_strided", strided, {"x": random(2, 5, 6)}, rows)]


def _attention() -> list[Case]:
    q, k, v = random(2, 5, 8), random(2, 7, 8, seed=1), random(2, 7, 8, seed=2)
    keep = array([[1, 1, 1, 0, 1, 1, 0], [1] * 7])
    biases = {
        "of all": random(1, 1, 5, 7),
        "of heads": random(1, 2, 5, 7),
        "of the batch": random(2, 2, 5, 7),
    }

    def attend(ops: Any, q: Any, k: Any, v: Any, **more: Any) -> dict[str, Any]:
        return {"out": ops.attention(q, k, v, heads=2, **more)}

    qkv = {"q": q, "k": k, "v": v}
    return [
        Case("attention", attend, qkv),
        Case("attention, scaled", lambda ops, q, k, v: attend(ops, q, k, v, scale=0.2), qkv),
        Case("attention, some keys", attend, {**qkv, "keep": keep}),
        *(Case(f"attention, bias {n}", attend, {**qkv, "bias": b}) for n, b in biases.items()),
        Case("attention, both", attend, {**qkv, "keep": keep, "bias": biases["of heads"]}),
    ]


def _recurrent() -> list[Case]:
    weights = {"m.in": random(12, 8) / 2, "m.state": random(12, 3) / 2, "m.bias": random(12)}
    return [
        Case(f"lstm of {rows}", op("lstm", "m"), {"x": X[:, :rows]}, weights) for rows in (1, 5)
    ]


def _moving() -> list[Case]:
    table = {"t": random(5, 8)}
    return [
        Case("reshape", one(lambda ops, x: ops.reshape(x, 0, -1, 4)), {"x": X}),
        Case("reshape to four", one(lambda ops, x: ops.reshape(x, 0, 0, 2, -1)), {"x": X}),
        Case("reshape, batch folded", one(lambda ops, x: ops.reshape(x, -1, 4, 8)), {"x": MAP}),
        Case("transpose", one(lambda ops, x: ops.transpose(x, 0, 2, 1, 3)), {"x": MAP}),
        Case("concat", two(lambda ops, x, y: ops.concat(x, y, axis=1)), {"x": X, "y": random(2, 3, 8)}),
        Case("concat of channels", two(lambda ops, x, y: ops.concat(x, y)), {"x": X, "y": random(2, 5, 3)}),
        Case("split", lambda ops, x: dict(zip("abc", ops.split(x, 1, 3, 4), strict=True)), {"x": X}),
        Case("split of rows", lambda ops, x: dict(zip("ab", ops.split(x, 2, 3, axis=1), strict=True)), {"x": X}),
        Case("pad", one(lambda ops, x: ops.pad(x, 1, 1, 2)), {"x": X}),
        Case("pad, cut", one(lambda ops, x: ops.pad(x, 1, -1, -2)), {"x": X}),
        Case("pad, both", one(lambda ops, x: ops.pad(x, 2, -3, 2)), {"x": MAP}),
        Case("spread", one(lambda ops, x: ops.add(x, ops.spread(ops.param("t"), x))), {"x": X}, table),
        Case("as many", one(lambda ops, x: ops.add(x, ops.as_many(ops.param("u"), x))), {"x": X}, {"u": random(9, 8)}),
        Case("take", lambda ops, x, y: {"out": ops.take(x, y)}, {"x": X, "y": array([[4, 0, 4], [1, 2, 0]], np.int32)}),
        Case("top_k", one(lambda ops, x: ops.top_k(x, 3)[0]), {"x": random(2, 9)}),
        Case("top_k, taken", two(lambda ops, x, y: ops.take(y, ops.top_k(x, 3)[1])), {"x": random(2, 5), "y": X}),
    ]  # fmt: skip


def _composed() -> list[Case]:
    boxes = array([[0.5, 1, 3, 4], [3, 4, 1, 0.5], [-3, -3, 2, 2], [2, 2, 2, 2], [3, 5, 9, 9]])
    places = {
        "v": random(2, 24, 8),
        "x": 2 + 3 * random(2, 5, 6, seed=1),
        "y": 3 + 4 * random(2, 5, 6, seed=2),
        "weights": random(2, 5, 6, seed=3),
    }
    experts = {
        f"e.{i}.{name}{part}": random(*shape, seed=10 * i)
        for i in range(4)
        for name, rows, columns in (("up", 6, 8), ("down", 8, 6))
        for part, shape in (("", (rows, columns)), (".bias", (rows,)))
    }

    def mixture(k: int, *, normed: bool) -> Define:
        return lambda ops, x, scores: {
            "out": ops.experts(x, scores, "e", count=4, k=k, act="silu", normed=normed)
        }

    def resized(rule: str, to: tuple[int, int]) -> Define:
        return lambda ops, x: {"out": ops.resize(x, (6, 4, 8), to, rule)}

    rules = ("bilinear", "bilinear-aligned", "bicubic", "bicubic-aligned")
    return [
        *(Case(f"resize {rule} {to}", resized(rule, to), {"x": MAP})
          for rule in rules for to in ((9, 7), (3, 2), (1, 4))),
        Case("patches", one(lambda ops, x: ops.patches(x, (6, 4, 8), 2)), {"x": MAP}),
        Case("overlap", one(lambda ops, x: ops.overlap(x, stride=2, parts=2, width=2)), {"x": X}),
        Case("sample", lambda ops, **given: {"out": ops.sample(**given, size=(6, 4, 8), heads=2, points=3)}, places),
        Case("roi_align", lambda ops, x, boxes: {"out": ops.roi_align(x, boxes, size=(6, 4, 8), bins=3, samples=2)},
             {"x": MAP[:1], "boxes": boxes}),
        Case("experts, two", mixture(2, normed=True), {"x": X, "scores": random(2, 5, 4, seed=6)}, experts),
        Case("experts, one", mixture(1, normed=False), {"x": X, "scores": random(2, 5, 4, seed=6)}, experts),
    ]  # fmt: skip


CASES = [
    *_elements(), *_norms(), *_products(), *_convolutions(), *_attention(), *_recurrent(), *_moving(), *_composed(),
]  # fmt: skip
