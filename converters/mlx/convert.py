"""A checkpoint -> a folder that mlx-lm loads: config.json, safetensors files, their index.

Tensors keep the names that the checkpoint gives them, fused ones stay fused: so does mlx-lm.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Generic, TypeVar

from edge.contracts import About
from edge.errors import Unsupported
from edge.files.datafile import Mode
from edge.names import Spec, own_places, shapes, tied
from edge.net import NetSpec
from edge.nn.tracing import matrices, tables
from edge.quant.held import Held, exactly, refuse_unheld
from edge.quant.recipe import Recipe, word
from edge.quant.tensor import FLOATS, SUMS, Scheme
from edge.spec import DecoderSpec
from edge.typing import Shape
from edge_converters.mlx.pack import GROUPS, order_of, pieces
from edge_converters.mlx.tensors import MlxTensors
from edge_converters.mlx.writer import MlxWriter

BASE = 97_000_000  # bytes: interpreter, numpy, blocks in flight
_PICTURES = 12_000_000  # bytes: modules, labels
TOOLS: tuple[str, ...] = ()
ALIASES = {"int4": "rtn-int4-g64-min-fp16", "int8": "rtn-int8-g64-min-fp16"}
BODIES = {"int4": "gptq-int4-g64-min-fp16"}
WHOLE_GROUPS = True

Kind = TypeVar("Kind", bound=Spec)
_BITS = (2, 3, 4, 5, 6, 8)
HELD: tuple[Held, ...] = (
    *map(exactly, FLOATS.values()),
    Held(
        what="integers of 2 to 6 and of 8 bits",
        bits=_BITS,
        group=GROUPS,
        zero=("middle", "minimum"),
        number=tuple(FLOATS),
    ),
    Held(  # a bias is a zero times a scale, which is no short float
        what="integers with zeros of their own and scales in fp32",
        bits=_BITS,
        group=GROUPS,
        zero=("integer",),
        number=("fp32",),
    ),
)

LAYERS: tuple[Held, ...] = (  # beside these, for matrices of layers
    Held(
        what="sums of two products of few bits",
        bits=(1, 2),
        group=GROUPS,
        zero=SUMS,
        number=tuple(FLOATS),
    ),
    Held(
        what="integers of rotated columns",
        bits=_BITS,
        group=GROUPS,
        zero=("middle", "minimum"),
        number=tuple(FLOATS),
        rotated=(True,),
    ),
)


def layout(spec: DecoderSpec, recipe: Recipe) -> "MlxLayout[DecoderSpec]":
    return MlxLayout(spec, recipe)


def net_layout(spec: NetSpec, recipe: Recipe) -> "MlxLayout[NetSpec]":
    """Under canonical names: no library of MLX's loads these networks by those of a checkpoint."""
    return MlxLayout(spec, recipe)


def memory(spec: Spec) -> int:
    """Peak resident bytes of a conversion, however large its weights."""
    return BASE


def net_memory(spec: NetSpec) -> int:
    """The same of a network, with what pictures need."""
    return BASE + _PICTURES


class MlxLayout(Generic[Kind]):
    """How every weight is stored."""

    def __init__(self, spec: Kind, recipe: Recipe) -> None:
        self.spec, self.recipe = spec, recipe
        self.schemes = {name: self._scheme(name, shape) for name, shape in shapes(spec).items()}
        self.nbytes = sum(_nbytes(self.schemes[name], s) for name, s in shapes(spec).items())

    def open(self, folder: Path, about: About, mode: Mode = "write") -> MlxWriter:
        decoder = isinstance(self.spec, DecoderSpec)
        places = about.family.names.places(self.spec) if decoder else own_places(self.spec)
        tensors = MlxTensors.of(self.spec, self.recipe, self.schemes, places)
        return MlxWriter(tensors, folder, about, mode)

    def _scheme(self, name: str, shape: Shape) -> Scheme:
        """A vector has the type of the body's scales, as mlx-lm computes in one type."""
        if name not in matrices(self.spec):
            refuse_unheld("mlx", name, self.recipe.body, (*HELD, *LAYERS))
            return FLOATS[self.recipe.body.number]
        scheme = self.recipe.scheme(name, by_row=name in tables(self.spec))
        if tied(self.spec, name) and scheme != self.recipe.scheme(name):
            raise Unsupported(
                "the head of this model is its embedding, and MLX stores it once",
                fix="give --embed and --head the same precision",
            )
        _check(name, scheme, shape[1])
        return scheme


def _nbytes(scheme: Scheme, shape: Shape) -> int:
    order = order_of(scheme, shape[1:])
    rows = shape[0] * sum(piece.row_bytes for piece in pieces(scheme, shape[1:]))
    return rows + (0 if order is None else order.row_bytes)


def _check(name: str, scheme: Scheme, columns: int) -> None:
    """Refuse what no code, scale and bias can say."""
    refuse_unheld("mlx", name, scheme, HELD, layers=LAYERS)
    if scheme.group is None:
        return
    if columns % scheme.group:
        like = re.sub(r"^layers\.\d+", "layers.*", name)
        smaller = [group for group in GROUPS if columns % group == 0]
        instead = word(replace(scheme, group=smaller[-1])) if smaller else "fp16"
        raise Unsupported(
            f"mlx cannot hold {name} as {word(scheme)}: groups of {scheme.group} do not divide its "
            f"{columns} columns, and it has no shorter last group",
            fix=f"give it a precision of its own: --override '{like}={instead}'",
        )
