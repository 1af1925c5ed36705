"""A whole target of few lines: every weight in float32, in one safetensors file under canonical names."""

import json
import math
from pathlib import Path

import numpy as np

from edge.contracts import About
from edge.files.datafile import DataFile, Mode
from edge.names import shapes
from edge.quant.held import exactly, refuse_unheld
from edge.quant.recipe import Recipe
from edge.quant.tensor import FP32
from edge.spec import DecoderSpec
from edge.typing import F32

FILE = "weights.safetensors"
TOOLS: tuple[str, ...] = ()  # no package has a say in the bytes
ALIASES: dict[str, str] = {}
HELD = (exactly(FP32),)


class DoublesLayout:
    """`edge.contracts.Layout`: where each tensor will lie, from shapes alone."""

    def __init__(self, spec: DecoderSpec, recipe: Recipe) -> None:
        self.spec, self.recipe = spec, recipe
        self.shapes, self.offsets = shapes(spec), dict[str, int]()
        table, at = {}, 0
        for name, shape in self.shapes.items():
            for by_row in (False, True):  # of a tied table, the head and the embedding
                if len(shape) == 2:
                    refuse_unheld("doubles", name, recipe.scheme(name, by_row=by_row), HELD)
            self.offsets[name] = at
            end = at + 4 * math.prod(shape)
            table[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, end]}
            at = end
        header = json.dumps(table).encode()
        self.header = len(header).to_bytes(8, "little") + header
        self.nbytes = len(self.header) + at

    def open(self, folder: Path, about: About, mode: Mode = "write") -> "DoublesWriter":
        return DoublesWriter(self, folder, mode)


class DoublesWriter:
    """`edge.contracts.Writer`."""

    def __init__(self, layout: DoublesLayout, folder: Path, mode: Mode) -> None:
        self._layout = layout
        self._data = DataFile(folder / FILE, layout.nbytes, mode)
        self.sync, self.close = self._data.sync, self._data.close

    @property
    def differing(self) -> int:
        return self._data.differing

    def put(self, name: str, row: int, block: F32) -> int:
        width = math.prod(self._layout.shapes[name][1:])
        start = len(self._layout.header) + self._layout.offsets[name]
        return self._data.put(start + 4 * width * row, block.astype(np.float32))

    def finish(self) -> None:
        self._data.put(0, self._layout.header)


layout = DoublesLayout  # the name that `edge.contracts.Converter` gives it


def memory(spec: DecoderSpec) -> int:
    """Peak resident bytes of a conversion, however large its weights."""
    return 100_000_000
