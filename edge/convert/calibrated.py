"""Codes that depend on what weights are multiplied with: a text goes through the layers, and each layer is rounded by
its inputs, which come from layers that are rounded already.

One layer's weights and the means of products of its inputs are in memory at a time; what the text's windows are before
a layer lies on the disk. So a conversion that was killed goes on with the layer that it was at. N rows, K columns.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, chain
from pathlib import Path

import numpy as np

from edge import targets
from edge.contracts import Calibrator, Walk
from edge.convert import streams, tuning
from edge.convert.calibration import WINDOW
from edge.convert.one_pass import Job, put
from edge.convert.streams import Streams
from edge.convert.tuning import Course
from edge.errors import EdgeError
from edge.names import shapes
from edge.nn.decoder import head_name
from edge.nn.tracing import multiplied
from edge.quant.arithmetic import NUMPY, Arithmetic
from edge.quant.balance import balanced, factors, joints
from edge.quant.inputs import Inputs, Sums
from edge.quant.methods import Calibrated
from edge.quant.moments import Moments
from edge.quant.parts import of_parts, parts_of
from edge.quant.recipe import Recipe
from edge.quant.search import joined
from edge.quant.tensor import QTensor, Scheme
from edge.source.checkpoint import Checkpoint
from edge.source.finite import blocks, whole
from edge.spec import DecoderSpec
from edge.system import processors
from edge.system.progress import Advance, Progress
from edge.system.team import Parts, Team, Threads
from edge.typing import F32

_PART = 1 << 24  # numbers of a weight that are read together to be rounded
_AT_ONCE = 1 << 22  # of these, what one of a team rounds
_MOST = 1024  # rows of it


@dataclass(slots=True)
class Heard:
    """The inputs of a layer's matrices, by the names of those that have one input. Of the products of a matrix's inputs
    each of the team adds up some panels.
    """

    team: Team = field(default_factory=Threads)
    by: Arithmetic = NUMPY
    inputs: dict[tuple[str, ...], Sums] = field(default_factory=dict)

    def hear(self, names: tuple[str, ...], x: F32) -> None:
        found = self.inputs.get(names) or self.by.sums(x.shape[1])
        self.inputs[names] = found
        found.add(x, self.team.own(found.panels), self.team.run)

    def take(self, names: tuple[str, ...]) -> Inputs:
        """Those of these matrices, which are forgotten here; refuses what is no number."""
        sums = self.inputs.pop(names)
        every = self.team.each(sums.panels, lambda number: {"panel": sums.panel(number)})
        found = sums.means(told["panel"] for told in every)
        if not all(np.isfinite(found.panel(number)).all() for number in range(found.panels)):
            raise EdgeError(
                f"what {names[0]} multiplies is no number, or larger than float32 holds",
                fix="use a recipe that asks for no text, such as rtn-int4-g32; edge verify says more",
            )
        return found


@dataclass(frozen=True, slots=True)
class Alike:
    """Conversions by one recipe: each has its own, of which `made` is filled, and its own writer."""

    recipes: Sequence[Recipe]
    jobs: Sequence[Job]


@dataclass(frozen=True, slots=True)
class Reading:
    """A text that is read to round by, by a team: as a conversion of this key keeps its streams in a folder; `by`:
    where it is computed.
    """

    windows: Sequence[Sequence[int]]
    folder: Path
    key: str
    progress: Progress
    by: Calibrator = field(default_factory=partial(targets.calibrator, "numpy"))
    team: Team = field(default_factory=Threads)

    def layers(
        self,
        checkpoint: Checkpoint,
        recipe: Recipe,
        make: Callable[[Walk, Heard, Advance], Mapping[str, F32]],
        vectors: dict[str, F32] | None = None,
        *,
        more: int = 0,
    ) -> Walk:
        """Through all layers, each by the weights that are made of it, to their end; `vectors` are kept with the
        streams. `more`: how often a layer reads the text while they are made.
        """
        count, tokens = len(checkpoint.decoder.layers), sum(map(len, self.windows))
        walk = self.by.walk(checkpoint, self.windows, recipe)
        self.back(walk, vectors)
        with (
            self.progress(f"calibrate {recipe.brief}", (2 + more) * tokens * count) as advance,
            self.by.steadily(),
        ):
            advance((2 + more) * tokens * walk.layer)
            while walk.layer < count:
                heard = Heard(self.team, self.by)
                self._listen(walk, heard, advance)
                walk.forget()  # to be rounded they are read in parts
                for name, weight in make(walk, heard, advance).items():
                    walk.replace(name, weight)
                walk.arrive(self.keep(walk.layer + 1, self._leaving(walk, advance), vectors))
        return walk

    def _listen(self, walk: Walk, heard: Heard, advance: Advance) -> None:
        """Hear what a layer's matrices multiply."""

        def one(window: int) -> dict[str, F32]:
            parts: dict[str, F32] = {}
            walk.one(window, lambda names, x: parts.update({" ".join(names): x}))
            return parts

        every = self.team.each(len(self.windows), one)
        for window, parts in zip(self.windows, every, strict=True):
            for names, x in parts.items():
                heard.hear(tuple(names.split(" ")), x)
            advance(len(window))

    def through(self, walk: Walk, advance: Advance) -> list[F32]:
        """What comes out of a layer."""
        return list(self._leaving(walk, advance))

    def _leaving(self, walk: Walk, advance: Advance) -> Iterator[F32]:
        """The same, a window after the other."""
        every = self.team.each(len(self.windows), lambda at: {"stream": walk.one(at, None)})
        for parts in every:
            yield parts["stream"]
            advance(len(parts["stream"]))

    def keep(
        self, layer: int, every: Iterable[F32], vectors: Mapping[str, F32] | None = None
    ) -> Streams:
        """What goes into a layer, from now on of the disk."""
        return Streams.written(self.folder, self.key, layer, every, vectors or {})

    def back(self, walk: Walk, vectors: dict[str, F32] | None = None) -> None:
        """Go to where the same conversion was, if it left its streams."""
        own = streams.kept(self.folder, self.key, self.windows) if self.team.first else None
        told = self.team.told({} if own is None else own.facts)
        if not told:
            return
        layer, known = int(told[streams.LAYER]), dict(told)
        del known[streams.LAYER]
        if vectors is not None:
            vectors |= known
        every = (
            self.team.told({} if own is None else {"stream": own[at]})["stream"]
            for at in range(len(self.windows))
        )
        found = self.keep(layer, every, known) if own is None else own.after(every)
        while walk.layer < layer:
            walk.arrive(found)


