"""Weights as MLX arrays, read from a checked folder straight into MLX's own memory.

N rows, K columns.
"""

from collections.abc import Collection, Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Protocol

import mlx.core as mx
import numpy as np

from edge.adapters.branches import Branch, Branches
from edge.quant import rotation
from edge.typing import I64, U8, Shape
from edge_runtimes.mlx.computing import TYPES, activations
from edge_runtimes.mlx.folder import ADDED, PACKED, Form, Kind

Names = tuple[str, ...]
_STORED = {mx.bfloat16: mx.uint16, mx.float16: mx.uint16}  # numpy has no bfloat16 to write into


class Matrix(Protocol):
    """A product with x [T, K], and rows by number."""

    def __call__(self, x: mx.array) -> mx.array: ...

    def rows(self, tokens: mx.array, dtype: mx.Dtype) -> mx.array: ...

    def first(self, rows: int) -> "Matrix":
        """Its first rows, where they lie."""
        ...


@dataclass(frozen=True, slots=True)
class Dense:
    """values [N, K]."""

    values: mx.array

    def __call__(self, x: mx.array) -> mx.array:
        return (x.astype(self.values.dtype) @ self.values.T).astype(x.dtype)

    def rows(self, tokens: mx.array, dtype: mx.Dtype) -> mx.array:
        return self.values[tokens].astype(dtype)

    def first(self, rows: int) -> "Dense":
        return Dense(self.values[:rows])


@dataclass(frozen=True, slots=True)
class Packed:
    """codes [N, K bits / 32], scales and biases [N, K / group]."""

    codes: mx.array
    scales: mx.array
    biases: mx.array
    group: int
    bits: int

    def __call__(self, x: mx.array) -> mx.array:
        return mx.quantized_matmul(
            x,
            self.codes,
            self.scales,
            self.biases,
            transpose=True,
            group_size=self.group,
            bits=self.bits,
        )

    def rows(self, tokens: mx.array, dtype: mx.Dtype) -> mx.array:
        return mx.dequantize(
            self.codes[tokens],
            self.scales[tokens],
            self.biases[tokens],
            group_size=self.group,
            bits=self.bits,
        ).astype(dtype)

    def first(self, rows: int) -> "Packed":
        codes, scales, biases = (part[:rows] for part in (self.codes, self.scales, self.biases))
        return replace(self, codes=codes, scales=scales, biases=biases)


@dataclass(frozen=True, slots=True)
class Sum:
    """Weights that are sums of two: the second of the first columns in an order [K], if there is one."""

    base: Packed
    added: Packed
    order: mx.array | None

    def __call__(self, x: mx.array) -> mx.array:
        if self.order is not None:
            x = x[..., self.order]
        return self.base(x) + self.added(x[..., : self._width])

    def rows(self, tokens: mx.array, dtype: mx.Dtype) -> mx.array:
        made, more = self.base.rows(tokens, dtype), self.added.rows(tokens, dtype)
        made[..., : self._width] += more
        return made if self.order is None else made[..., mx.argsort(self.order)]

    def first(self, rows: int) -> "Sum":
        return Sum(self.base.first(rows), self.added.first(rows), self.order)

    @property
    def _width(self) -> int:
        return self.added.scales.shape[-1] * self.added.group


@dataclass(frozen=True, slots=True)
class Rotated:
    """Weights [N, K] whose columns are rotated (`edge.quant.rotation`), as what they multiply is here."""

    base: Packed
    signs: mx.array
    factors: tuple[mx.array, ...]

    @classmethod
    def of(cls, base: Packed, columns: int, dtype: mx.Dtype) -> "Rotated":
        parts = (mx.array(matrix).astype(dtype) for matrix in rotation.matrices(columns))
        return cls(base, mx.array(rotation.signs(columns)).astype(dtype), tuple(parts))

    def __call__(self, x: mx.array) -> mx.array:
        return self.base(rotation.multiplied(x * self.signs, self.factors))

    def rows(self, tokens: mx.array, dtype: mx.Dtype) -> mx.array:
        made = rotation.multiplied(self.base.rows(tokens, dtype), [part.T for part in self.factors])
        return (made * self.signs).astype(dtype)

    def first(self, rows: int) -> "Rotated":
        return replace(self, base=self.base.first(rows))


