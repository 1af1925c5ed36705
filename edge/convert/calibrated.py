"""Codes that depend on what weights are multiplied with: a text goes through the layers, and each layer is rounded by
its inputs, which come from layers that are rounded already.

One layer's weights, the means of products of its inputs and the text's streams are in memory at a time. After each
layer the streams are kept on the disk: a conversion that was killed goes on with the layer that it was at. N rows,
K columns.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from edge import targets
from edge.contracts import Walk
from edge.convert.one_pass import Job, put
from edge.errors import EdgeError
from edge.names import shapes
from edge.nn.decoder import head_name
from edge.nn.tracing import multiplied
from edge.quant.balance import balanced, factors, joints
from edge.quant.inputs import Inputs
from edge.quant.recipe import Recipe
from edge.quant.search import joined
from edge.quant.tensor import QTensor, Scheme
from edge.source.checkpoint import Checkpoint
from edge.source.finite import blocks, whole
from edge.spec import DecoderSpec
from edge.system.progress import Progress
from edge.typing import F32, AnyArray

STREAMS = "streams.npz"  # gone before an artifact is published
_VECTOR = "vector "  # before the names of vectors in it
_ROWS = 16_384  # of a weight that are rounded together
_AT_ONCE = 2048  # rows that a method rounds together
_NONE = np.empty(0, np.float32)


@dataclass(slots=True)
class Heard:
    """The inputs of a layer's matrices, by the names of those that have one input."""

    inputs: dict[tuple[str, ...], Inputs] = field(default_factory=dict)

    def hear(self, names: tuple[str, ...], x: F32) -> None:
        self.inputs.setdefault(names, Inputs.none(x.shape[1])).add(x)

    def take(self, names: tuple[str, ...]) -> Inputs:
        """Those of these matrices, which are forgotten here; refuses what is no number."""
        found = self.inputs.pop(names)
        if not np.isfinite(found.products).all():
            raise EdgeError(
                f"what {names[0]} multiplies is no number, or larger than float32 holds",
                fix="use a recipe that asks for no text, such as rtn-int4-g32; edge verify says more",
            )
        return found.mean()


@dataclass(frozen=True, slots=True)
class Alike:
    """Conversions by one recipe: each has its own, of which `made` is filled, and its own writer."""

    recipes: Sequence[Recipe]
    jobs: Sequence[Job]


@dataclass(frozen=True, slots=True)
class Reading:
    """A text that is read to round by: as a conversion of this key keeps its streams in a folder."""

    windows: Sequence[Sequence[int]]
    folder: Path
    key: str
    progress: Progress

    def layers(
        self,
        checkpoint: Checkpoint,
        recipe: Recipe,
        make: Callable[[int, Heard], Mapping[str, F32]],
        vectors: dict[str, F32] | None = None,
    ) -> Walk:
        """Through all layers, each by the weights that are made of it, to their end; `vectors` are kept with the
        streams.
        """
        count, tokens = len(checkpoint.decoder.layers), sum(map(len, self.windows))
        walk = targets.oracle().walk(checkpoint, self.windows, recipe)
        self.back(walk, vectors)
        with self.progress(f"calibrate {recipe.brief}", 2 * tokens * count) as advance:
            advance(2 * tokens * walk.layer)
            while walk.layer < count:
                heard = Heard()
                walk.through(heard.hear, advance)
                for name, weight in make(walk.layer, heard).items():
                    walk.replace(name, weight)
                walk.arrive(walk.through(None, advance))
                self.keep(walk, vectors)
        return walk

    def keep(self, walk: Walk, vectors: Mapping[str, F32] | None = None) -> None:
        partial = self.folder / f".{STREAMS}"
        told = {f"{_VECTOR}{name}": values for name, values in (vectors or {}).items()}
        with partial.open("wb") as file:
            key, layer = np.array(self.key), np.array(walk.layer)
            np.savez(file, *walk.streams, key=key, layer=layer, **told)  # type: ignore[arg-type]
        partial.replace(self.folder / STREAMS)

    def back(self, walk: Walk, vectors: dict[str, F32] | None = None) -> None:
        """Go to where the same conversion was, if it left its streams."""
        found = _kept(self.folder, self.key)
        streams = [found.get(f"arr_{i}", _NONE) for i in range(len(walk.streams))]
        if all(a.shape == b.shape for a, b in zip(streams, walk.streams, strict=True)):
            while walk.layer < int(found["layer"]):
                walk.arrive(streams)
            if vectors is not None:
                told = (name for name in found if name.startswith(_VECTOR))
                vectors |= {name.removeprefix(_VECTOR): found[name] for name in told}


def begun(folder: Path, key: str) -> bool:
    """Whether a conversion of this key left streams to go on with."""
    return bool(_kept(folder, key))


def _kept(folder: Path, key: str) -> dict[str, AnyArray]:
    """Every array that a conversion of this key left; none of another's, nor of a file that is broken."""
    try:
        with np.load(folder / STREAMS) as found:
            return dict(found) if str(found["key"]) == key and "layer" in found else {}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return {}


def drop(folder: Path) -> None:
    for name in (STREAMS, f".{STREAMS}"):
        (folder / name).unlink(missing_ok=True)


