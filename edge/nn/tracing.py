"""Networks over shapes alone: which weights a definition asks for, and which shapes come out. Nothing is
computed.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cache
from math import prod

from edge.names import Spec, shapes
from edge.net import NetSpec
from edge.nn.composed import Composed
from edge.nn.networks import define
from edge.ops import Act, Fold, Pair
from edge.spec import DecoderSpec, Norm
from edge.typing import F32, Shape


@dataclass(slots=True)
class ShapeOps(Composed[Shape]):
    """An array is its shape. `shapes`: of every weight; `asked`: those that were; `matrices`: of them what x
    is multiplied by, or rows are looked up in, which are also `tables`; `work`: multiplications of
    products; `largest`: numbers in the arrays of the widest of them.
    """

    shapes: dict[str, Shape]
    asked: list[str] = field(default_factory=list)
    matrices: set[str] = field(default_factory=set)
    tables: set[str] = field(default_factory=set)
    work: int = 0
    largest: int = 0

    def embed(self, name: str, tokens: Shape) -> Shape:
        self.matrices.add(name)
        self.tables.add(name)
        return (*tokens, *self.param(name)[1:])

    def add_norm(self, x: Shape, d: Shape | None, name: str, norm: Norm) -> tuple[Shape, Shape]:
        x = x if d is None else self.add(x, d)
        return x, self.norm(x, name, norm)

    def add(self, x: Shape, d: Shape) -> Shape:
        return self.pair("add", x, d)

    def linear(self, x: Shape, *names: str, biased: Collection[str] = ()) -> tuple[Shape, ...]:
        out = []
        for name in names:
            rows, columns = self.param(name)
            _same(x[-1], columns, name)
            if name in biased:
                _same(self.param(f"{name}.bias"), (rows,), name)
            out.append((*x[:-1], rows))
            self.matrices.add(name)
            self._count(prod(x) * rows, x, out[-1])
        return tuple(out)

    def param(self, name: str) -> Shape:
        self.asked.append(name)
        return self.shapes[name]

    def const(self, key: str, shape: Shape, make: Callable[[], F32]) -> Shape:
        return shape

    def conv(
        self, x: Shape, name: str, *, stride: int = 1, pad: tuple[int, int] = (0, 0),
        dilation: int = 1, groups: int = 1, bias: bool = True,
    ) -> Shape:  # fmt: skip
        rows, columns, *kernel = self.param(name)
        _same(x[-1], columns * groups, name)
        if bias:
            _same(self.param(f"{name}.bias"), (rows,), name)
        sizes = zip(x[1:-1], kernel, strict=True)
        spans = [(n + sum(pad) - dilation * (k - 1) - 1) // stride + 1 for n, k in sizes]
        out = (x[0], *spans, rows)
        self._count(prod(out) * columns * prod(kernel), x, out)
        return out

    def matmul(self, a: Shape, b: Shape) -> Shape:
        _same(a[-1], b[-2], "a product")
        out = (*_broadcast(a[:-2], b[:-2]), a[-2], b[-1])
        self._count(prod(out) * a[-1], a, b, out)
        return out

    def attention(
        self, q: Shape, k: Shape, v: Shape, *, heads: int, scale: float | None = None,
        keep: Shape | None = None, bias: Shape | None = None,
    ) -> Shape:  # fmt: skip
        scores = (q[0], heads, q[1], k[1])
        self._count(q[0] * q[1] * k[1] * (q[2] + v[2]), q, k, v, scores)
        return (*q[:-1], v[-1])

    def lstm(self, x: Shape, name: str) -> Shape:
        rows, columns = self.param(f"{name}.in")
        _same(x[-1], columns, name)
        width = self.param(f"{name}.state")[1]
        _same(self.param(f"{name}.bias"), (4 * width,), name)
        out = (*x[:-1], width)
        self._count(prod(out) * 4 * (columns + width), x, out, (*x[:-1], rows))
        return out

    def act(self, x: Shape, kind: Act) -> Shape:
        return x

    def pair(self, kind: Pair, x: Shape, y: Shape | float) -> Shape:
        return _broadcast(x, y) if isinstance(y, tuple) else x

    def norm(self, x: Shape, name: str | None, norm: Norm) -> Shape:
        if name is not None:
            for part in ("", ".bias") if norm.kind == "layer" else ("",):
                _same(self.param(name + part), x[-1:], name)
        return x

    def softmax(self, x: Shape) -> Shape:
        return x

    def fold(self, x: Shape, kind: Fold, axis: int) -> Shape:
        axis %= len(x)
        return (*x[:axis], 1, *x[axis + 1 :])

    def reshape(self, x: Shape, *sizes: int) -> Shape:
        known = [x[i] if size == 0 else size for i, size in enumerate(sizes)]
        if -1 in known:
            known[known.index(-1)] = prod(x) // -prod(known)
        _same(prod(known), prod(x), f"{x} as {sizes}")
        return tuple(known)

    def transpose(self, x: Shape, *order: int) -> Shape:
        return tuple(x[i] for i in order)

    def concat(self, *xs: Shape, axis: int = -1) -> Shape:
        axis %= len(xs[0])
        return (*xs[0][:axis], sum(x[axis] for x in xs), *xs[0][axis + 1 :])

    def split(self, x: Shape, *sizes: int, axis: int = -1) -> tuple[Shape, ...]:
        axis %= len(x)
        _same(sum(sizes), x[axis], f"parts of {x}")
        return tuple((*x[:axis], size, *x[axis + 1 :]) for size in sizes)

    def pad(self, x: Shape, axis: int, before: int, after: int) -> Shape:
        return (*x[:axis], x[axis] + before + after, *x[axis + 1 :])

    def spread(self, x: Shape, like: Shape) -> Shape:
        return (like[0], *x)

    def as_many(self, x: Shape, like: Shape) -> Shape:
        assert like[1] <= x[0], f"{like[1]} rows of {x}"
        return (like[1], *x[1:])

    def take(self, x: Shape, rows: Shape) -> Shape:
        return (*rows, x[-1])

    def top_k(self, x: Shape, k: int) -> tuple[Shape, Shape]:
        return (*x[:-1], k), (*x[:-1], k)

    def cumsum(self, x: Shape) -> Shape:
        return x

    def _count(self, work: int, *arrays: Shape) -> None:
        self.work += work
        self.largest = max(self.largest, sum(map(prod, arrays)))


def traced(spec: NetSpec, **sizes: int) -> tuple[ShapeOps, dict[str, Shape]]:
    """A network at these sizes -> what its definition asked for, and its outputs' shapes."""
    ops = ShapeOps(dict(spec.config.shapes()))
    shapes = {
        port.name: tuple(sizes[n] if isinstance(n, str) else n for n in port.shape)
        for port in spec.config.inputs
    }
    return ops, dict(define(ops, spec, **shapes))


