"""A Hugging Face folder as canonical weights, read a block of rows at a time.

Nothing but the block is in memory, whatever the model's size. Inputs may be links into a hub's
cache; no code of the folder is ever run, and no pickle is read.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge.closing import Closing
from edge.config import Config, is_plain, read_json
from edge.errors import Damaged, Unsupported
from edge.families import Family, family_of
from edge.names import Place, Shape
from edge.safetensors import Entry, SafetensorsFile
from edge.spec import DecoderSpec
from edge.typing import F32, I64

BLOCK = 1 << 18  # weights that are read at a time: their float32 stays in a core's cache
_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"


@dataclass(frozen=True, slots=True)
class Checkpoint(Closing):
    """An open checkpoint whose tensors are exactly those of its spec."""

    folder: Path
    family: Family
    spec: DecoderSpec
    places: Mapping[str, Place]
    files: tuple[Path, ...]  # of weights
    _open: Mapping[str, SafetensorsFile]  # by tensor

    @classmethod
    def open(cls, folder: Path, *, context: int | None = None) -> "Checkpoint":
        """Read the config and every header; `context` shortens the longest sequence."""
        config = Config.load(folder / "config.json")
        family = family_of(config)
        spec = shorten(family.spec(config), context)
        paths = _weight_files(folder)
        opened: list[SafetensorsFile] = []
        try:
            opened.extend(SafetensorsFile(path) for path in paths)
            holders = _holders(opened)
            found = {name: file.entries[name].shape for name, file in holders.items()}
            places = family.names.check(spec, found)
            _floats_only(
                {
                    place.tensor: holders[place.tensor].entries[place.tensor]
                    for place in places.values()
                }
            )
        except BaseException:
            for file in opened:
                file.close()
            raise
        return cls(folder, family, spec, places, paths, holders)

    def shape(self, name: str) -> Shape:
        return self.places[name].shape

    def blocks(self, name: str) -> Iterator[F32]:
        """A weight from its first row to its last, in blocks of whole rows as float32."""
        place = self.places[name]
        file = self._open[place.tensor]
        step = max(1, BLOCK // max(1, int(np.prod(place.shape[1:]))))
        for rows in place.rows or (range(place.stored[0]),):
            for at in range(0, len(rows), step):
                part = rows[at : at + step]
                yield file.rows(place.tensor, part.start, part[-1] + 1, part.step)

    def take(self, name: str, rows: I64) -> F32:
        """Some rows of a weight, in the order asked for."""
        place = self.places[name]
        assert not place.rows, f"{name} is part of a fused tensor"
        file = self._open[place.tensor]
        return np.concatenate([file.rows(place.tensor, int(row), int(row) + 1) for row in rows])

    def __getitem__(self, name: str) -> F32:
        """A whole weight as float32."""
        return np.concatenate(list(self.blocks(name)))

    def close(self) -> None:
        for file in set(self._open.values()):
            file.close()


def shorten(spec: DecoderSpec, context: int | None) -> DecoderSpec:
    """The spec with a shorter context: smaller rope tables, smaller caches."""
    if context is None:
        return spec
    if not 1 <= context <= spec.context:
        raise Unsupported(
            f"a context of {context} tokens was asked for, the model has {spec.context}",
            fix=f"give --context a number from 1 to {spec.context}",
        )
    return replace(spec, context=context)


def _weight_files(folder: Path) -> tuple[Path, ...]:
    if (folder / _INDEX).is_file():
        return _from_index(folder, read_json(folder / _INDEX))
    if (folder / _SINGLE).is_file():
        return (folder / _SINGLE,)
    pickled = sorted(p.name for p in folder.glob("*.bin")) + sorted(
        p.name for p in folder.glob("*.pth")
    )
    if pickled:
        raise Unsupported(
            f"{folder} holds pickled weights ({pickled[0]}); loading a pickle runs code, so edge does not",
            fix="get the checkpoint's safetensors files",
        )
    raise Damaged(f"{folder} has no {_SINGLE} and no {_INDEX}", fix="get the complete checkpoint")


def _from_index(folder: Path, index: Mapping[str, Any]) -> tuple[Path, ...]:
    """The shards that an index names: plain names in the same folder, each of which exists."""
    table = index.get("weight_map")
    if not isinstance(table, dict) or not all(isinstance(name, str) for name in table.values()):
        raise Damaged(f"{folder / _INDEX} has no weight_map", fix="get the file again")
    names = sorted(set(table.values()))
    for name in names:
        if not is_plain(name) or not name.endswith(".safetensors"):
            raise Damaged(
                f"{folder / _INDEX} names {name!r:.80}, not a file beside it",
                fix="do not trust this checkpoint",
            )
        if not (folder / name).is_file():
            raise Damaged(
                f"{folder} lacks {name}, which its index names", fix="complete the download"
            )
    return tuple(folder / name for name in names)


def _holders(files: list[SafetensorsFile]) -> dict[str, SafetensorsFile]:
    holders: dict[str, SafetensorsFile] = {}
    for file in files:
        for name in file.entries:
            if name in holders:
                raise Damaged(
                    f"tensor {name} lies in {holders[name].path.name} and in {file.path.name}",
                    fix="remove one",
                )
            holders[name] = file
    return holders


def _floats_only(entries: Mapping[str, Entry]) -> None:
    for name, entry in entries.items():
        if entry.dtype not in ("F32", "F16", "BF16", "F64"):
            raise Unsupported(
                f"tensor {name} is of type {entry.dtype}: the checkpoint is quantized already",
                fix="convert from the original checkpoint in F32, F16 or BF16",
            )
