"""How much a model's answers change when one matrix has fewer bits, measured with a short text; and from that, which
bits each matrix gets under a size.

A layer is rounded alone, and what then reaches the head is compared with what would have: its share of change, which
its matrices have by what each of them changes in what leaves the layer. (That losses of single layers add up:
arXiv 2411.17525.) L layers take about L L / 2 steps of one layer.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import numpy as np

from edge import targets
from edge.contracts import Layout, Walk
from edge.errors import EdgeError, Unsupported
from edge.names import Spec, shapes
from edge.quant import rtn
from edge.quant.budget import Choice, within
from edge.quant.methods import is_made, methods
from edge.quant.recipe import Recipe, each_by_name
from edge.quant.tensor import Scheme, Zero
from edge.source.checkpoint import Checkpoint
from edge.source.finite import whole
from edge.system.progress import Progress
from edge.system.team import one_thread_each
from edge.system.units import size
from edge.typing import F32

TOKENS = 256  # of the text
BITS = (2, 3, 4, 5, 6, 8)
_STEPS: tuple[Zero, ...] = ("middle", "minimum", "integer")
_TRIED = 4  # bits at which layers are compared
_ROWS = 256  # of a matrix, by which its errors are known
_TINY = 1e-30

Overrides = tuple[tuple[str, Scheme], ...]
Unit = tuple[str, ...]  # names of matrices that have one scheme
Planned = Callable[[Mapping[str, Scheme]], int]  # -> bytes of all files of weights


@dataclass(frozen=True, slots=True)
class _Heard:
    """Mean squares of what matrices of these names multiply, [K] each."""

    squares: dict[str, F32]

    def hear(self, names: tuple[str, ...], x: F32) -> None:
        for name in names:
            self.squares[name] = self.squares.get(name, 0) + np.square(x).mean(axis=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """So many bytes at most of all files of weights; `windows`: the text's tokens; `planned`: what a target would
    write by a recipe, refused with Unsupported where it does not hold that.
    """

    nbytes: int
    windows: Sequence[Sequence[int]]
    planned: Callable[[Recipe], Layout[Spec]]


def sized(
    checkpoint: Checkpoint, recipe: Recipe, budget: Budget, *, own: Overrides, progress: Progress
) -> Recipe:
    """A recipe by which matrices of layers have the bits that lose least within a budget; those that patterns of the
    user's `own` name stay as they are.
    """
    known = shapes(checkpoint.decoder)
    names = _free(recipe, own, known)

    def planned(schemes: Mapping[str, Scheme]) -> int:
        every = {**{name: recipe.scheme(name) for name in names}, **schemes}
        return budget.planned(each_by_name(replace(recipe, overrides=own), every)).nbytes

    planned({})  # refuses what the target does not hold at all
    units = _units(checkpoint, names)
    able = _able(recipe, units, known, planned)
    smallest = {unit: min(some, key=lambda one: some[one]) for unit, some in able.items()}
    fewest = planned(_each(smallest))
    if fewest > budget.nbytes:
        least = size(1.01 * fewest).replace(" ", "")
        raise EdgeError(
            f"{size(budget.nbytes)} is too small: with the fewest bits everywhere it takes {size(fewest)}",
            fix=f"give --size {least} or more, or fewer bits to --embed and --head",
        )
    lost = _lost(checkpoint, able, budget.windows, progress)
    every = {
        unit: [
            Choice(one, nbytes, sum(lost[name][one] for name in unit))
            for one, nbytes in some.items()
        ]
        for unit, some in able.items()
    }
    room = budget.nbytes - fewest + sum(able[unit][one] for unit, one in smallest.items())
    while True:
        chosen = within(every, room)
        made = smallest if chosen is None else {unit: one.scheme for unit, one in chosen.items()}
        over = planned(_each(made)) - budget.nbytes  # what files add between weights
        if over <= 0:
            return each_by_name(replace(recipe, overrides=own), _each(made))
        room -= over


def _each(schemes: Mapping[Unit, Scheme]) -> dict[str, Scheme]:
    return {name: scheme for unit, scheme in schemes.items() for name in unit}


def _units(checkpoint: Checkpoint, names: Iterable[str]) -> list[Unit]:
    """Matrices whose bits are chosen together: those of one tensor of the checkpoint, as some targets keep it."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(checkpoint.places[name].tensor, []).append(name)
    return [tuple(some) for some in found.values()]


def _able(
    recipe: Recipe,
    units: Sequence[Unit],
    known: Mapping[str, tuple[int, ...]],
    planned: Planned,
) -> dict[Unit, dict[Scheme, int]]:
    """What each unit may be: other bits and zeros of its own method that the target holds, with the bytes that it
    takes there.
    """
    counts = {unit: sum(math.prod(known[name]) for name in unit) for unit in units}
    alike: dict[Scheme, list[Unit]] = {}
    for unit in units:
        alike.setdefault(recipe.scheme(unit[0]), []).append(unit)
    out: dict[Unit, dict[Scheme, int]] = {}
    for own, some in alike.items():
        tried = {one: _bytes(planned, _each(dict.fromkeys(some, one))) for one in _like(own)}
        held = {one: nbytes for one, nbytes in tried.items() if nbytes is not None}
        total = sum(counts[unit] for unit in some)
        # What all of them take more than at their fewest bits, by the weights that each has.
        base = min(held.values())
        for unit in some:
            out[unit] = {
                one: own.nbytes(1, counts[unit]) + (nbytes - base) * counts[unit] // total
                for one, nbytes in held.items()
            }
    return out


