"""The weights of an artifact: one safetensors file, whose header is checked before any of it is
mapped. Nothing is unpickled.

N rows, K columns, J groups of a row.
"""

import math
import mmap
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from edge.errors import Damaged
from edge.files.safetensors import SafetensorsFile
from edge.names import Spec, shapes
from edge.nn.tracing import matrices, tables
from edge.quant.recipe import Recipe
from edge.quant.tensor import Float, Scheme
from edge.spec import DecoderSpec
from edge.typing import Shape
from edge_runtimes.torch.lowbit import Codes, Int4Product, Rotated, Rounded, Sum, has_kernel
from edge_runtimes.torch.shared import Matrix, product, taken

FILE = "model.safetensors"
DTYPES: Mapping[Float, torch.dtype] = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}
_NAMES: Mapping[Float, str] = {"fp32": "F32", "fp16": "F16", "bf16": "BF16"}
_KINDS = {"U8": torch.uint8} | {_NAMES[number]: kind for number, kind in DTYPES.items()}
Weight = torch.Tensor | Matrix


@dataclass(frozen=True, slots=True)
class Tied:
    """A table and a head that are one weight in two precisions."""

    table: Weight
    head: Weight

    def take(self, rows: torch.Tensor) -> torch.Tensor:
        return taken(self.table, rows)

    def product(self, x: torch.Tensor) -> torch.Tensor:
        return product(x, self.head, None)

    def first(self, rows: int) -> Weight:
        return first(self.head, rows)


def first(weight: Weight, rows: int) -> Weight:
    """The first rows of a weight, where they lie: `edge_runtimes.torch.ops.Matrix.first`."""
    return weight[:rows] if isinstance(weight, torch.Tensor) else weight.first(rows)


def load(
    folder: Path, spec: Spec, recipe: Recipe, *, dtype: torch.dtype, device: torch.device
) -> dict[str, Weight]:
    """Every weight of a spec, ready for products in `dtype`."""
    file = _File(folder / FILE, dtype, device)
    out: dict[str, Weight] = {}
    for name, shape in shapes(spec).items():
        if name not in matrices(spec):
            out[name] = file.tensor(name, "fp32", shape)
        elif name == "embed" and isinstance(spec, DecoderSpec):
            out[name] = _table(file, shape, spec, recipe)
        elif name in tables(spec):
            out[name] = file.table(name, shape, recipe.scheme(name, by_row=True))
        else:
            out[name] = file.matrix(name, shape, recipe.scheme(name))
    file.done()
    return out


def _table(file: "_File", shape: Shape, spec: DecoderSpec, recipe: Recipe) -> Weight:
    """The embedding; of a tied model, the head as well."""
    by_row, scheme = recipe.scheme("embed", by_row=True), recipe.scheme("embed")
    if not spec.tied:
        return file.table("embed", shape, by_row)
    if by_row == scheme:
        return file.matrix("embed", shape, scheme)
    return Tied(file.table("embed", shape, by_row), file.matrix("head", shape, scheme))


class _File:
    """An open file whose tensors are asked for one by one, and must all be."""

    def __init__(self, path: Path, dtype: torch.dtype, device: torch.device) -> None:
        self._path, self._dtype, self._device = path, dtype, device
        with SafetensorsFile(path) as file:
            self._entries = dict(file.entries)
        with path.open("rb") as opened:
            self._map = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)
        self._bytes = torch.frombuffer(self._map, dtype=torch.uint8)

    def tensor(self, name: str, number: Float | None, shape: Shape) -> torch.Tensor:
        """A tensor of floats of a type, or of bytes, in exactly this shape."""
        dtype = "U8" if number is None else _NAMES[number]
        entry = self._entries.pop(name, None)
        if entry is None:
            raise self._wrong(f"it lacks {name}")
        if (entry.dtype, entry.shape) != (dtype, shape):
            found, wanted = f"{entry.dtype} {list(entry.shape)}", f"{dtype} {list(shape)}"
            raise self._wrong(f"{name} is {found}, and edge.json makes it {wanted}")
        kind = _KINDS[dtype]
        raw = self._bytes[entry.start : entry.start + math.prod(shape) * kind.itemsize]
        if entry.start % kind.itemsize:  # as other writers may leave it
            raw = raw.clone()
        return raw.view(kind).view(shape).to(self._device)

    def table(self, name: str, shape: Shape, scheme: Scheme) -> Weight:
        """A weight whose rows are looked up."""
        if scheme.group is None:
            return self.tensor(name, scheme.number, shape)
        if not scheme.terms:
            return self._codes(name, shape, scheme)
        first, second = scheme.terms
        added = self._codes(f"{name}.added", (shape[0], scheme.added(shape[1])), second)
        order = None
        if scheme.ordered:
            raw = self.tensor(f"{name}.order", None, (shape[1], 4)).contiguous()
            order = raw.view(torch.int32).flatten().long()
            if not torch.equal(order.sort().values, torch.arange(shape[1], device=order.device)):
                raise self._wrong(f"{name}.order does not name each column once")
        return Sum(self._codes(name, shape, first), added, order)

    def _codes(self, name: str, shape: Shape, scheme: Scheme) -> Codes:
        rows, groups = shape[0], scheme.groups(shape[1])
        each = (rows, groups)
        zeros = levels = None
        if scheme.leveled:
            levels = self.tensor(f"{name}.levels", scheme.number, (1 << scheme.bits,))
        if scheme.zero not in ("middle", "levels"):
            number = None if scheme.zero == "integer" else scheme.number
            zeros = self.tensor(f"{name}.zeros", number, each)
        packed = (rows, groups * scheme.width(shape[1]) * scheme.bits // 8)
        codes = self.tensor(f"{name}.codes", None, packed)
        scales = self.tensor(f"{name}.scales", scheme.number, each)
        return Codes(codes, scales, zeros, scheme, shape[1], levels)

    def matrix(self, name: str, shape: Shape, scheme: Scheme) -> Weight:
        """A weight that is multiplied with."""
        if scheme.rotated:
            plain = self.matrix(name, shape, replace(scheme, rotated=False))
            assert isinstance(plain, Codes | Int4Product)
            return Rotated.of(plain, shape[1], self._dtype, self._device)
        if scheme.inputs:
            return Rounded(self._codes(name, shape, scheme), scheme.inputs)
        found = self.table(name, shape, scheme)
        if isinstance(found, torch.Tensor):
            return found.to(self._dtype)
        if isinstance(found, Sum):
            return found
        assert isinstance(found, Codes)
        if not has_kernel(found, self._dtype):
            return found
        made = Int4Product(found)
        if hasattr(mmap, "MADV_DONTNEED"):  # pages that were only read to be packed
            self._map.madvise(mmap.MADV_DONTNEED)
        return made

    def done(self) -> None:
        """Nothing may be left."""
        if self._entries:
            raise self._wrong(f"it holds {next(iter(self._entries))!r:.80}, which no weight needs")

    def _wrong(self, what: str) -> Damaged:
        return Damaged(
            f"{self._path} is of another model than its edge.json: {what}", fix="convert again"
        )
