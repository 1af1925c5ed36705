"""A Hugging Face folder as canonical weights, read a block of rows at a time.

Nothing but the block is in memory, whatever the model's size. A checkpoint with an adapter is a checkpoint: its
weights are merged as they are read. Inputs may be links into a hub's
cache; no code of the folder is ever run: a pickle is read as data.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edge.adapters import folder as adapters
from edge.adapters.value import Delta, merged
from edge.errors import Unsupported
from edge.families import Family, family_of
from edge.files.closeable import Closeable
from edge.files.config import Config
from edge.files.weightfile import WeightFile
from edge.names import Location, Spec, decoder_of
from edge.quant.balance import Factors, balanced, factors
from edge.source.headers import (
    Headers,
    checkpoint_files,
    config_of,
    opened,
    prefix_of,
    same_below,
)
from edge.spec import DecoderSpec, longest
from edge.typing import F32, I64, Shape

LONGEST = 1 << 20  # tokens of a context that nobody asked for: half a gigabyte of rotary tables
BLOCK = 1 << 18  # weights that are read at a time: their float32 stays in a core's cache


@dataclass(frozen=True, slots=True)
class Checkpoint(Closeable):
    """An open checkpoint whose tensors are exactly those of its spec."""

    folder: Path
    config: Config
    family: Family
    spec: Spec
    places: Mapping[str, Location]
    files: tuple[Path, ...]  # of weights
    _open: Mapping[str, WeightFile]  # by tensor
    factors: Mapping[str, Factors] = field(default_factory=dict)  # of weights that are balanced
    deltas: Mapping[str, Delta] = field(default_factory=dict)  # of weights that an adapter changes
    adapter: tuple[Path, ...] = ()  # its files

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        context: int | None = None,
        changes: Mapping[str, Any] | None = None,
        stage: str | None = None,
        adapter: Path | None = None,
    ) -> "Checkpoint":
        """Read the config and every header; `context` is the longest sequence, if not the model's own;
        `changes`: other fields that its config is to have; `stage`: of one of its networks; `adapter`: a folder
        of one that is merged into it.
        """
        config = config_of(folder, changes, stage)
        family = family_of(config)
        paths = checkpoint_files(folder)
        files = opened(folder, paths, stage)
        try:
            entries = {file.path.name: file.entries for file in files}
            alike = partial(same_below, paths, prefix_of(folder, stage))
            headers = Headers(config, entries, same=alike)
            spec = with_context(headers.spec(), context)
            places = headers.places(spec)
            deltas = {} if adapter is None else adapters.read(adapter).deltas(places)
            changed = () if adapter is None else adapters.files(adapter)
        except BaseException:
            for file in files:
                file.close()
            raise
        holders = {name: file for file in files for name in file.entries}
        return cls(
            folder, config, family, spec, places, paths, holders, deltas=deltas, adapter=changed
        )

    @property
    def decoder(self) -> DecoderSpec:
        """Its spec; refuses what is no decoder of text."""
        return decoder_of(self.spec, str(self.folder))

    def stored(self, name: str) -> dict[str, Shape]:
        """The tensors that a weight is read from, as they are."""
        tensors = self.places[name].tensors
        return {tensor: self._open[tensor].entries[tensor].shape for tensor in tensors}

    def shape(self, name: str) -> Shape:
        return self.places[name].shape

    def also(self, places: Mapping[str, Location]) -> "Checkpoint":
        """With other weights that its files have, and its spec does not: those of `places` whose tensors are there."""
        more = {
            name: place
            for name, place in places.items()
            if place.tensors.keys() <= self._open.keys()
        }
        return replace(self, places={**more, **self.places})

    def balanced(self, balance: Mapping[str, F32]) -> "Checkpoint":
        """The same decoder by other weights (`edge.quant.balance`)."""
        return replace(self, factors=factors(self.decoder, balance))

    def blocks(self, name: str) -> Iterator[F32]:
        """A weight from its first row to its last, in blocks of whole rows as float32."""
        by, delta, row = self.factors.get(name), self.deltas.get(name), 0
        for stored in self._blocks(name):
            block = stored if delta is None else merged(stored, delta, row)
            yield block if by is None else balanced(block, row, by)
            row += len(block)

    def _blocks(self, name: str) -> Iterator[F32]:
        place = self.places[name]
        step = max(1, BLOCK // max(1, int(np.prod(place.shape[1:]))))
        if place.made is not None:
            made = self._made(place)
            yield from (made[at : at + step] for at in range(0, len(made), step))
            return
        file = self._open[place.tensor]
        for rows in place.rows or (range(place.stored[0]),):
            for at in range(0, len(rows), step):
                part = rows[at : at + step]
                yield file.rows(place.tensor, part.start, part[-1] + 1, part.step)

    def take(self, name: str, rows: I64) -> F32:
        """Some rows of a weight, in the order asked for."""
        place = self.places[name]
        assert not place.rows, f"{name} is part of a fused tensor"
        assert name not in self.factors, f"{name} is balanced: no table is"
        assert name not in self.deltas, f"{name} is changed by an adapter: no table is"
        file = self._open[place.tensor]
        return np.concatenate([file.rows(place.tensor, int(row), int(row) + 1) for row in rows])

    def __getitem__(self, name: str) -> F32:
        """A whole weight as float32."""
        return np.concatenate(list(self.blocks(name)))

    def _made(self, place: Location) -> F32:
        """A weight that no tensor is as it lies."""
        tensors = []
        for name in place.tensors:
            file = self._open[name]
            shape = file.entries[name].shape
            tensors.append(file.rows(name, 0, shape[0]).reshape(shape))
        made = place.make(*tensors)
        assert made.shape == place.shape, f"{place.tensor}: {made.shape}, not {place.shape}"
        return made.astype(np.float32, copy=False)

    def close(self) -> None:
        for file in set(self._open.values()):
            file.close()


def with_context(spec: Spec, context: int | None) -> Spec:
    """The spec with another context, which fixes rotary tables and the largest cache."""
    if context is None:
        return spec
    if not isinstance(spec, DecoderSpec):
        raise Unsupported("only a decoder of text has a context", fix="leave out --context")
    return shortened(spec, context)


def shortened(spec: DecoderSpec, context: int) -> DecoderSpec:
    """The same of a decoder; refuses more than the model has."""
    most = longest(spec)
    if not 1 <= context <= most:
        raise Unsupported(
            f"a context of {context} tokens was asked for, the model has {most}",
            fix=f"give --context a number from 1 to {most}",
        )
    return replace(spec, context=context)


def refuse_unasked(spec: DecoderSpec, context: int | None) -> None:
    """A published context whose rotary tables take gigabytes is one that a user must ask for."""
    if context is None and spec.context > LONGEST:
        raise Unsupported(
            f"the model's context is {spec.context:,} tokens, for which its tables of positions alone "
            "would take gigabytes",
            fix=f"give edge convert a shorter one: --context 131072, or what you need up to {spec.context}",
        )
