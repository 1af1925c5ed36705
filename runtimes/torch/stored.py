"""An artifact's weights as its file means them, in numpy: what `edge verify` compares with the source.

N rows, K columns, J groups of a row.
"""

from pathlib import Path

import numpy as np

from edge.errors import Damaged
from edge.files.closeable import Closeable
from edge.files.safetensors import SafetensorsFile
from edge.names import Spec, shapes
from edge.quant.bits import codes, spread
from edge.quant.recipe import Recipe
from edge.quant.rotation import back
from edge.typing import F32, U8
from edge_runtimes.torch.weights import FILE


class TorchRows(Closeable):
    """`edge.contracts.Rows`: what lies there says how; a group's size is the recipe's."""

    def __init__(self, folder: Path, spec: Spec, recipe: Recipe) -> None:
        self._file = SafetensorsFile(folder / FILE)
        self._recipe, self._shapes = recipe, shapes(spec)

    def rows(self, name: str, start: int, stop: int, *, by_row: bool) -> F32:
        scheme, entries = self._recipe.scheme(name, by_row=by_row), self._file.entries
        weight = name
        if not by_row and name == "embed" and {"head", "head.codes"} & entries.keys():
            name = "head"
        if name in entries:
            return self._file.rows(name, start, stop)
        if scheme.group is None or f"{name}.scales" not in entries:
            raise Damaged(f"{FILE} holds no {name} as {scheme}", fix="convert again")
        columns = self._shapes[weight][1]
        values = self._meant(name, start, stop, scheme.width(columns))[:, :columns]
        if scheme.rotated:
            return back(values)
        if scheme.terms:
            group = scheme.terms[1].group
            assert group is not None
            more = self._meant(f"{name}.added", start, stop, group)[:, :columns]
            values[:, : more.shape[1]] += more
        if f"{name}.order" not in entries:
            return values
        order = self._bytes(f"{name}.order", 0, columns).view("<i4").ravel()
        return values[:, np.argsort(order)]

    def close(self) -> None:
        self._file.close()

    def _meant(self, name: str, start: int, stop: int, group: int) -> F32:
        """Rows of a matrix of codes, with what fills their last group."""
        scales = self._file.rows(f"{name}.scales", start, stop)  # [N, J]
        packed = self._bytes(f"{name}.codes", start, stop)
        columns = scales.shape[1] * group
        bits = packed.shape[1] * 8 // columns
        scales = spread(scales, group, columns)
        if f"{name}.levels" in self._file.entries:
            levels = self._file.rows(f"{name}.levels", 0, 1 << bits)
            meant = levels[codes(packed, bits)] * scales
            if f"{name}.zeros" in self._file.entries:
                meant += spread(self._file.rows(f"{name}.zeros", start, stop), group, columns)
            return meant
        values = codes(packed, bits).astype(np.float32)
        zeros = self._file.entries.get(f"{name}.zeros")
        if zeros is None:
            return (values - (1 << bits - 1)) * scales
        if zeros.dtype == "U8":
            middle = self._bytes(f"{name}.zeros", start, stop).astype(np.float32)
            return (values - spread(middle, group, columns)) * scales
        least = self._file.rows(f"{name}.zeros", start, stop)
        return values * scales + spread(least, group, columns)

    def _bytes(self, name: str, start: int, stop: int) -> U8:
        out = np.empty((stop - start, self._file.entries[name].row_bytes), np.uint8)
        self._file.fill(name, start, out.data)
        return out