@dataclass(frozen=True, slots=True)
class Adapted:
    """A matrix with an adapter beside it (`edge.adapters.branches`): down [R, K], up [N, R], gain [N] or none. Rows
    that are looked up are the matrix's own.
    """

    base: Matrix
    down: mx.array
    up: mx.array
    gain: mx.array | None

    @classmethod
    def of(cls, base: Matrix, branch: Branch, dtype: mx.Dtype) -> "Adapted":
        down, up = (_ready(mx.array(part).astype(dtype)) for part in (branch.down, branch.up))
        gain = None if branch.gain is None else _ready(mx.array(branch.gain).astype(dtype))
        return cls(base, down, up, gain)

    def __call__(self, x: mx.array) -> mx.array:
        both = self.base(x) + (x @ self.down.T) @ self.up.T
        return both if self.gain is None else both * self.gain

    def rows(self, tokens: mx.array, dtype: mx.Dtype) -> mx.array:
        return self.base.rows(tokens, dtype)

    def first(self, rows: int) -> "Adapted":
        gain = None if self.gain is None else self.gain[:rows]
        return Adapted(self.base.first(rows), self.down, self.up[:rows], gain)


@dataclass(frozen=True, slots=True)
class Stack:
    """The rows of several weights in one matrix, and where each of them ends."""

    matrix: Matrix
    ends: tuple[int, ...]
    bias: mx.array | None = None

    def __call__(self, x: mx.array) -> tuple[mx.array, ...]:
        """x [T, K] -> [T, N] for each weight."""
        out = self.matrix(x)
        if self.bias is not None:
            out = out + self.bias
        return tuple(mx.split(out, self.ends[:-1], axis=-1)) if len(self.ends) > 1 else (out,)


class Stored(Protocol):
    """Where weights lie; each has a name, a shape and a form, and its rows can be read as bytes."""

    def shape(self, name: str) -> Shape: ...

    def form(self, name: str) -> Form: ...

    def forms(self) -> set[Form]:
        """Of all matrices."""
        ...

    def width(self, name: str, kind: Kind) -> int:
        """Bytes of a stored row."""
        ...

    def read(self, name: str, kind: Kind, out: U8) -> None:
        """Every row of a weight: out [N, bytes of a row]."""
        ...

    def order(self, name: str) -> I64:
        """In which order its columns are multiplied with, [K], of a weight that has one."""
        ...


