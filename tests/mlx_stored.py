"""Weights in memory as MLX's runtime reads them, packed as a recipe says by the converter's own code."""

from collections.abc import Mapping

import numpy as np

from edge.quant.recipe import Recipe
from edge.quant.tensor import QTensor
from edge.typing import F32, U8, Shape
from edge_converters.mlx.pack import packed, pieces
from edge_runtimes.mlx.folder import Form, Kind


class InMemory:
    """`edge_runtimes.mlx.weights.Stored`; matrices whose columns are no whole groups stay floats."""

    def __init__(self, weights: Mapping[str, np.ndarray], recipe: Recipe) -> None:
        self._shapes = {name: values.shape for name, values in weights.items()}
        self._forms: dict[str, Form] = {}
        self._parts: dict[tuple[str, str], U8] = {}
        self.meant: dict[str, F32] = {}  # what numpy takes for each
        for name, values in weights.items():
            self._put(name, values, recipe)

    def _put(self, name: str, values: F32, recipe: Recipe) -> None:
        scheme = recipe.scheme(name)
        group = scheme.group
        if group is None or values.ndim != 2 or values.shape[1] % group:
            self._forms[name] = Form("fp32")
            self._parts[name, "weight"] = np.ascontiguousarray(values).view(np.uint8)
            self._parts[name, "weight"] = self._parts[name, "weight"].reshape(len(values), -1)
            self.meant[name] = values
            return
        made = recipe.stored(name, values, scheme)
        assert isinstance(made, QTensor)
        self._forms[name] = Form(scheme.number, scheme.bits, group)
        rows = packed(name, 0, made, scheme)
        for piece, content in zip(pieces(scheme, values.shape[1:]), rows, strict=True):
            self._parts[name, piece.suffix] = content
        self.meant[name] = made.dequantize()

    def shape(self, name: str) -> Shape:
        return self._shapes[name]

    def form(self, name: str) -> Form:
        return self._forms[name]

    def forms(self) -> set[Form]:
        return {form for name, form in self._forms.items() if len(self._shapes[name]) == 2}

    def width(self, name: str, kind: Kind) -> int:
        return self._parts[name, kind].shape[1]

    def read(self, name: str, kind: Kind, out: U8) -> None:
        out[:] = self._parts[name, kind]
