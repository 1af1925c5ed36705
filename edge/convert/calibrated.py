"""Codes that depend on what weights are multiplied with: a text goes through the layers, and each layer is rounded by
its inputs, which come from layers that are rounded already.

One layer's weights, the means of products of its inputs and the text's streams are in memory at a time. After each
layer the streams are kept on the disk: a conversion that was killed goes on with the layer that it was at. N rows,
K columns.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, chain
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from edge import targets
from edge.contracts import Walk
from edge.convert import tuning
from edge.convert.calibration import WINDOW
from edge.convert.one_pass import Job, put
from edge.convert.tuning import Course
from edge.errors import EdgeError
from edge.names import shapes
from edge.nn.decoder import head_name
from edge.nn.tracing import multiplied
from edge.quant.balance import balanced, factors, joints
from edge.quant.inputs import Inputs
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
from edge.system.team import Parts, Team, Threads, one_thread_each
from edge.typing import F32

STREAMS = "streams.npz"  # gone before an artifact is published
_VECTOR = "vector "  # before the names of vectors in it
_ROWS = 16_384  # of a weight that are rounded together
_AT_ONCE = 1024  # rows that one of a team rounds
_NONE = np.empty(0, np.float32)


@dataclass(slots=True)
class Heard:
    """The inputs of a layer's matrices, by the names of those that have one input. Of the products of a matrix's inputs
    each of the team adds up some panels.
    """

    team: Team = field(default_factory=Threads)
    inputs: dict[tuple[str, ...], Inputs] = field(default_factory=dict)

    def hear(self, names: tuple[str, ...], x: F32) -> None:
        found = self.inputs.setdefault(names, Inputs.none(x.shape[1]))
        found.add(x, self.team.own(found.panels), self.team.run)

    def take(self, names: tuple[str, ...]) -> Inputs:
        """Those of these matrices, which are forgotten here; refuses what is no number."""
        found = self.inputs.pop(names)
        every = self.team.each(found.panels, lambda number: {"panel": found.panel(number)})
        for number, told in enumerate(every):
            found.panel(number)[:] = told["panel"]
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
    """A text that is read to round by, by a team: as a conversion of this key keeps its streams in a folder."""

    windows: Sequence[Sequence[int]]
    folder: Path
    key: str
    progress: Progress
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
        walk = targets.oracle().walk(checkpoint, self.windows, recipe)
        self.back(walk, vectors)
        with (
            self.progress(f"calibrate {recipe.brief}", (2 + more) * tokens * count) as advance,
            one_thread_each(),
        ):
            advance((2 + more) * tokens * walk.layer)
            while walk.layer < count:
                heard = Heard(self.team)
                self._listen(walk, heard, advance)
                walk.forget()  # to be rounded they are read in parts
                for name, weight in make(walk, heard, advance).items():
                    walk.replace(name, weight)
                walk.arrive(self.through(walk, advance))
                self.keep(walk, vectors)
        return walk

    def _listen(self, walk: Walk, heard: Heard, advance: Callable[[int], None]) -> None:
        """Hear what a layer's matrices multiply."""

        def one(window: int) -> dict[str, F32]:
            parts: dict[str, F32] = {}
            walk.one(window, lambda names, x: parts.update({" ".join(names): x}))
            return parts

        for stream, parts in zip(walk.streams, self.team.each(len(walk.streams), one), strict=True):
            for names, x in parts.items():
                heard.hear(tuple(names.split(" ")), x)
            advance(len(stream))

    def through(self, walk: Walk, advance: Callable[[int], None]) -> list[F32]:
        """What comes out of a layer."""
        out = []
        every = self.team.each(len(walk.streams), lambda window: {"stream": walk.one(window, None)})
        for parts in every:
            out.append(parts["stream"])
            advance(len(parts["stream"]))
        return out

    def keep(self, walk: Walk, vectors: Mapping[str, F32] | None = None) -> None:
        if not self.team.first:
            return
        partial = self.folder / f".{STREAMS}"
        told = {f"{_VECTOR}{name}": values for name, values in (vectors or {}).items()}
        with partial.open("wb") as file:
            key, layer = np.array(self.key), np.array(walk.layer)
            np.savez(file, *walk.streams, key=key, layer=layer, **told)  # type: ignore[arg-type]
        partial.replace(self.folder / STREAMS)

    def back(self, walk: Walk, vectors: dict[str, F32] | None = None) -> None:
        """Go to where the same conversion was, if it left its streams."""
        found = self.team.told(_kept(self.folder, self.key))
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


