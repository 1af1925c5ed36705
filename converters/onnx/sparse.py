"""Block-sparse attention as a bias on the scores, computed in the graph from positions.

GroupQueryAttention takes the bias with any cache, shared or not; the SparseAttention operator gives the
same numbers at the same speed and memory, but only where past and present are one buffer.

B sequences, T new positions, S rows of the cache, H query heads.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from edge.spec import BlockSparse

HIDDEN = np.float32(-3e38)  # finite: 0 times it is 0


def bias(
    tape: Tape,
    constant: Callable[[str, Any, ir.DataType], ir.Value],
    sparse: BlockSparse,
    heads: int,
    *,
    positions: ir.Value,
    total: ir.Value,
) -> ir.Value:
    """positions [B, T], total rows -> [B, H, T, S]: 0 where a head sees, else very negative."""
    whole, number, to = ir.DataType.INT64, ir.DataType.FLOAT, {"to": ir.DataType.FLOAT}
    at = f"sparse.{sparse.block}.{sparse.local}.{sparse.stride}.{heads}."

    def fixed(name: str, value: Any, kind: ir.DataType = whole) -> ir.Value:
        return constant(at + name, value, kind)

    size = fixed("block", sparse.block)
    end = tape.op("Cast", [total], {"to": whole})
    columns = tape.op("Range", [fixed("zero", 0), end, fixed("one", 1)])
    block = tape.op("Div", [columns, size])  # [S]
    row = tape.op("Unsqueeze", [tape.op("Div", [positions, size]), fixed("last", [-1])])
    apart = tape.op("Sub", [row, block])  # [B, T, S]
    far = tape.op("GreaterOrEqual", [apart, fixed("local", sparse.local)])
    far = tape.op("Unsqueeze", [tape.op("Cast", [far], to), fixed("second", [1])])  # [B, 1, T, S]

    shifts = [[[[1 + sparse.shift(heads) * head]] for head in range(heads)]]  # [1, H, 1, 1]
    column = tape.op("Add", [block, fixed("shifts", shifts)])  # [1, H, 1, S]
    rest = tape.op("Mod", [column, fixed("stride", sparse.stride)])
    between = tape.op("Cast", [tape.op("Cast", [rest], {"to": ir.DataType.BOOL})], to)
    return tape.op("Mul", [far, tape.op("Mul", [between, fixed("hidden", HIDDEN, number)])])
