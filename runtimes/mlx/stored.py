"""A folder's weights as mlx-lm's format means them, in numpy: what `edge verify` compares with the source.

w = code * scale + bias. N rows, K columns.
"""

from pathlib import Path

import numpy as np

from edge.files.closeable import Closeable
from edge.names import Spec
from edge.quant.bits import codes, floats, spread
from edge.quant.recipe import Recipe
from edge.quant.rotation import back
from edge.typing import F32, U8
from edge_runtimes.mlx.folder import ADDED, PACKED, Folder, Form, Kind


class MlxRows(Closeable):
    """`edge.contracts.Rows`: config.json says how each tensor is packed."""

    def __init__(self, folder: Path, spec: Spec, _recipe: Recipe) -> None:
        self._folder = Folder(folder, spec)

    @classmethod
    def over(cls, folder: Folder) -> "MlxRows":
        """Over one that is open."""
        made = cls.__new__(cls)
        made._folder = folder
        return made

    def rows(self, name: str, start: int, stop: int, *, by_row: bool) -> F32:
        form = self._folder.form(name)
        values = self._meant(name, form, PACKED, start, stop)
        if form.added is None:
            return back(values) if form.rotated else values
        more = self._meant(name, form.added, ADDED, start, stop)
        values[:, : more.shape[1]] += more
        return values[:, np.argsort(self._folder.order(name))] if form.ordered else values

    def _meant(self, name: str, form: Form, kinds: tuple[Kind, ...], start: int, stop: int) -> F32:
        weight, *rest = kinds
        if form.bits is None or form.group is None:
            return floats(self._bytes(name, weight, start, stop), form.number)
        values = codes(self._bytes(name, weight, start, stop), form.bits).astype(np.float32)
        scales, biases = (
            spread(
                floats(self._bytes(name, kind, start, stop), form.number),
                form.group,
                values.shape[1],
            )
            for kind in rest
        )
        return values * scales + biases

    def close(self) -> None:
        self._folder.close()

    def _bytes(self, name: str, kind: Kind, start: int, stop: int) -> U8:
        out = np.empty((stop - start, self._folder.width(name, kind)), np.uint8)
        self._folder.read(name, kind, out, start=start)
        return out