def _kept(folder: Path, key: str) -> Parts:
    """Every array that a conversion of this key left; none of another's, nor of a file that is broken."""
    try:
        with np.load(folder / STREAMS) as found:
            return dict(found) if str(found["key"]) == key and "layer" in found else {}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return {}


def drop(folder: Path) -> None:
    for name in (STREAMS, f".{STREAMS}"):
        (folder / name).unlink(missing_ok=True)
    tuning.drop(folder)


def memory(spec: DecoderSpec, tokens: int) -> int:
    """Bytes that rounding by so many tokens takes beside a conversion: of one layer its weights as floats, read and
    rounded, and its codes; means of products, and a factor of the largest; what windows multiply, and rows that are
    rounded, as many at once as there are threads; and the text before a layer and behind.
    """
    layers, known, threads = [], shapes(spec), processors.threads(None)
    for index in range(len(spec.layers)):
        at = f"layers.{index}."
        each = [s for name, s in known.items() if name.startswith(at) and len(s) == 2]
        inputs = {shape[1] for shape in each}
        products = sum(width**2 for width in (*inputs, spec.width)) + max(inputs) ** 2
        rows = min(max(s[0] for s in each), threads * _AT_ONCE)
        heard = 4 * threads * min(tokens, WINDOW) * sum(inputs)
        layers.append(
            9 * sum(map(math.prod, each)) + 4 * products + max(24 * rows * max(inputs), heard)
        )
    return max(layers) + 8 * tokens * spec.width


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

    _head(checkpoint, alike, reading.layers(checkpoint, recipe, make), reading.team)


def _by_training(checkpoint: Checkpoint, alike: Alike, reading: Reading) -> None:
    """Written when all layers are there, for then they are trained together."""
    recipe = alike.recipes[0]
    course = Course(checkpoint, recipe, reading)

    def make(walk: Walk, heard: Heard, advance: Advance) -> Mapping[str, F32]:
        return _meant(course.layer(walk, _codes(checkpoint, recipe, heard), advance))

    walk = reading.layers(checkpoint, recipe, make, course.streams, more=course.passes)
    name = head_name(checkpoint.decoder)
    made = _head(checkpoint, alike, walk, reading.team)
    stored = made.get(name) or recipe.stored(name, whole(checkpoint, name), recipe.scheme(name))
    head = stored.dequantize() if isinstance(stored, QTensor) else stored
    total = course.rounds * sum(map(len, reading.windows))
    with reading.progress(f"train scales of {recipe.brief}", total) as advance:
        every = course.end(head, advance)
    for codes in every:
        _write(checkpoint, alike, codes)


def _head(checkpoint: Checkpoint, alike: Alike, walk: Walk, team: Team) -> dict[str, QTensor]:
    """Written, if its inputs say how to round it."""
    if not alike.recipes[0].calibrated(head_name(checkpoint.decoder)):
        return {}
    heard = Heard(team)
    with one_thread_each():
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
            by = _By(made, scheme, Moments(inputs.products))
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
        some = rows[item * _AT_ONCE : (item + 1) * _AT_ONCE]
        return parts_of(self.made(some, self.scheme, self.moments))


def _rounded(parts: Iterable[F32], by: _By, team: Team) -> QTensor:
    """Rows as codes, of which each of the team makes some."""
    found = []
    for rows in parts:
        for told in team.each(-(-len(rows) // _AT_ONCE), partial(by.codes, rows)):
            found.append(of_parts(told, by.scheme, rows.shape[1]))
    return joined(found)


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
