"""A checkpoint -> a file that any llama.cpp loads, equal to what its own converter writes; with exits, a
file up to each and one for the rest.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge.contracts import About
from edge.errors import Unsupported
from edge.files.datafile import DataFile, Mode
from edge.gguf import keys, mixtures
from edge.gguf.architectures import Architecture, TensorRows, architecture, check, longest, stacks
from edge.gguf.blocks import kind_of, pack
from edge.gguf.keys import Keys, rope_tensors
from edge.gguf.kinds import BY_NAME, Kind
from edge.gguf.vocabulary import of_folder
from edge.names import shapes
from edge.quant.ggml import BLOCKS
from edge.quant.held import Held, exactly, refuse_unheld
from edge.quant.recipe import Recipe, word
from edge.quant.tensor import FLOATS, Scheme
from edge.spec import DecoderSpec
from edge.typing import F32, U8
from edge_converters.gguf.files import ModelFiles

if TYPE_CHECKING:
    from edge_converters.gguf.quantizer import Quantizer

TOOLS: tuple[str, ...] = ()
LIBRARY = ("llama-cpp-python",)
ALIASES = {"int4": "q4_0", "int8": "q8_0"}
BODIES = {"int4": "gptq-int4-g32-fp16"}
WHOLE_GROUPS = True
BASE = 128_000_000  # bytes: interpreter, numpy, the header's keys, blocks in flight
# llama.cpp's number of a file whose matrices are mostly of a type.
_FILE_TYPES = {
    "F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "BF16": 32,
}  # fmt: skip

HELD: tuple[Held, ...] = (
    *map(exactly, FLOATS.values()),
    Held(what="q8_0", bits=(8,), group=(32,), zero=("middle",), number=("fp16",)),
    Held(
        what="q5_0, q5_1, q4_0, q4_1",
        bits=(4, 5),
        group=(32,),
        zero=("middle", "minimum"),
        number=("fp16",),
    ),
    *(replace(exactly(scheme), what="llama.cpp's own types") for scheme in BLOCKS.values()),
)


class GgufLayout:
    """Every matrix's type. `spec`: with the context up to which llama.cpp computes what it says, and
    drafts of all ids, for a file has one head.
    """

    def __init__(self, spec: DecoderSpec, recipe: Recipe) -> None:
        self.spec = replace(spec, context=longest(spec), draft_vocab=None)
        self.recipe = recipe
        self.splits_head = spec.tied and self.scheme("embed") != self.scheme("embed", head=True)
        self.nbytes = sum(self._sizes())

    def scheme(self, name: str, *, head: bool = False) -> Scheme:
        return self.recipe.scheme(name, by_row=name == "embed" and not head)

    def kind(self, name: str, *, head: bool = False) -> Kind:
        """The type of a matrix; refuses a scheme that no type holds."""
        scheme, columns = self.scheme(name, head=head), shapes(self.spec)[name][1]
        refuse_unheld("gguf", name, scheme, HELD)
        kind = kind_of(scheme)
        assert kind is not None, f"no type of {scheme}"
        if columns % kind.block:
            raise Unsupported(
                f"{name} has {columns} columns, which the blocks of {kind.block} of {word(scheme)} do not divide",
                fix=f"give it a precision of its own: --override '{_like(name)}=fp16'",
            )
        return kind

    def open(self, folder: Path, about: About, mode: Mode = "write") -> "GgufWriter":
        return GgufWriter(self, folder, about, mode)

    def _sizes(self) -> Iterator[int]:
        for name, shape in shapes(self.spec).items():
            kind = self.kind(name) if len(shape) == 2 else BY_NAME["F32"]
            yield kind.row_bytes(shape[-1]) * (shape[0] if len(shape) == 2 else 1)
            if name == "embed" and self.splits_head:
                yield self.kind(name, head=True).row_bytes(shape[1]) * shape[0]


class GgufWriter:
    """`edge.contracts.Writer`: tensors where `ModelFiles` says, then the header."""

    def __init__(self, layout: GgufLayout, folder: Path, about: About, mode: Mode) -> None:
        self._layout = layout
        arch = _architecture(layout, about)
        head = layout.splits_head or (layout.spec.tied and arch.head == "own")
        self._model = ModelFiles.of(
            layout.spec, arch, _kinds(layout, arch, head=head), _keys(layout, arch, folder, about)
        )
        self._quantize = _quantizer(folder) if layout.recipe.foreign else None
        with ExitStack() as stack:
            self._files = [
                stack.enter_context(DataFile(folder / file.name, file.nbytes, mode))
                for file in self._model.files
            ]
            self.close = stack.pop_all().close

    @property
    def differing(self) -> int:
        return sum(file.differing for file in self._files)

    def sync(self) -> None:
        for file in self._files:
            file.sync()

    def put(self, name: str, row: int, block: F32) -> int:
        return sum(self._put(name, place, row, block) for place in self._model.places[name])

    def finish(self) -> None:
        for name, values in rope_tensors(self._layout.spec.rope).items():
            region = self._model.regions[name]
            self._files[region.file].put(region.offset, values)
        for file, planned in zip(self._files, self._model.files, strict=True):
            file.put(0, planned.header)

    def _put(self, name: str, place: TensorRows, row: int, block: F32) -> int:
        region = self._model.regions[place.tensor]
        file = self._files[region.file]
        if block.ndim == 1:
            packed, size = block.reshape(-1, 1).view(np.uint8), block.itemsize
        else:
            packed = self._packed(name, row, block, head=place.tensor == "output.weight")
            size = region.row_bytes
        first = region.offset + place.first * size
        if place.order is None:
            return file.put(first + row * size, packed)
        rows = place.order[row : row + len(block)]
        return sum(
            file.put(first + int(at) * size, one) for at, one in zip(rows, packed, strict=True)
        )

    def _packed(self, name: str, row: int, block: F32, *, head: bool) -> U8:
        """Rows as bytes. In a mixture every type is made by the library, for it alone knows importance."""
        recipe, scheme = self._layout.recipe, self._layout.scheme(name, head=head)
        foreign = scheme.block_bytes or (recipe.mixture is not None and not scheme.is_float)
        if foreign and self._quantize is not None:
            return self._quantize(name, row, block, self._layout.kind(name, head=head))
        return pack(recipe.stored(name, block, scheme, row=row), scheme)


def layout(spec: DecoderSpec, recipe: Recipe) -> GgufLayout:
    return GgufLayout(spec, recipe)


def mixed(
    mixture: str, spec: DecoderSpec, known_as: Mapping[str, str], *, calibrated: bool | None
) -> Mapping[str, str]:
    """The types of a mixture of llama.cpp's, by canonical name; `known_as`: a family's names."""
    return mixtures.mixed(mixture, spec, _named(known_as), calibrated=calibrated)


def memory(spec: DecoderSpec) -> int:
    """Peak resident bytes of a conversion."""
    return BASE


def _like(name: str) -> str:
    """A pattern for this weight in all layers."""
    return re.sub(r"^layers\.\d+", "layers.*", name)


def _quantizer(folder: Path) -> "Quantizer":
    try:
        from edge_converters.gguf.quantizer import Quantizer
    except ModuleNotFoundError as error:
        raise Unsupported(
            f"types of this recipe are made by the package {error.name}, which is not installed",
            fix="pip install 'edge-toolkit[gguf]', or use --quant int4",
        ) from None
    return Quantizer.of_folder(folder)


def _named(known_as: Mapping[str, str]) -> Architecture:
    name = known_as.get("gguf")
    if name is None:
        raise Unsupported(
            "llama.cpp has no architecture that computes this family",
            fix="convert to another target, such as onnx or mlx",
        )
    return architecture(name)


def _architecture(layout: GgufLayout, about: About) -> Architecture:
    arch = _named(about.family.known_as)
    check(layout.spec, arch)
    if layout.spec.exits and keys.listed(layout.spec, arch):
        raise Unsupported(
            f"llama.cpp's architecture {arch.name!r} has lists of a number a layer here, and cannot open the "
            "first layers alone",
            fix="leave out --layerskip, or convert to onnx",
        )
    if layout.splits_head and arch.head == "embed":
        raise Unsupported(
            f"llama.cpp's architecture {arch.name!r} has one table for embedding and head",
            fix="give --embed and --head the same precision",
        )
    return arch


def _kinds(layout: GgufLayout, arch: Architecture, *, head: bool) -> dict[str, Kind]:
    """The type of every matrix of the file; stacked weights have one in common."""
    out = {}
    for tensor, stacked in stacks(layout.spec, arch, head=head).items():
        if len(stacked.shape) == 1:
            continue
        kinds = {layout.kind(name, head=tensor == "output.weight") for name in stacked.weights}
        if len(kinds) > 1:
            raise Unsupported(
                f"llama.cpp stacks {', '.join(stacked.weights)} in one tensor of one type",
                fix="give them the same precision",
            )
        out[tensor] = kinds.pop()
    return out


def _keys(layout: GgufLayout, arch: Architecture, folder: Path, about: About) -> Keys:
    return {
        **keys.of_spec(layout.spec, arch),
        "general.type": keys.text("model"),
        "general.file_type": keys.count(_file_type(layout.recipe)),
        **of_folder(folder, layout.spec.vocab, about.name),
    }


def _file_type(recipe: Recipe) -> int:
    if recipe.mixture is not None:
        return mixtures.RULES[recipe.mixture].file_type
    body = kind_of(recipe.body)
    assert body is not None
    return _FILE_TYPES[body.name]
