"""What operations of decoders and of other networks share: constants, types, products, norms.

K columns, N rows of a matrix; B batch, T rows of what flows, D width.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge.quant.recipe import Recipe
from edge.quant.tensor import Float
from edge.spec import Norm
from edge.typing import AnyArray
from edge_converters.coreml.toolkit import mb, types
from edge_converters.coreml.weight_file import Blob, Matrix, WeightFile

Var = Any  # coremltools' Var
STAND_INS = {  # what a weight's place is held by while a program is built
    "fp16": np.dtype(np.float16),
    "fp32": np.dtype(np.float32),
    "int32": np.dtype(np.int32),
    "int8": np.dtype(np.int8),
    "uint8": np.dtype(np.uint8),
    "int4": types.np_int4_dtype,
    "uint1": types.np_uint1_dtype,
    "uint2": types.np_uint2_dtype,
    "uint3": types.np_uint3_dtype,
    "uint4": types.np_uint4_dtype,
    "uint6": types.np_uint6_dtype,
}


@dataclass(slots=True, kw_only=True)
class Emitter:
    """Emits into the function that is being built. Weights lie where `weights` says, and are stand-ins."""

    weights: WeightFile
    recipe: Recipe
    number: Float  # of activations
    first_rows: dict[str, int] = field(default_factory=dict)  # of weights that are not read whole
    _made: dict[str, Var] = field(default_factory=dict)

    def embed(self, name: str, tokens: Var) -> Var:
        matrix = self.weights.matrix(name, self.recipe.scheme(name, by_row=True))
        rows = mb.gather(x=self._weight(matrix), indices=tokens, axis=0)  # [1, T, D]
        return self._cast(rows, self.number)

    def add_norm(self, x: Var, d: Var | None, name: str, norm: Norm) -> tuple[Var, Var]:
        x = x if d is None else mb.add(x=x, y=d)
        return x, self.norm(x, name, norm)

    def add(self, x: Var, d: Var) -> Var:
        return mb.add(x=x, y=d)

    def linear(self, x: Var, *names: str, biased: Collection[str] = ()) -> tuple[Var, ...]:
        return tuple(self._product(x, name, bias=name in biased) for name in names)

    def norm(self, x: Var, name: str | None, norm: Norm) -> Var:
        """Over the last axis; without a name nothing is learned."""
        weight = None if name is None else self._blob(self.weights.vector(name))
        if norm.kind == "rms":
            return self._rms_norm(x, weight, norm.eps)
        learned = {}
        if name is not None:
            bias = self._blob(self.weights.vector(f"{name}.bias"))
            learned = {"gamma": weight, "beta": bias}
        return mb.layer_norm(x=x, axes=[-1], epsilon=self._number(norm.eps), **learned)

    def _product(self, x: Var, name: str, *, bias: bool) -> Var:
        """In the type of the weight: one of float32 is not rounded for its product."""
        matrix = self.weights.matrix(name, self.recipe.scheme(name))
        if name in self.first_rows:
            matrix = self.weights.first(matrix, self.first_rows[name])
        number, rows = matrix.scheme.number, matrix.values.shape[0]
        if bias:
            added = self._cast(self._blob(self.weights.vector(f"{name}.bias")), number)
        else:
            kind = STAND_INS[number]
            added = self._blob(
                self.weights.constant(
                    f"zeros.{rows}.{number}", number, (rows,), lambda: np.zeros(rows, kind)
                )
            )
        out = mb.linear(x=self._cast(x, number), weight=self._weight(matrix), bias=added)
        return self._cast(out, self.number)

    def _rms_norm(self, x: Var, weight: Var | None, eps: float) -> Var:
        """x beside -x has the mean 0, and as variance the mean square of x: a layer norm, which keeps
        squares out of fp16.
        """
        size = x.shape[-1]
        both = mb.concat(values=[x, mb.mul(x=x, y=self._number(-1))], axis=-1)
        normed = mb.layer_norm(x=both, axes=[-1], epsilon=self._number(eps))
        half = columns(normed, 0, size)
        return half if weight is None else mb.mul(x=half, y=weight)

    def _weight(self, matrix: Matrix) -> Var:
        """Values as they are, or what expands codes when Core ML loads the model, or as it goes."""
        if matrix.scales is None:
            return self._blob(matrix.values)
        return self._once(f"{matrix.values.key} expanded", lambda: self._expanded(matrix))

    def _expanded(self, matrix: Matrix) -> Var:
        assert matrix.scales is not None
        values, scales = self._blob(matrix.values), self._blob(matrix.scales)
        name = _plain(f"{matrix.values.key} expanded")
        if matrix.scheme.zero == "table":
            return mb.constexpr_lut_to_dense(indices=values, lut=scales, name=name)
        if matrix.levels is not None:
            values = mb.constexpr_lut_to_dense(
                indices=values,
                lut=self._blob(matrix.levels),
                name=_plain(f"{matrix.values.key} in units"),
            )
        zeros = None if matrix.zeros is None else self._blob(matrix.zeros)
        return mb.constexpr_blockwise_shift_scale(
            data=values, scale=scales, offset=zeros, name=name
        )

    def _blob(self, blob: Blob) -> Var:
        return self._once(blob.key, lambda: stand_in(blob, name=_plain(blob.key)))

    def _cast(self, x: Var, number: Float) -> Var:
        same = types.builtin_to_string(x.dtype) == number
        return x if same else mb.cast(x=x, dtype=number)

    def _number(self, value: float) -> AnyArray:
        return np.array(value, STAND_INS[self.number])[()]

    def _once(self, key: str, make: Callable[[], Var]) -> Var:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


def stand_in(blob: Blob, name: str | None = None) -> Var:
    """A constant of the blob's shape that takes no memory; the exporter knows it by its key."""
    zero = np.zeros((), STAND_INS[blob.kind])
    named = {} if name is None else {"name": name}
    var = mb.const(val=np.broadcast_to(zero, blob.shape), **named)
    var.op.weight_id = blob.key
    return var


def _plain(key: str) -> str:
    """A name in the program, by which its reader knows a weight."""
    return re.sub(r"\W", "_", key)


def columns(x: Var, start: int, stop: int) -> Var:
    """Some of the last axis."""
    rank = len(x.shape)
    return mb.slice_by_index(
        x=x,
        begin=[0] * (rank - 1) + [start],
        end=[0] * (rank - 1) + [stop],
        end_mask=[True] * (rank - 1) + [False],
    )
