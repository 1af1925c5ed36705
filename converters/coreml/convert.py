"""A checkpoint -> one .mlpackage, or several where one would be too large for the Neural Engine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from edge.contracts import About
from edge.errors import Damaged
from edge.files.datafile import DataFile, Mode
from edge.names import Spec, shapes
from edge.net import NetSpec, batch_of
from edge.nn.decoder import head_name
from edge.nn.networks import define
from edge.quant.recipe import Recipe
from edge.spec import DecoderSpec, parts
from edge.typing import F32
from edge_converters.coreml.entries import entries
from edge_converters.coreml.export import WEIGHTS, model, write
from edge_converters.coreml.graph import Chunk, number_of, program
from edge_converters.coreml.net_graph import net_program
from edge_converters.coreml.toolkit import ct
from edge_converters.coreml.weight_file import WeightFile, refuse

TOOLS = ("coremltools",)
FIXED_CACHES = True  # a state has its size from the conversion
ALIASES = {
    "int4": "rtn-int4-g32-fp16",
    "int8": "rtn-int8-g32-fp16",
    **{f"lut{bits}": f"lut{bits}-g32-fp16" for bits in (1, 2, 3, 4, 6, 8)},
}
BODIES = {"int4": "gptq-int4-g32-fp16"}
WHOLE_GROUPS = True
# The Neural Engine takes compiled models of up to 1 GiB from macOS 27 on, and of 2 GiB before; one
# byte more, and all of it runs on the CPU without a word. Measured, not documented: release notes of
# eeANE 1.6.1 (github.com/xhighhongo41/eeANE). The rest is room for the program.
LIMIT = (1 << 30) - (48 << 20)
Kind = TypeVar("Kind", bound=Spec)
BASE = 358_000_000  # bytes: interpreter, numpy, coremltools, a tokenizer, blocks in flight


@dataclass(frozen=True, slots=True)
class CoreMlLayout(Generic[Kind]):
    """Packages by the names of their folders, weight files and programs, from shapes alone."""

    spec: Kind
    recipe: Recipe
    folders: Sequence[str]
    weights: Sequence[WeightFile]
    programs: Sequence[Any]

    @property
    def nbytes(self) -> int:
        return sum(weights.nbytes for weights in self.weights)

    def open(self, folder: Path, about: About, mode: Mode = "write") -> "CoreMlWriter":
        return CoreMlWriter(self, folder, about, mode)


class CoreMlWriter:
    """`edge.contracts.Writer`: the weight files, then programs and manifests."""

    def __init__(self, layout: CoreMlLayout[Any], folder: Path, about: About, mode: Mode) -> None:
        self._layout, self._about, self._mode = layout, about, mode
        self._folders = [folder / name for name in layout.folders]
        self._data = []
        for package, weights in zip(self._folders, layout.weights, strict=True):
            file = package / WEIGHTS
            if mode != "compare":
                file.parent.mkdir(parents=True, exist_ok=True)
            elif not file.is_file():
                raise Damaged(f"{folder} has no {package.name}/{WEIGHTS}", fix="convert again")
            self._data.append(DataFile(file, weights.nbytes, mode))

    @property
    def differing(self) -> int:
        return sum(data.differing for data in self._data)

    def put(self, name: str, row: int, block: F32) -> int:
        return sum(
            weights.put(data, self._layout.recipe, name, row, block)
            for weights, data in zip(self._layout.weights, self._data, strict=True)
        )

    def sync(self) -> None:
        for data in self._data:
            data.sync()

    def finish(self) -> None:
        layout = self._layout
        for i, (weights, data) in enumerate(zip(layout.weights, self._data, strict=True)):
            weights.finish(data)
            if self._mode == "compare":
                continue
            write(self._folders[i], model(layout.programs[i], weights, self._metadata()))

    def close(self) -> None:
        for data in self._data:
            data.close()

    def _metadata(self) -> dict[str, str]:
        """What swift-transformers finds the tokenizer by, and what wrote it."""
        return {
            "co.huggingface.exporters.name": self._about.name,
            "com.github.apple.coremltools.version": ct.__version__,
        }


def layout(spec: DecoderSpec, recipe: Recipe) -> CoreMlLayout[DecoderSpec]:
    cut = chunks(spec, recipe, LIMIT)
    weights = [WeightFile(shapes(spec), number_of(recipe)) for _ in cut]
    programs = [program(spec, recipe, w, chunk) for w, chunk in zip(weights, cut, strict=True)]
    return CoreMlLayout(spec, recipe, [chunk.folder for chunk in cut], weights, programs)


def net_layout(spec: NetSpec, recipe: Recipe) -> CoreMlLayout[NetSpec]:
    """One package of one function. Its batch is one: a batch of more is as many calls."""
    weights = WeightFile(shapes(spec), number_of(recipe))
    batch = batch_of(spec.config)
    sizes = {size.name: 1 if size.name == batch else size for size in spec.config.sizes}

    def call(ops: Any, **inputs: Any) -> Mapping[str, Any]:
        return define(ops, spec, **inputs)

    made = net_program(call, spec.config.inputs, sizes, recipe, weights)
    return CoreMlLayout(spec, recipe, ["model.mlpackage"], [weights], [made])


def net_memory(spec: NetSpec) -> int:
    """Peak resident bytes of a conversion: some for each operation of the program."""
    return BASE + 80_000 * len(spec.config.shapes())


def memory(spec: DecoderSpec) -> int:
    """Peak resident bytes of a conversion: blocks of rows, programs, and rotary tables as they are
    made.
    """
    tables = max(4 * part.context * part.rope.width for part in parts(spec).values())
    functions = 1 + len(entries(spec))
    return BASE + len(spec.layers) * functions * 600_000 + 3 * tables


def chunks(spec: DecoderSpec, recipe: Recipe, limit: int) -> list[Chunk]:
    """Runs of layers whose weights fit a package, the embedding and the head included."""
    sizes = [_layer(spec, recipe, index) for index in range(len(spec.layers))]
    sizes[0] += _table(spec, recipe, "embed", by_row=True)
    sizes[-1] += _table(spec, recipe, head_name(spec), by_row=False)
    starts, held = [0], 0
    for index, size in enumerate(sizes):
        if held and held + size > limit:
            starts.append(index)
            held = 0
        held += size
    stops = [*starts[1:], len(sizes)]
    return [
        Chunk(i, len(starts), start, stop)
        for i, (start, stop) in enumerate(zip(starts, stops, strict=True))
    ]


def _layer(spec: DecoderSpec, recipe: Recipe, index: int) -> int:
    at = f"layers.{index}."
    matrices = (n for n, shape in shapes(spec).items() if n.startswith(at) and len(shape) == 2)
    return sum(_table(spec, recipe, name, by_row=False) for name in matrices)


def _table(spec: DecoderSpec, recipe: Recipe, name: str, *, by_row: bool) -> int:
    rows, columns = shapes(spec)[name]
    scheme = recipe.scheme(name, by_row=by_row)
    refuse(name, (rows, columns), scheme)
    return scheme.nbytes(rows, columns)