def memory(spec: DecoderSpec, tokens: int) -> int:
    """Bytes that rounding by so many tokens takes beside a conversion: of one layer its weights as floats, read and
    rounded, and its codes; means of products, and a factor of the largest; and the text before a layer and behind.
    """
    layers, known = [], shapes(spec)
    for index in range(len(spec.layers)):
        at = f"layers.{index}."
        each = [s for name, s in known.items() if name.startswith(at) and len(s) == 2]
        inputs = {shape[1] for shape in each}
        products = sum(width**2 for width in (*inputs, spec.width)) + max(inputs) ** 2
        rows = min(max(s[0] for s in each), _AT_ONCE)
        layers.append(9 * sum(map(math.prod, each)) + 4 * products + 24 * rows * max(inputs))
    return max(layers) + 8 * tokens * spec.width


def by_inputs(checkpoint: Checkpoint, alike: Alike, reading: Reading) -> None:
    """Make and write the codes of the matrices of all layers."""
    recipe = alike.recipes[0]
    lacking = {name for name in checkpoint.places if any(job.needs(name) for job in alike.jobs)}
    if not any(map(recipe.calibrated, lacking & multiplied(checkpoint.spec))):
        return

    def written(heard: Heard) -> dict[str, QTensor]:
        made = _codes(checkpoint, recipe, heard)
        for each in alike.recipes:
            each.made.update(made)
        put(checkpoint, list(made), alike.jobs, lambda _: None)
        for each in alike.recipes:
            each.made.clear()
        return made

    def make(_index: int, heard: Heard) -> Mapping[str, F32]:
        return {name: tensor.dequantize() for name, tensor in written(heard).items()}

    walk = reading.layers(checkpoint, recipe, make)
    if recipe.calibrated(head_name(checkpoint.decoder)):
        heard = Heard()
        walk.last(heard.hear)
        written(heard)


def _codes(checkpoint: Checkpoint, recipe: Recipe, heard: Heard) -> dict[str, QTensor]:
    out: dict[str, QTensor] = {}
    for names in list(heard.inputs):
        inputs = heard.take(names)
        alike: dict[Scheme, list[str]] = {}
        for name in names:
            scheme = recipe.scheme(name)
            if recipe.calibrated(name):
                alike.setdefault(scheme, []).append(name)
            elif not scheme.is_float:
                stored = recipe.stored(name, whole(checkpoint, name), scheme)
                assert isinstance(stored, QTensor)
                out[name] = stored
        for scheme, some in alike.items():
            made = recipe.calibrated(some[0])
            assert made is not None
            parts = _some_rows(checkpoint, some)
            together = joined([made(part, scheme, inputs.products) for part in parts])
            heights = [checkpoint.shape(name)[0] for name in some]
            for name, end, height in zip(some, accumulate(heights), heights, strict=True):
                out[name] = together.cut(end - height, end)
    return out


def _some_rows(checkpoint: Checkpoint, names: Sequence[str]) -> Iterator[F32]:
    """Of weights on top of each other: those of a large vocabulary are not in memory together."""
    parts: list[F32] = []
    for _, block in chain.from_iterable(blocks(checkpoint, name) for name in names):
        parts.append(block)
        if sum(map(len, parts)) >= _ROWS:
            yield np.concatenate(parts)
            parts = []
    if parts:
        yield np.concatenate(parts)


def balance_of(checkpoint: Checkpoint, recipe: Recipe, reading: Reading) -> dict[str, F32]:
    """What the weights of all layers are balanced by (`edge.quant.balance`)."""
    found: dict[str, F32] = {}

    def make(index: int, heard: Heard) -> Mapping[str, F32]:
        own = _balance(checkpoint, recipe, index, heard)
        found.update(own)
        by, weights = factors(checkpoint.decoder, own), {}
        for joint in joints(checkpoint.decoder, index):
            for name in joint.after:
                scheme = recipe.scheme(name)
                if scheme.is_float:
                    continue
                rows, columns = by.get(name, (None, None))
                stored = recipe.stored(
                    name, balanced(whole(checkpoint, name), 0, (rows, columns)), scheme
                )
                assert isinstance(stored, QTensor)
                back = (_inverse(rows), _inverse(columns))
                weights[name] = balanced(stored.dequantize(), 0, back)
        return weights

    reading.layers(checkpoint, recipe, make, found)
    return found


def _inverse(by: F32 | None) -> F32 | None:
    return None if by is None else np.float32(1) / by


def _balance(checkpoint: Checkpoint, recipe: Recipe, index: int, heard: Heard) -> dict[str, F32]:
    out = {}
    for joint in joints(checkpoint.decoder, index):
        inputs = heard.take(joint.after)
        method = recipe.balance(joint.after[0])
        if method is None:
            continue
        weights = [whole(checkpoint, name) for name in joint.after]
        schemes = [recipe.scheme(name) for name in joint.after]
        tied = joint.inputs(joint.outputs(inputs.sizes)), joint.inputs(joint.most(inputs.largest))
        scales, left = method(weights, schemes, Inputs(inputs.products, *tied))
        if left < 1:
            out[joint.before] = joint.outputs(scales)
    return out