def begun(folder: Path, key: str) -> bool:
    """Whether a conversion of this key left streams to go on with."""
    return streams.kept(folder, key) is not None


def drop(folder: Path) -> None:
    streams.drop(folder)
    tuning.drop(folder)


def memory(spec: DecoderSpec, tokens: int) -> int:
    """Bytes that rounding by so many tokens takes beside a conversion: of one layer its weights as floats, the means of
    products and what windows multiply; or its codes, these means, a factor of the largest, and rows that are rounded,
    as many at once as there are threads. What the text is before a layer lies on the disk. A calibrator may take more.
    """
    layers, known, threads = [], shapes(spec), processors.threads(None)
    for index in range(len(spec.layers)):
        at = f"layers.{index}."
        each = [s for name, s in known.items() if name.startswith(at) and len(s) == 2]
        inputs, sizes = {shape[1] for shape in each}, [math.prod(shape) for shape in each]
        products = sum(width**2 for width in (*inputs, spec.width))
        heard = 4 * products + 4 * threads * min(tokens, WINDOW) * sum(inputs)
        rounded = 4 * products + 4 * max(inputs) ** 2 + 8 * min(_PART, max(sizes))
        rounded += 32 * threads * min(_AT_ONCE, max(sizes))
        layers.append(max(4 * sum(sizes) + heard, 2 * sum(sizes) + rounded))
    return max(layers)


def by_inputs(checkpoint: Checkpoint, alike: Alike, reading: Reading) -> None:
    """Make and write the codes of the matrices of all layers."""
    recipe, team = alike.recipes[0], reading.team
    lacking = {name for name in checkpoint.places if any(job.needs(name) for job in alike.jobs)}
    wanted = any(map(recipe.calibrated, lacking & multiplied(checkpoint.spec)))
    if not team.told({"wanted": np.array([wanted])})["wanted"][0]:
        return

    make = _by_training if recipe.trained else _by_rounding
    make(checkpoint, alike, reading)


def _by_rounding(checkpoint: Checkpoint, alike: Alike, reading: Reading) -> None:
    recipe = alike.recipes[0]

    def make(_walk: Walk, heard: Heard, _: Advance) -> Mapping[str, F32]:
        made = _codes(checkpoint, recipe, heard)
        _write(checkpoint, alike, made)
        return _meant(made)

    _head(checkpoint, alike, reading.layers(checkpoint, recipe, make), reading)