def _like(own: Scheme) -> Iterator[Scheme]:
    for bits in BITS:
        for zero in dict.fromkeys((own.zero, *_STEPS[1:])):
            other = replace(own, bits=bits, zero=zero)
            if is_made(other):
                yield other


def _bytes(planned: Planned, schemes: Mapping[str, Scheme]) -> int | None:
    """None where the target does not hold it."""
    try:
        return planned(schemes)
    except Unsupported:
        return None


def _free(recipe: Recipe, own: Overrides, known: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Matrices of layers whose bits may be chosen; refuses a recipe of none."""
    found = [
        name
        for name, shape in known.items()
        if name.startswith("layers.") and len(shape) == 2
        if not any(fnmatchcase(name, pattern) for pattern, _ in own)
        if not (recipe.scheme(name).is_float or recipe.scheme(name).block_bytes)
    ]
    if not found or recipe.mixture is not None:
        raise EdgeError(
            f"--size chooses bits, and those of {recipe.brief} are what they are",
            fix="give --quant a method or a kind of codes, such as int4, gptq-int4-g64 or awq-int4-g32",
        )
    return found


def _lost(
    checkpoint: Checkpoint,
    units: Mapping[Unit, Iterable[Scheme]],
    windows: Sequence[Sequence[int]],
    progress: Progress,
) -> dict[str, dict[Scheme, float]]:
    """What each scheme of each matrix loses: a share of the square of what reaches the head."""
    able = {name: list(schemes) for unit, schemes in units.items() for name in unit}
    count, tokens = len(checkpoint.decoder.layers), sum(map(len, windows))
    # One text that nothing is done to, and one of what became of each change in a layer before.
    front, behind = (targets.oracle().walk(checkpoint, windows) for _ in range(2))
    out: dict[str, dict[Scheme, float]] = {}
    steps = 2 * count + len(able) + count * (count + 1) // 2
    with progress("what bits are worth", tokens * steps) as advance, one_thread_each():
        for index in range(count):
            names = [name for name in able if name.startswith(f"layers.{index}.")]
            full = {name: whole(checkpoint, name) for name in names}  # read once for all
            for name, weight in full.items():
                front.replace(name, weight)
                behind.replace(name, weight)
            heard = _Heard({})
            plain = front.through(heard.hear, advance)
            changed, shares = _changes(front, full, able, plain, advance)
            for name in names:
                costs = _costs(full[name], able[name], heard.squares[name])
                own = costs[_at(able[name], _TRIED)]
                out[name] = {
                    one: shares[name] * cost / max(own, _TINY) for one, cost in costs.items()
                }
            front.arrive(plain)
            behind.arrive([*behind.through(None, advance), *changed])
    reached = _reached(behind, len(windows))
    for name, losses in out.items():
        layer = int(name.split(".")[1])
        out[name] = {one: loss * reached[layer] for one, loss in losses.items()}
    return out


def _changes(
    walk: Walk,
    full: Mapping[str, F32],
    able: Mapping[str, Sequence[Scheme]],
    plain: Sequence[F32],
    advance: Callable[[int], None],
) -> tuple[list[F32], dict[str, float]]:
    """What leaves a layer of few bits; and of its change, which share each matrix has that changes alone."""
    few = {name: _few(weight, _at(able[name], _TRIED)) for name, weight in full.items()}
    own = {}
    for name in full:
        walk.replace(name, few[name])
        own[name] = _square(walk.through(None, advance), plain)
        walk.replace(name, full[name])
    for name in full:
        walk.replace(name, few[name])
    every = max(sum(own.values()), _TINY)
    return walk.through(None, advance), {name: value / every for name, value in own.items()}


def _at(schemes: Sequence[Scheme], bits: int) -> Scheme:
    """The one of so many bits, or the nearest; of two, that of more."""
    return min(schemes, key=lambda one: (abs(one.bits - bits), -one.bits))


def _few(weights: F32, scheme: Scheme) -> F32:
    """Rounded without a text, to the nearest code where codes are steps: what bits are worth before a method helps."""
    if scheme.zero in _STEPS:
        return rtn.quantize(weights, replace(scheme, method="rtn", rotated=False)).dequantize()
    return methods()[scheme.method].quantize(weights, scheme).dequantize()


def _costs(weights: F32, schemes: Sequence[Scheme], squares: F32) -> dict[Scheme, float]:
    """The square of what products are off by, of some rows."""
    some = weights[:: max(1, len(weights) // _ROWS)][:_ROWS]
    return {
        one: float(np.einsum("nk,k->", np.square(_few(some, one) - some), squares))
        for one in schemes
    }


def _square(some: Sequence[F32], others: Sequence[F32]) -> float:
    pairs = zip(some, others, strict=True)
    return sum(float(np.square(a - b, dtype=np.float64).sum()) for a, b in pairs)


def _reached(walk: Walk, windows: int) -> list[float]:
    """Of each layer, the share of the square of what the head multiplies that its change is."""
    heard: list[F32] = []
    walk.last(lambda _, x: heard.append(x))
    plain, out = heard[:windows], []
    whole_square = sum(float(np.square(x, dtype=np.float64).sum()) for x in plain)
    for at in range(windows, len(heard), windows):
        out.append(_square(heard[at : at + windows], plain) / max(whole_square, _TINY))
    return out
