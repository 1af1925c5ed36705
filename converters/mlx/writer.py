"""The files of a folder being written, or compared: every block goes where the plan has its rows."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from edge.artifact.manifest import contained
from edge.contracts import About
from edge.errors import Unsupported
from edge.files.config import read_json
from edge.files.datafile import DataFile, Mode
from edge.names import Location, NameMap
from edge.quant.recipe import Recipe
from edge.quant.tensor import Scheme
from edge.spec import DecoderSpec
from edge.typing import F32
from edge_converters.mlx import shards
from edge_converters.mlx.config import config, generation, quantization
from edge_converters.mlx.pack import Piece, packed, pieces
from edge_converters.mlx.shards import INDEX, Tensor


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of each weight. `tensors`: the checkpoint's names -> how each is stored."""

    spec: DecoderSpec
    recipe: Recipe
    places: Mapping[str, Location]
    schemes: Mapping[str, Scheme]  # of tensors

    @classmethod
    def of(
        cls, spec: DecoderSpec, recipe: Recipe, schemes: Mapping[str, Scheme], names: NameMap
    ) -> "Plan":
        """Refuses two precisions in one fused tensor."""
        places, found = names.places(spec), dict[str, Scheme]()
        for name, place in places.items():
            if found.setdefault(place.tensor, schemes[name]) != schemes[name]:
                together = [other for other in places if places[other].tensor == place.tensor]
                raise Unsupported(
                    f"mlx-lm keeps {', '.join(together)} in one tensor of one precision",
                    fix="give them the same precision",
                )
        return cls(spec, recipe, places, found)

    def tensors(self) -> list[Tensor]:
        """Everything to be stored, in the order of use."""
        stored = {place.tensor: place.stored for place in self.places.values()}
        return [
            Tensor(_name(tensor, piece), piece.dtype, (shape[0], *piece.row))
            for tensor, shape in stored.items()
            for piece in pieces(self.schemes[tensor], shape[1:])
        ]

    def packing(self) -> dict[str, object] | None:
        """What config.json says of matrices."""
        matrices = (place.tensor for place in self.places.values() if len(place.shape) == 2)
        return quantization({n.removesuffix(".weight"): self.schemes[n] for n in matrices})


# Fields of which mlx-lm has other defaults than the family's own code, or none.
_NEEDED = ("num_key_value_heads", "rms_norm_eps")


class MlxWriter:
    """`edge.contracts.Writer`."""

    def __init__(self, plan: Plan, folder: Path, about: About, mode: Mode) -> None:
        self._plan, self._folder, self._ids = plan, folder, about.ids
        absent = about.family.fields.absent
        self._absent = {key: absent[key] for key in _NEEDED if key in absent}
        self._compare = mode == "compare"
        self._wrong = 0  # bytes of configs
        self._tensors = plan.tensors()
        self._shards = shards.plan(self._tensors)
        self._files: dict[str, DataFile] = {}
        self._at: dict[str, tuple[DataFile, int]] = {}  # the first byte of a tensor
        with ExitStack() as stack:
            for shard in self._shards:
                known = contained if self._compare else Path.joinpath
                file = DataFile(known(folder, shard.file), shard.nbytes, mode)
                self._files[shard.file] = stack.enter_context(file)
                self._at |= {name: (file, offset) for name, offset in shard.offsets.items()}
            self._open = stack.pop_all()

    @property
    def differing(self) -> int:
        return self._wrong + sum(file.differing for file in self._files.values())

    def put(self, name: str, row: int, block: F32) -> int:
        place = self._plan.places[name]
        scheme = self._plan.schemes[place.tensor]
        stored = self._plan.recipe.stored(name, block, scheme, row=row)
        rows = packed(name, row, stored, scheme)
        done = 0
        for piece, content in zip(pieces(scheme, place.shape[1:]), rows, strict=True):
            file, offset = self._at[_name(place.tensor, piece)]
            for start, part in _runs(place, row, len(block)):
                done += file.put(offset + start * content.shape[1], content[part])
        return done

    def sync(self) -> None:
        for file in self._files.values():
            file.sync()

    def finish(self) -> None:
        for shard in self._shards:
            self._files[shard.file].put(0, shard.header)
        self._text(INDEX, shards.index(self._shards, self._tensors))
        source = self._absent | read_json(self._folder / "config.json")
        self._json("config.json", config(source, self._plan.spec, self._plan.packing()))
        at = self._folder / "generation_config.json"
        found = generation(read_json(at) if at.is_file() else {}, self._ids)
        if found:
            self._json(at.name, found)

    def close(self) -> None:
        self._open.close()

    def _json(self, name: str, content: Mapping[str, object]) -> None:
        self._text(name, json.dumps(content, indent=4, sort_keys=True) + "\n")

    def _text(self, name: str, text: str) -> None:
        path = self._folder / name
        if not self._compare:
            path.write_text(text)
        elif not path.is_file() or path.read_bytes() != text.encode():
            self._wrong += 1


def _name(tensor: str, piece: Piece) -> str:
    """Scales and biases lie beside the weight; a vector has its own name, whatever it ends on."""
    return tensor if piece.suffix == "weight" else f"{tensor.removesuffix('weight')}{piece.suffix}"


def _runs(place: Location, row: int, count: int) -> Iterator[tuple[int, slice]]:
    """Where rows row..row + count of a weight lie in its tensor: first row there, and which of them."""
    before = 0
    for rows in place.rows or (range(place.stored[0]),):
        first, last = max(row, before), min(row + count, before + len(rows))
        some = rows[max(0, first - before) : max(0, last - before)]
        if some and some.step == 1:
            yield some.start, slice(first - row, last - row)
        elif some:
            yield from ((at, slice(i, i + 1)) for i, at in enumerate(some, first - row))
        before += len(rows)