def least(spec: NetSpec) -> dict[str, int]:
    """Every size at its smallest."""
    return {size.name: size.least for size in spec.config.sizes}


@cache
def matrices(spec: Spec) -> frozenset[str]:
    """Weights whose precision a recipe chooses: what is multiplied by, or looked up in."""
    if isinstance(spec, DecoderSpec):
        return frozenset(name for name, shape in shapes(spec).items() if len(shape) == 2)
    return frozenset(traced(spec, **least(spec))[0].matrices)


@cache
def tables(spec: Spec) -> frozenset[str]:
    """Of these, what rows are looked up in."""
    if isinstance(spec, DecoderSpec):
        return frozenset({"embed"})
    return frozenset(traced(spec, **least(spec))[0].tables)


@cache
def multiplied(spec: Spec) -> frozenset[str]:
    """Of these, what is multiplied by: all but a table that is no head."""
    tied = isinstance(spec, DecoderSpec) and spec.tied
    return matrices(spec) if tied else matrices(spec) - tables(spec)


def _broadcast(x: Shape, y: Shape) -> Shape:
    rank = max(len(x), len(y))
    wide = [(1,) * (rank - len(a)) + a for a in (x, y)]
    for a, b in zip(*wide, strict=True):
        assert a == b or 1 in (a, b), f"{x} with {y}"
    return tuple(max(a, b) for a, b in zip(*wide, strict=True))


def _same(found: object, wanted: object, what: str) -> None:
    assert found == wanted, f"{what}: {found}, not {wanted}"
