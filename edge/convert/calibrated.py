"""Codes that depend on what weights are multiplied with: a text goes through the layers, and each layer is rounded by
its inputs, which come from layers that are rounded already.

One layer's weights, the means of products of its inputs and the text's streams are in memory at a time. After each
layer the streams are kept on the disk: a conversion that was killed goes on with the layer that it was at. K columns.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from edge import targets
from edge.contracts import Walk
from edge.convert.one_pass import Job, put
from edge.quant.recipe import Recipe
from edge.quant.tensor import QTensor
from edge.source.checkpoint import Checkpoint
from edge.source.finite import whole
from edge.system.progress import Progress
from edge.typing import F32

STREAMS = "streams.npz"  # gone before an artifact is published
_PANEL = 1024  # columns of moments that are added up at once


@dataclass(slots=True)
class Moments:
    """Means of products of two inputs of a matrix, [K, K], of each group of names that have one input."""

    sums: dict[tuple[str, ...], F32] = field(default_factory=dict)
    rows: int = 0

    def hear(self, names: tuple[str, ...], x: F32) -> None:
        """x [T, K]"""
        columns = x.shape[1]
        total = self.sums.setdefault(names, np.zeros((columns, columns), np.float32))
        for at in range(0, columns, _PANEL):
            total[at : at + _PANEL] += x[:, at : at + _PANEL].T @ x


@dataclass(frozen=True, slots=True)
class Alike:
    """Conversions by one recipe: each has its own, of which `made` is filled, and its own writer."""

    recipes: Sequence[Recipe]
    jobs: Sequence[Job]


def by_inputs(
    checkpoint: Checkpoint,
    alike: Alike,
    windows: Sequence[Sequence[int]],
    kept: "Kept",
    progress: Progress,
) -> None:
    """Make and write the codes of the matrices of all layers."""
    layers, recipe = len(checkpoint.decoder.layers), alike.recipes[0]
    lacking = {name for name in checkpoint.places if any(job.needs(name) for job in alike.jobs)}
    if not any(name.startswith("layers.") for name in lacking):
        return
    tokens = sum(map(len, windows))
    walk = targets.oracle().walk(checkpoint, windows, recipe)
    kept.back(walk)
    with progress(f"calibrate {recipe}", 2 * tokens * layers) as advance:
        advance(2 * tokens * walk.layer)
        while walk.layer < layers:
            moments = Moments()
            walk.through(moments.hear, advance)
            made = dict(_layer(checkpoint, recipe, moments, tokens))
            for each in alike.recipes:
                each.made.update(made)
            put(checkpoint, list(made), alike.jobs, lambda _: None)
            for name, tensor in made.items():
                walk.replace(name, tensor.dequantize())
            for each in alike.recipes:
                each.made.clear()
            walk.arrive(walk.through(None, advance))
            kept.keep(walk)


def _layer(
    checkpoint: Checkpoint, recipe: Recipe, moments: Moments, tokens: int
) -> Iterator[tuple[str, QTensor]]:
    for names in list(moments.sums):
        found = moments.sums.pop(names)
        found /= tokens
        for name in names:
            weights, scheme = whole(checkpoint, name), recipe.scheme(name)
            made = recipe.calibrated(name)
            if made is not None:
                yield name, made(weights, scheme, found)
            elif not scheme.is_float:
                stored = recipe.stored(name, weights, scheme)
                assert isinstance(stored, QTensor)
                yield name, stored


@dataclass(frozen=True, slots=True)
class Kept:
    """What comes into the next layer, on the disk. `key`: of the conversion."""

    folder: Path
    key: str

    def keep(self, walk: Walk) -> None:
        partial = self.folder / f".{STREAMS}"
        with partial.open("wb") as file:
            np.savez(file, *walk.streams, key=np.array(self.key), layer=np.array(walk.layer))
        partial.replace(self.folder / STREAMS)

    def back(self, walk: Walk) -> None:
        """Go to where the same conversion was, if it left its streams."""
        try:
            with np.load(self.folder / STREAMS) as found:
                if str(found["key"]) != self.key:
                    return
                streams = [found[f"arr_{i}"] for i in range(len(walk.streams))]
                layer = int(found["layer"])
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return
        if all(a.shape == b.shape for a, b in zip(streams, walk.streams, strict=True)):
            while walk.layer < layer:
                walk.arrive(streams)

    def drop(self) -> None:
        for name in (STREAMS, f".{STREAMS}"):
            (self.folder / name).unlink(missing_ok=True)
