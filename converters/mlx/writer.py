"""The files of a folder being written, or compared: every block goes where `MlxTensors` has its rows."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from edge.artifact.manifest import contained
from edge.contracts import About
from edge.files.config import read_json
from edge.files.datafile import DataFile, Mode
from edge.names import Location
from edge.quant.tensor import QTensor
from edge.typing import F32
from edge_converters.mlx import shards
from edge_converters.mlx.config import config, generation
from edge_converters.mlx.pack import order_of, packed, pieces
from edge_converters.mlx.shards import INDEX
from edge_converters.mlx.tensors import MlxTensors, name_of


class MlxWriter:
    """`edge.contracts.Writer`."""

    def __init__(self, tensors: MlxTensors, folder: Path, about: About, mode: Mode) -> None:
        self._stored, self._folder, self._ids = tensors, folder, about.ids
        # mlx-lm has other defaults than the family's own code, or none.
        self._absent = dict(about.family.fields.absent)
        self._compare = mode == "compare"
        self._wrong = 0  # bytes of configs
        self._tensors = tensors.in_order()
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
        place = self._stored.places[name]
        scheme = self._stored.schemes[place.tensor]
        stored = self._stored.recipe.stored(name, block, scheme, row=row)
        rows = packed(name, row, stored, scheme)
        done = 0
        order = order_of(scheme, place.shape[1:])
        if row == 0 and order is not None and isinstance(stored, QTensor):
            assert stored.order is not None
            file, offset = self._at[name_of(place.tensor, order)]
            done += file.put(offset, stored.order.astype("<i4"))
        for piece, content in zip(pieces(scheme, place.shape[1:]), rows, strict=True):
            file, offset = self._at[name_of(place.tensor, piece)]
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
        self._json("config.json", config(source, self._stored.spec, self._stored.packing()))
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
