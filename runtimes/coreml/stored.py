"""A package's weights as MIL's operations define them, in numpy: what `edge verify` compares with the source.

w = (code - zero) * scale, the level of a code * scale, or an entry of the table of a row. N rows, K columns, J groups.
"""

import re
from pathlib import Path

import numpy as np

from edge.errors import Damaged
from edge.names import Spec
from edge.quant.bits import spread
from edge.quant.recipe import Recipe
from edge.typing import F32, AnyArray
from edge_runtimes.coreml.blobs import Blobs
from edge_runtimes.coreml.decoder import packages
from edge_runtimes.coreml.program import Constant, Op, Program


class CoreMlRows:
    """`edge.contracts.Rows`: what makes a weight in the program bears its name."""

    def __init__(self, folder: Path, _spec: Spec, recipe: Recipe) -> None:
        self._recipe = recipe
        self._made = {
            op.outputs[0][0]: (op, program.blobs)
            for program in map(Program.open, packages(folder))
            for function in program.functions.values()
            for op in function.ops
            if op.kind.startswith("const")
        }

    def rows(self, name: str, start: int, stop: int, *, by_row: bool) -> F32:
        scheme, rows = self._recipe.scheme(name, by_row=by_row), range(start, stop)
        if scheme.group is None:
            return _floats(*self._find(f"{name} {scheme}"), "val", rows)
        op, blobs = self._find(f"{name} {scheme} codes expanded")
        if scheme.zero == "table":
            first, last = start // scheme.group, -(-stop // scheme.group)
            tables = _floats(op, blobs, "lut", range(first, last)).reshape(last - first, -1)
            which = np.arange(start, stop) // scheme.group - first
            return tables[which[:, None], _read(op, blobs, "indices", rows)]
        values = self._data(op, blobs, rows)
        if "offset" in op.inputs:
            zeros = _floats(op, blobs, "offset", rows)
            values = values - spread(zeros, scheme.group, values.shape[1])
        return values * spread(_floats(op, blobs, "scale", rows), scheme.group, values.shape[1])

    def _data(self, op: Op, blobs: Blobs, rows: range) -> F32:
        """Codes as numbers, or the level that each of them means."""
        (data,) = op.inputs["data"]
        if isinstance(data, Constant):
            return _floats(op, blobs, "data", rows)
        entries, blobs = self._made[data]
        (levels,) = entries.inputs["lut"]
        assert isinstance(levels, Constant)
        table = levels.read(blobs).astype(np.float32).ravel()
        return table[_read(entries, blobs, "indices", rows)]

    def close(self) -> None:
        """Nothing stays open."""

    def _find(self, key: str) -> tuple[Op, Blobs]:
        found = self._made.get(re.sub(r"\W", "_", key))
        if found is None:
            raise Damaged(f"no program holds {key}", fix="convert again")
        return found


def _floats(op: Op, blobs: Blobs, which: str, rows: range) -> F32:
    return _read(op, blobs, which, rows).astype(np.float32)


def _read(op: Op, blobs: Blobs, which: str, rows: range) -> AnyArray:
    (constant,) = op.inputs[which]
    assert isinstance(constant, Constant)
    found: AnyArray = constant.read(blobs, rows)
    return found
