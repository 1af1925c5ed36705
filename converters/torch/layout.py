"""A checkpoint -> `model.safetensors` under canonical names: a float as NAME; codes as NAME.codes, with
NAME.scales and, where a group has a zero or a minimum of its own, NAME.zeros; where codes mean levels of
their method's, NAME.levels [2^bits].

Two 4-bit codes share a byte, the even column in the low half. Vectors are float32. A tied head whose
precision is not the embedding's is stored as `head`. N rows, K columns, J groups of a row.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from edge.contracts import About
from edge.files.datafile import DataFile, Mode
from edge.files.safetensors import Tensor, header_of, wide_first
from edge.names import Spec, shapes, tied
from edge.net import NetSpec
from edge.nn.tracing import matrices, tables
from edge.quant.held import Held, exactly, refuse_unheld
from edge.quant.methods import methods
from edge.quant.recipe import Recipe
from edge.quant.stream import packed
from edge.quant.tensor import FLOATS, FP32, ROW, SUMS, QTensor, Scheme, float_bytes
from edge.typing import F32, U8

FILE = "model.safetensors"
TOOLS: tuple[str, ...] = ()
ALIASES = {"int4": "rtn-int4-g32-bf16", "int8": "rtn-int8-g32-bf16"}  # what torch has kernels for
BODIES = {"int4": "gptq-int4-g32-bf16"}
BASE = 100_000_000  # bytes: interpreter, numpy, blocks in flight
_PICTURES = 12_000_000  # bytes: modules, labels
ALIGN = 64  # of the first tensor
HELD: tuple[Held, ...] = (
    *map(exactly, FLOATS.values()),
    Held(
        what="integers of 2 to 6 and of 8 bits",
        bits=(2, 3, 4, 5, 6, 8),
        group=(32, 64, 128),
        zero=("middle", "integer", "minimum"),
        number=tuple(FLOATS),
    ),
    Held(
        what="levels of 4 or 8 bits",
        bits=(4, 8),
        group=(32, 64, 128),
        zero=("levels",),
        number=tuple(FLOATS),
    ),
    Held(
        what="levels of 4 bits with shifts",
        bits=(4,),
        group=(32, 64, 128),
        zero=("shifted",),
        number=tuple(FLOATS),
    ),
)
LAYERS: tuple[Held, ...] = (  # beside these, for matrices of layers
    Held(
        what="sums of two products of few bits",
        bits=(1, 2),
        group=(32, 64, 128),
        zero=SUMS,
        number=tuple(FLOATS),
    ),
    Held(
        what="integers of rotated columns",
        bits=(2, 3, 4, 5, 6, 8),
        group=(32, 64, 128),
        zero=("middle", "integer", "minimum"),
        number=tuple(FLOATS),
        rotated=(True,),
    ),
    Held(
        what="integers whose inputs are rounded to as many bits",
        bits=(4, 6),
        group=(ROW,),
        zero=("middle",),
        number=("fp32",),
        inputs=(4, 6),
    ),
)
Kind = TypeVar("Kind", bound=Spec)
_FLOATS = {"fp32": "F32", "fp16": "F16", "bf16": "BF16"}


@dataclass(frozen=True, slots=True)
class StoredCopy:
    """One of the copies that the file has of a weight: under which name, and in which precision."""

    weight: str
    name: str
    scheme: Scheme


class TorchLayout(Generic[Kind]):
    """Where each tensor will lie; refuses what torch does not hold here."""

    def __init__(self, spec: Kind, recipe: Recipe) -> None:
        self.spec, self.recipe = spec, recipe
        self.stored: dict[str, list[StoredCopy]] = {}
        tensors: dict[str, Tensor] = {}
        for name, shape in shapes(spec).items():
            self.stored[name] = list(_stored(name, spec, recipe))
            for stored in self.stored[name]:
                tensors |= _tensors(stored, shape)
        self.tensors = wide_first(tensors)
        self.header, self.offsets = header_of(self.tensors, "pt", align=ALIGN)
        self.nbytes = len(self.header) + sum(tensor.nbytes for tensor in tensors.values())

    def open(self, folder: Path, about: About, mode: Mode = "write") -> "TorchWriter":
        return TorchWriter(self, folder, mode)


class TorchWriter:
    """`edge.contracts.Writer`: the tensors, then the header that names them."""

    def __init__(self, layout: TorchLayout[Any], folder: Path, mode: Mode) -> None:
        self._layout = layout
        self._data = DataFile(folder / FILE, layout.nbytes, mode)
        self.sync, self.close = self._data.sync, self._data.close

    @property
    def differing(self) -> int:
        return self._data.differing

    def put(self, name: str, row: int, block: F32) -> int:
        done = 0
        for stored in self._layout.stored[name]:
            values = self._layout.recipe.stored(name, block, stored.scheme, row=row)
            if row == 0 and isinstance(values, QTensor) and values.order is not None:
                order = values.order.astype("<i4").view(np.uint8)
                done += self._data.put(self._layout.offsets[f"{stored.name}.order"], order)
            for part, content in _parts(stored, values):
                offset = self._layout.offsets[part]
                done += self._data.put(offset + row * self._layout.tensors[part].row_bytes, content)
        return done

    def finish(self) -> None:
        self._data.put(0, self._layout.header)
        for stored in chain.from_iterable(self._layout.stored.values()):
            if stored.scheme.leveled:
                levels = np.array([methods()[stored.scheme.method].levels], np.float32)
                offset = self._layout.offsets[f"{stored.name}.levels"]
                self._data.put(offset, float_bytes(levels, stored.scheme.number))


def memory(spec: Spec) -> int:
    """Peak resident bytes of a conversion, however large its weights."""
    return BASE


def net_memory(spec: NetSpec) -> int:
    """The same of a network, with what pictures need."""
    return BASE + _PICTURES


def _stored(name: str, spec: Spec, recipe: Recipe) -> Iterator[StoredCopy]:
    if name not in matrices(spec):
        yield StoredCopy(name, name, FP32)
        return
    scheme = recipe.scheme(name, by_row=name in tables(spec))
    yield StoredCopy(name, name, scheme)
    if tied(spec, name) and recipe.scheme(name) != scheme:
        yield StoredCopy(name, "head", recipe.scheme(name))


def _tensors(stored: StoredCopy, shape: tuple[int, ...]) -> dict[str, Tensor]:
    scheme, name = stored.scheme, stored.name
    refuse_unheld("torch", name, scheme, HELD, layers=LAYERS)
    if scheme.group is None:
        return {name: Tensor(_FLOATS[scheme.number], shape)}
    if not scheme.terms:
        return _coded(name, scheme, shape)
    first, second = scheme.terms
    added = _coded(f"{name}.added", second, (shape[0], scheme.added(shape[1])))
    order = {f"{name}.order": Tensor("U8", (shape[1], 4))} if scheme.ordered else {}
    return _coded(name, first, shape) | added | order


def _coded(name: str, scheme: Scheme, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """Tensors of codes."""
    rows, groups = shape[0], scheme.groups(shape[1])
    number = _FLOATS[scheme.number]
    out = {
        f"{name}.codes": Tensor("U8", (rows, groups * scheme.width(shape[1]) * scheme.bits // 8)),
        f"{name}.scales": Tensor(number, (rows, groups)),
    }
    if scheme.leveled:
        out[f"{name}.levels"] = Tensor(number, (1 << scheme.bits,))
    if scheme.zero not in ("middle", "levels"):
        kind = "U8" if scheme.zero == "integer" else number
        out[f"{name}.zeros"] = Tensor(kind, (rows, groups))
    return out


def _parts(stored: StoredCopy, values: F32 | QTensor) -> Iterator[tuple[str, U8]]:
    """Tensors of a block of rows, as bytes."""
    number = stored.scheme.number
    if not isinstance(values, QTensor):
        yield stored.name, float_bytes(values, number)
        return
    names = (stored.name, f"{stored.name}.added")
    for name, term in zip(names, values.terms, strict=False):
        yield f"{name}.codes", packed(term.codes, term.scheme.bits)
        yield f"{name}.scales", float_bytes(term.scales, number)
        if term.zeros is not None:
            yield f"{name}.zeros", _zeros(term.zeros, term.scheme)


def _zeros(zeros: U8 | F32, scheme: Scheme) -> U8:
    if scheme.zero == "integer":
        return zeros.astype(np.uint8)
    return float_bytes(zeros.astype(np.float32), scheme.number)