class Weights:
    """Every weight, read when it is first asked for.

    `dtype` is that of activations; `exact`: it is float32, and so are all weights that are floats. `branches`: of an
    adapter, beside products.
    """

    def __init__(self, stored: Stored, *, exact: bool, branches: Branches | None = None) -> None:
        forms = stored.forms()
        self._stored, self._branches = stored, branches
        self._widen = exact
        packed = any(form.bits for form in forms)
        self.dtype = TYPES[activations((form.number for form in forms), packed=packed, exact=exact)]
        self._stacks: dict[tuple[Names, Names], tuple[Stack, ...]] = {}  # names, and who has a bias
        self._values: dict[str, mx.array] = {}
        self._kernels: dict[str, mx.array] = {}

    def stacks(self, names: tuple[str, ...], *, biased: Collection[str] = ()) -> tuple[Stack, ...]:
        """One product for all of these, if they are stored alike, else one for each."""
        key = names, tuple(name for name in names if name in biased)
        if key not in self._stacks:
            forms = {self._stored.form(name) for name in names}
            alike = len(forms) == 1 and not any(form.ordered for form in forms)
            groups = [names] if alike else [(name,) for name in names]
            self._stacks[key] = tuple(self._stack(group, biased) for group in groups)
        return self._stacks[key]

    def first(self, name: str, rows: int) -> "Weights":
        """The same weights, but only the first rows of one matrix."""
        other, matrix = copy(self), self.table(name)
        other._stacks = {**self._stacks, ((name,), ()): (Stack(matrix.first(rows), (rows,)),)}
        return other

    def table(self, name: str) -> Matrix:
        return self.stacks((name,))[0].matrix

    def value(self, name: str) -> mx.array:
        """A weight of any shape, in the type of activations; of a packed matrix what its codes mean."""
        if name not in self._values:
            self._values[name] = _ready(self._value(name))
        return self._values[name]

    def kernel(self, name: str) -> mx.array:
        """A convolution's [O, C / groups, k...] as MLX takes it: [O, k..., C / groups]."""
        if name not in self._kernels:
            turned = mx.moveaxis(self._value(name), 1, -1)
            self._kernels[name] = _ready(mx.contiguous(turned))
        return self._kernels[name]

    def _value(self, name: str) -> mx.array:
        shape, form = self._stored.shape(name), self._stored.form(name)
        if form.bits is not None:
            return self.table(name).rows(mx.arange(shape[0]), self.dtype)
        return self._array((name,), "weight", TYPES[form.number]).reshape(shape).astype(self.dtype)

    def _stack(self, names: tuple[str, ...], biased: Collection[str]) -> Stack:
        heights = [self._stored.shape(name)[0] for name in names]
        matrix = self._matrix(names, self._stored.form(names[0]))
        branch = None if self._branches is None else self._branches.stacked(names, heights)
        if branch is not None:
            matrix = Adapted.of(matrix, branch, self.dtype)
        if not any(name in biased for name in names):
            return Stack(matrix, tuple(accumulate(heights)))
        added = [  # zeros for who has none
            self.value(f"{name}.bias") if name in biased else mx.zeros(height, self.dtype)
            for name, height in zip(names, heights, strict=True)
        ]
        return Stack(matrix, tuple(accumulate(heights)), _ready(mx.concatenate(added)))

    def _matrix(self, names: tuple[str, ...], form: Form) -> Matrix:
        dtype = TYPES[form.number]
        if form.bits is None or form.group is None:
            values = self._array(names, "weight", dtype)
            return Dense(_ready(values.astype(mx.float32)) if self._widen else values)
        base = self._packed(names, form, PACKED)
        if form.rotated:
            return Rotated.of(base, self._stored.shape(names[0])[1], self.dtype)
        if form.added is None:
            return base
        order = mx.array(self._stored.order(names[0])) if form.ordered else None
        return Sum(base, self._packed(names, form.added, ADDED), order)

    def _packed(self, names: tuple[str, ...], form: Form, kinds: tuple[Kind, ...]) -> Packed:
        assert form.bits is not None
        assert form.group is not None
        weight, *rest = kinds
        codes = self._array(names, weight, mx.uint32)
        scales, biases = (
            _ready(self._array(names, kind, TYPES[form.number]).astype(self.dtype)) for kind in rest
        )
        return Packed(codes, scales, biases, form.group, form.bits)

    def _array(self, names: Sequence[str], kind: Kind, dtype: mx.Dtype) -> mx.array:
        """The rows of these weights on top of each other, read without a copy."""
        heights = [self._stored.shape(name)[0] for name in names]
        width = self._stored.width(names[0], kind)
        out = mx.empty((sum(heights), width // dtype.size), _STORED.get(dtype, dtype))
        mx.eval(out)
        raw = np.array(out, copy=False).view(np.uint8)
        for name, end, height in zip(names, accumulate(heights), heights, strict=True):
            self._stored.read(name, kind, raw[end - height : end])
        return out.view(dtype)


def _ready(values: mx.array) -> mx.array:
    mx.eval(values)
    return values
