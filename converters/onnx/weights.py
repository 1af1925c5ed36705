"""Weights and constants as the nodes of a graph read them, each once: how each scheme is multiplied with and
looked up in by the kernels of ONNX Runtime, and what they do not hold.

N rows, K columns, J groups of a row.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from edge.errors import Unsupported
from edge.quant import rotation
from edge.quant.held import Held, exactly, refuse_unheld
from edge.quant.recipe import Recipe
from edge.quant.tensor import BF16, FP16, FP32, ROW, Scheme
from edge.typing import F32, Shape
from edge_converters.onnx.store import DATA, Make, Matrix, Region, Store

MS = "com.microsoft"  # the domain of ONNX Runtime's own kernels
INT8_ACTIVATIONS, FLOAT_ACTIVATIONS = 4, 0  # MatMulNBits' accuracy_level
_FLOATS = {FP16: ir.DataType.FLOAT16, BF16: ir.DataType.BFLOAT16, FP32: ir.DataType.FLOAT}


_OTHERS = tuple(map(exactly, _FLOATS))
_GROUPS: tuple[int, ...] = (32, 64, 128)
TABLES: tuple[Held, ...] = (  # GatherBlockQuantized
    *_OTHERS,
    Held(
        what="integers of 2, 4 or 8 bits",
        bits=(2, 4, 8),
        group=_GROUPS,
        zero=("middle", "integer"),
        number=("fp32", "fp16", "bf16"),
    ),
)
MATRICES: tuple[Held, ...] = (  # MatMulNBits
    *TABLES,
    Held(
        what="integers of 2 or 4 bits with minimums",
        bits=(2, 4),
        group=_GROUPS,
        zero=("minimum",),
        number=("fp32", "fp16", "bf16"),
    ),
)

ROTATED = Held(
    what="integers of 2, 4 or 8 bits of rotated columns",
    bits=(2, 4, 8),
    group=_GROUPS,
    zero=("middle", "integer"),
    number=("fp32", "fp16", "bf16"),
    rotated=(True,),
)


# DynamicQuantizeMatMul, whose scale of the inputs is of all of them together: for networks that see all of
# an input at once, a decoder's answer would hang on how many tokens came with it.
NET_MATRICES: tuple[Held, ...] = (
    *MATRICES,
    Held(
        what="integers of 8 bits with a scale a row",
        bits=(8,),
        group=(ROW,),
        zero=("middle",),
        number=("fp32", "fp16", "bf16"),
    ),
)
_MIDDLE = 128  # the code of zero


@dataclass(slots=True)
class Weights:
    """Emits into `tape`; what is stored lies where `store` says. `held`: what is multiplied by."""

    tape: Tape
    store: Store
    recipe: Recipe
    exact: bool  # float activations instead of int8 ones
    held: tuple[Held, ...] = MATRICES
    signed: bool = False  # bytes for processors that add products of signed ones without overflow
    _made: dict[str, ir.Value] = field(default_factory=dict)

    def looked_up(self, name: str, tokens: ir.Value) -> ir.Value:
        """Rows of a matrix, as floats."""
        scheme = self.recipe.scheme(name, by_row=True)
        refuse_unheld("onnx", name, scheme, TABLES)
        matrix = self.store.matrix((name,), scheme)
        shape = [matrix.rows, matrix.columns]
        if scheme.is_float:
            table = self._stored(f"{name}.table", matrix.values, _FLOATS[scheme], shape)
            return self._float(self.tape.op("Gather", [table, tokens], {"axis": 0}), scheme)
        _whole_groups(name, matrix)
        codes = self._stored(
            f"{name}.{scheme}.codes",
            matrix.values,
            ir.DataType.UINT8,
            [shape[0], shape[1] * scheme.bits // 8],
        )
        attributes = {
            "bits": scheme.bits,
            "block_size": scheme.group,
            "gather_axis": 0,
            "quantize_axis": 1,
        }
        given = [codes, tokens, *self._scales(f"{name}.{scheme}", matrix)]
        return self.tape.op("GatherBlockQuantized", given, attributes, domain=MS)

    def matrix(self, *names: str) -> Matrix:
        """The stacked rows of matrices of one scheme."""
        scheme = self.recipe.scheme(names[0])
        refuse_unheld("onnx", names[0], scheme, self.held, layers=(ROTATED,))
        return self.store.matrix(names, scheme)

    def product(self, x: ir.Value, matrix: Matrix) -> ir.Value:
        if matrix.scheme.group == ROW:
            return self._by_row(x, matrix)
        if matrix.scheme.rotated:
            x = self._rotated(x, matrix.columns)
        return self._dense(x, matrix) if matrix.scheme.is_float else self._low_bit(x, matrix)

    def stacks(self, name: str) -> bool:
        """Whether a matrix and others of its scheme are one product."""
        return self.recipe.scheme(name).group != ROW

    def value(self, name: str) -> ir.Value:
        """A weight in float32, of its own shape: a vector, a table, a kernel."""
        shape = list(self.store.shape(name))
        return self._stored(name, self.store.value(name), ir.DataType.FLOAT, shape)

    def biases(self, names: tuple[str, ...], biased: Collection[str]) -> ir.Value:
        """End to end, zeros for who has none; ONNX Runtime joins constants once, when it loads."""
        vectors = [
            self.value(f"{name}.bias") if name in biased else self._zeros(self.store.rows(name))
            for name in names
        ]
        return vectors[0] if len(vectors) == 1 else self.tape.op("Concat", vectors, {"axis": 0})

    def _zeros(self, count: int) -> ir.Value:
        return self.table(f"zeros.{count}", (count,), lambda rows: np.zeros(len(rows), np.float32))

    def table(self, name: str, shape: Shape, make: Make, *, first: int | None = None) -> ir.Value:
        """An array that no checkpoint holds, in the data file; or its first rows."""
        rows, *row = shape
        region, count = self.store.constant(name, shape, make), first or rows
        return self._stored(name, region.first(count, rows), ir.DataType.FLOAT, [count, *row])

    def constant(self, name: str, value: Any, kind: ir.DataType = ir.DataType.INT64) -> ir.Value:
        """One that lies in the graph."""
        return self._once(name, lambda: ir.tensor(value, dtype=kind, name=name))

    def number(self, value: float) -> ir.Value:
        return self.constant(f"number.{value}", value, ir.DataType.FLOAT)

    def _rotated(self, x: ir.Value, columns: int) -> ir.Value:
        """As the columns of a matrix are: `edge.quant.rotation`."""
        shape, name = self.tape.op("Shape", [x]), f"rotation.{columns}"
        signs = self.table(name, (columns,), partial(_rows_of, rotation.signs(columns)))
        made, rest = self.tape.op("Mul", [x, signs]), columns
        for i, factor in enumerate(rotation.matrices(columns)):
            size = len(factor)
            rest //= size
            cut = self.constant(f"{name}.{i}.shape", [-1, size, rest])
            whole = self.table(f"{name}.{i}", factor.shape, partial(_rows_of, factor))
            made = self.tape.op("MatMul", [whole, self.tape.op("Reshape", [made, cut])])
        return self.tape.op("Reshape", [made, shape])

    def _low_bit(self, x: ir.Value, matrix: Matrix) -> ir.Value:
        scheme, groups = matrix.scheme, matrix.scheme.groups(matrix.columns)
        assert scheme.group is not None
        name = f"{matrix.name}.{scheme}"
        blob = scheme.group * scheme.bits // 8
        codes = self._stored(
            name + ".codes.blocked", matrix.values, ir.DataType.UINT8, [matrix.rows, groups, blob]
        )
        attributes = {
            "N": matrix.rows,
            "K": matrix.columns,
            "bits": scheme.bits,
            "block_size": scheme.group,
            "accuracy_level": FLOAT_ACTIVATIONS if self.exact else INT8_ACTIVATIONS,
        }
        given = [x, codes, *self._scales(name, matrix)]
        return self.tape.op("MatMulNBits", given, attributes, domain=MS)

    def _by_row(self, x: ir.Value, matrix: Matrix) -> ir.Value:
        """Codes [K, N], which lie there as signed bytes. Products of such are several times faster where a
        processor has them, and overflow where it adds them in 16 bits: x86 without VNNI. So the graph that
        everybody takes makes them unsigned, once, when it is loaded; another one takes them as they are.
        """
        assert matrix.scales is not None
        name, rows = f"{matrix.name}.{matrix.scheme}", matrix.rows
        shape = [matrix.columns, rows]
        codes = self._stored(name + ".codes.turned", matrix.values, ir.DataType.INT8, shape)
        scales = self._stored(name + ".scales", matrix.scales, ir.DataType.FLOAT, [rows])
        if self.exact:
            # Not DequantizeLinear: ONNX Runtime makes a product of it that rounds its inputs again.
            floats = self.tape.op("Cast", [codes], {"to": ir.DataType.FLOAT})
            return self.tape.op("MatMul", [x, self.tape.op("Mul", [floats, scales])])
        if self.signed:
            return self.tape.op("DynamicQuantizeMatMul", [x, codes, scales], domain=MS)
        # code + 128 in a byte: the same bits but the highest.
        middle = self.constant("middle", _MIDDLE, ir.DataType.UINT8)
        same = self.tape.op("Cast", [codes], {"to": ir.DataType.UINT8})
        unsigned = self.tape.op("BitwiseXor", [same, middle])
        zeros = self.constant(
            f"middles.{rows}", np.full(rows, _MIDDLE, np.uint8), ir.DataType.UINT8
        )
        return self.tape.op("DynamicQuantizeMatMul", [x, unsigned, scales, zeros], domain=MS)

    def _scales(self, name: str, matrix: Matrix) -> list[ir.Value]:
        """Scales [N, J], and zeros where they are not the middle code: [N, bytes of J codes], or floats
        [N, J].
        """
        assert matrix.scales is not None
        shape = [matrix.rows, matrix.scheme.groups(matrix.columns)]
        out = [self._stored(name + ".scales", matrix.scales, ir.DataType.FLOAT, shape)]
        if matrix.zeros is None:
            return out
        if matrix.scheme.zero == "minimum":
            return [*out, self._stored(name + ".zeros", matrix.zeros, ir.DataType.FLOAT, shape)]
        packed = [matrix.rows, matrix.zeros.nbytes // matrix.rows]
        return [*out, self._stored(name + ".zeros", matrix.zeros, ir.DataType.UINT8, packed)]

    def _dense(self, x: ir.Value, matrix: Matrix) -> ir.Value:
        """The checkpoint's [N, K] as it lies, so that a tied head shares the embedding's bytes."""
        kind = _FLOATS[matrix.scheme]
        weight = self._stored(matrix.name, matrix.values, kind, [matrix.rows, matrix.columns])
        weight = self._float(weight, matrix.scheme)
        return self.tape.op("FusedMatMul", [x, weight], {"transB": 1}, domain=MS)

    def _float(self, x: ir.Value, scheme: Scheme) -> ir.Value:
        return x if scheme == FP32 else self.tape.op("Cast", [x], {"to": ir.DataType.FLOAT})

    def _stored(self, name: str, region: Region, kind: ir.DataType, shape: list[int]) -> ir.Value:
        return self._once(
            name,
            lambda: ir.ExternalTensor(
                DATA, region.offset, region.nbytes, kind, shape=ir.Shape(shape), name=name
            ),
        )

    def _once(self, name: str, make: Callable[[], ir.TensorProtocol]) -> ir.Value:
        if name not in self._made:
            self._made[name] = self.tape.initializer(make(), name)
        return self._made[name]


def _rows_of(values: F32, rows: range) -> F32:
    return values[rows.start : rows.stop]


def _whole_groups(name: str, matrix: Matrix) -> None:
    """GatherBlockQuantized has no padded last block."""
    assert matrix.scheme.group is not None
    if matrix.columns % matrix.scheme.group:
        raise Unsupported(
            f"onnx cannot hold {name} as {matrix.scheme}: its rows of {matrix.columns} do not divide into groups",
            fix="give --embed fp16 or --embed fp32",
        )
