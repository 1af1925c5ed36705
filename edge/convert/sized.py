"""Which bits each matrix gets so that an artifact takes so many bytes at most, all of its files: first the fewest
everywhere, then a step after the other, by what they are worth (`edge.convert.sensitivity`), as long as all fits.
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from edge.contracts import Calibrator, Layout
from edge.convert.sensitivity import STEPS, lost
from edge.errors import EdgeError, Unsupported
from edge.names import Spec, shapes
from edge.quant.budget import Choice, least, path
from edge.quant.fitting import each_by_name
from edge.quant.ggml import kin
from edge.quant.methods import is_made
from edge.quant.recipe import Recipe
from edge.quant.tensor import Scheme
from edge.source.checkpoint import Checkpoint
from edge.system.progress import Progress
from edge.system.units import size

TOKENS = 256  # of the text
BITS = (2, 3, 4, 5, 6, 8)
_ENDS = ("embed", "head")

Overrides = tuple[tuple[str, Scheme], ...]
Unit = tuple[str, ...]  # names of matrices that have one scheme
Schemes = Mapping[Unit, Scheme]
Step = tuple[Unit, Choice]


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """So many bytes at most. `windows`: the text's tokens; `by`: what reads them; `planned`: what a target would write
    by a recipe, refused with Unsupported where it does not hold that; `whole`: bytes of all files that it would.
    `patterns` and `ends`: what a user gave a precision of its own; `weighed`: a library has an importance matrix.
    """

    nbytes: int
    windows: Sequence[Sequence[int]]
    by: Calibrator
    planned: Callable[[Recipe], Layout[Spec]]
    whole: Callable[[Recipe], int]
    patterns: Overrides
    ends: Collection[str]
    weighed: bool


def sized(checkpoint: Checkpoint, recipe: Recipe, budget: Budget, *, progress: Progress) -> Recipe:
    """A recipe by which all matrices that a user gave no precision have the bits that lose least within a budget."""
    asked = _Asked(checkpoint, recipe, budget)
    budget.planned(asked.by({}))  # refuses what the target does not hold at all
    able = asked.able()
    plain = {
        unit: [Choice(one, nbytes, 0.0) for one, nbytes in some.items()]
        for unit, some in able.items()
    }
    fewest = budget.whole(asked.by({unit: least(some).scheme for unit, some in plain.items()}))
    if fewest > budget.nbytes:
        enough = size(1.01 * fewest).replace(" ", "")
        raise EdgeError(
            f"{size(budget.nbytes)} is too small: with the fewest bits everywhere it takes {size(fewest)}",
            fix=f"give --size {enough} or more, or fewer bits to what has its own",
        )
    losses = lost(
        checkpoint,
        {name: list(some) for unit, some in able.items() for name in unit},
        budget.windows,
        progress,
        budget.by,
    )
    every = {
        unit: [replace(one, loss=sum(losses[name][one.scheme] for name in unit)) for one in some]
        for unit, some in plain.items()
    }
    return _farthest(asked, every, budget.nbytes - fewest)


def _farthest(asked: "_Asked", every: Mapping[Unit, Sequence[Choice]], room: int) -> Recipe:
    """After as many steps as fit; and then those later ones, each the next of its unit, that still do. `room`: bytes
    beside the fewest.
    """
    steps = path(every)
    taken = {unit: least(some) for unit, some in every.items()}
    first, left = _as_many(asked, taken, steps, room)
    taken |= dict(steps[:first])
    rest = _still(taken, steps[first:], left)
    second, _ = _as_many(asked, taken, rest, left)
    return asked.by(_schemes(taken | dict(rest[:second])))


def _still(taken: Mapping[Unit, Choice], steps: Iterable[Step], room: int) -> list[Step]:
    """Those that fit by the bytes of weights though others before do not; none of a unit after one that did not."""
    now, found, full = dict(taken), list[Step](), set[Unit]()
    for unit, choice in steps:
        more = choice.nbytes - now[unit].nbytes
        if unit in full or more > room:
            full.add(unit)
            continue
        found.append((unit, choice))
        now[unit], room = choice, room - more
    return found


def _as_many(
    asked: "_Asked",
    taken: Mapping[Unit, Choice],
    steps: Sequence[Step],
    room: int,
) -> tuple[int, int]:
    """How many of these steps fit after what is taken, one after the other; and the bytes that are left then. First
    what weights alone take is believed, for to ask for all files takes long.
    """
    most = asked.budget.nbytes
    fits, over, left = 0, len(steps) + 1, room
    guesses = iter(_near(_guess(taken, steps, room)))
    while over - fits > 1:
        guess = next((one for one in guesses if fits < one < over), None)
        middle = (fits + over) // 2 if guess is None else guess
        nbytes = asked.budget.whole(asked.by(_schemes({**taken, **dict(steps[:middle])})))
        if nbytes <= most:
            fits, left = middle, most - nbytes
        else:
            over = middle
    return fits, left


def _guess(taken: Mapping[Unit, Choice], steps: Sequence[Step], room: int) -> int:
    """How many steps fit by the bytes of weights."""
    now, count = dict(taken), 0
    for unit, choice in steps:
        room -= choice.nbytes - now[unit].nbytes
        if room < 0:
            break
        now[unit], count = choice, count + 1
    return count


def _near(count: int) -> tuple[int, ...]:
    return count, count + 1, count - 1, count + 3, count - 3


def _schemes(taken: Mapping[Unit, Choice]) -> Schemes:
    return {unit: choice.scheme for unit, choice in taken.items()}


@dataclass(frozen=True, slots=True)
class _Asked:
    """A recipe whose bits are to be chosen."""

    checkpoint: Checkpoint
    recipe: Recipe
    budget: Budget

    def by(self, schemes: Schemes) -> Recipe:
        """The recipe with other schemes for some."""
        own = {name: scheme for unit, scheme in schemes.items() for name in unit}
        plain = replace(
            self.recipe,
            embed=own.get("embed", self.recipe.embed),
            head=own.get("head", self.recipe.head),
            overrides=self.budget.patterns,
        )
        inner = {name: own.get(name, self.recipe.scheme(name)) for name in self._inner()}
        return each_by_name(plain, inner) if inner else plain

    def able(self) -> dict[Unit, dict[Scheme, int]]:
        """What each unit may be, of what the target holds; and how many bytes it then takes more than at the fewest."""
        alike: dict[tuple[tuple[Scheme, ...], int, bool], list[Unit]] = {}
        for unit in self._units():
            own = self._schemes(unit[0])
            # A library's blocks divide some rows alone.
            columns = self._shape(unit[0])[1] if self.recipe.mixture else 0
            alike.setdefault((own, columns, unit[0] in _ENDS), []).append(unit)
        out: dict[Unit, dict[Scheme, int]] = {}
        for (own, *_), some in alike.items():
            tried = {one: self._bytes(dict.fromkeys(some, one)) for one in own}
            held = {one: nbytes for one, nbytes in tried.items() if nbytes is not None}
            counts = {unit: sum(math.prod(self._shape(name)) for name in unit) for unit in some}
            base, total = min(held.values()), sum(counts.values())
            for unit in some:
                # What all of them take more, by the weights that each has.
                out[unit] = {
                    one: (nbytes - base) * counts[unit] // total for one, nbytes in held.items()
                }
        return out

    def _bytes(self, schemes: Schemes) -> int | None:
        """None where the target does not hold it."""
        try:
            return self.budget.planned(self.by(schemes)).nbytes
        except Unsupported:
            return None

    def _units(self) -> list[Unit]:
        """Matrices whose bits are chosen together: those of one tensor of the checkpoint, as some targets keep it.
        Refuses a recipe of none.
        """
        found: dict[str, list[str]] = {}
        for name in (*self._inner(), *_ENDS):
            if name not in self.budget.ends and not self._named(name) and self._schemes(name):
                found.setdefault(self.checkpoint.places[self._table(name)].tensor, []).append(name)
        if not found:
            raise EdgeError(
                f"--size chooses bits, and those of {self.recipe.brief} are what they are",
                fix="give --quant a method or a kind of codes, such as int4, gptq-int4-g64 or awq-int4-g32",
            )
        return [tuple(some) for some in found.values()]

    def _schemes(self, name: str) -> tuple[Scheme, ...]:
        """What a matrix may be: other bits and zeros of its method, or other types of a library."""
        if self.recipe.mixture is not None:
            return tuple(kin(self.recipe.mixture, weighed=self.budget.weighed))
        own = self.recipe.scheme(self._table(name), by_row=name == "embed")
        return () if own.is_float or own.block_bytes else tuple(_like(own))

    def _inner(self) -> list[str]:
        """Matrices of layers that no pattern names."""
        known = shapes(self.checkpoint.decoder).items()
        every = [name for name, shape in known if name.startswith("layers.") and len(shape) == 2]
        return [name for name in every if not self._named(name)]

    def _named(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern, _ in self.budget.patterns)

    def _table(self, name: str) -> str:
        """A head may be the embedding."""
        return "embed" if name == "head" and self.checkpoint.decoder.tied else name

    def _shape(self, name: str) -> tuple[int, ...]:
        return self.checkpoint.shape(self._table(name))


def _like(own: Scheme) -> Iterator[Scheme]:
    for bits in BITS:
        for zero in dict.fromkeys((own.zero, *STEPS[1:])):
            other = replace(own, bits=bits, zero=zero)
            if is_made(other):
                yield other