def _by_training(checkpoint: Checkpoint, alike: Alike, reading: Reading) -> None:
    """Written when all layers are there, for then they are trained together."""
    recipe = alike.recipes[0]
    course = Course(checkpoint, recipe, reading)

    def make(walk: Walk, heard: Heard, advance: Advance) -> Mapping[str, F32]:
        return _meant(course.layer(walk, _codes(checkpoint, recipe, heard), advance))

    walk = reading.layers(checkpoint, recipe, make, course.streams, more=course.passes)
    name = head_name(checkpoint.decoder)
    made = _head(checkpoint, alike, walk, reading)
    stored = made.get(name) or recipe.stored(name, whole(checkpoint, name), recipe.scheme(name))
    head = stored.dequantize() if isinstance(stored, QTensor) else stored
    total = course.rounds * sum(map(len, reading.windows))
    with reading.progress(f"train scales of {recipe.brief}", total) as advance:
        every = course.end(head, advance)
    for codes in every:
        _write(checkpoint, alike, codes)


def _head(checkpoint: Checkpoint, alike: Alike, walk: Walk, reading: Reading) -> dict[str, QTensor]:
    """Written, if its inputs say how to round it."""
    if not alike.recipes[0].calibrated(head_name(checkpoint.decoder)):
        return {}
    heard = Heard(reading.team, reading.by)
    with reading.by.steadily():
        walk.last(heard.hear)
        made = _codes(checkpoint, alike.recipes[0], heard)
    _write(checkpoint, alike, made)
    return made


def _write(checkpoint: Checkpoint, alike: Alike, made: Mapping[str, QTensor]) -> None:
    for each in alike.recipes:
        each.made.update(made)
    put(checkpoint, list(made), alike.jobs, lambda _: None)
    for each in alike.recipes:
        each.made.clear()


def _meant(made: Mapping[str, QTensor]) -> dict[str, F32]:
    return {name: tensor.dequantize() for name, tensor in made.items()}


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
            by = _By(made, scheme, Moments(inputs.products, heard.by))
            together = _rounded(_some_rows(checkpoint, some), by, heard.team)
            heights = [checkpoint.shape(name)[0] for name in some]
            for name, end, height in zip(some, accumulate(heights), heights, strict=True):
                out[name] = together.cut(end - height, end)
    return out


@dataclass(frozen=True, slots=True)
class _By:
    """How rows become codes."""

    made: Calibrated
    scheme: Scheme
    moments: Moments

    def codes(self, rows: F32, item: int) -> Parts:
        count = _at_once(rows.shape[1])
        some = rows[item * count : (item + 1) * count]
        return parts_of(self.made(some, self.scheme, self.moments))


def _rounded(parts: Iterable[F32], by: _By, team: Team) -> QTensor:
    """Rows as codes, of which each of the team makes some."""
    found = []
    for rows in parts:
        items = -(-len(rows) // _at_once(rows.shape[1]))
        for told in team.each(items, partial(by.codes, rows)):
            found.append(of_parts(told, by.scheme, rows.shape[1]))
    return joined(found)


def _at_once(columns: int) -> int:
    """Rows that one of a team rounds."""
    return min(_MOST, max(1, _AT_ONCE // columns))


def _some_rows(checkpoint: Checkpoint, names: Sequence[str]) -> Iterator[F32]:
    """Of weights on top of each other: those of a large vocabulary are not in memory together."""
    parts: list[F32] = []
    for _, block in chain.from_iterable(blocks(checkpoint, name) for name in names):
        parts.append(block)
        if sum(part.size for part in parts) >= _PART:
            yield np.concatenate(parts)
            parts = []
    if parts:
        yield np.concatenate(parts)


def balance_of(checkpoint: Checkpoint, recipe: Recipe, reading: Reading) -> dict[str, F32]:
    """What the weights of all layers are balanced by (`edge.quant.balance`)."""
    found: dict[str, F32] = {}

    def make(walk: Walk, heard: Heard, _: Advance) -> Mapping[str, F32]:
        own = _balance(checkpoint, recipe, walk.layer, heard)
        found.update(own)
        by, weights = factors(checkpoint.decoder, own), {}
        for joint in joints(checkpoint.decoder, walk.layer):
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
