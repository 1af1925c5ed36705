"""Which schemes a target holds: said of every field of a scheme, so that what nobody thought of, a new
value or a new meaning of codes, is refused by name until a target says that it holds it. Who rounded is not
asked, unless a target says so: codes that mean what `Scheme.zero` says are held whichever method makes them.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import product
from typing import Any

from edge.errors import EdgeError, Unsupported
from edge.quant.methods import is_made, methods
from edge.quant.recipe import parse, word
from edge.quant.tensor import Float, Scheme, Zero

_NEAREST = 3  # recipes that are named instead


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """Schemes each of whose fields is among these; `what`: all of them in words. `method`: where it is left
    out, every method that makes such schemes.
    """

    what: str
    bits: Collection[int]
    group: Collection[int | None]
    zero: tuple[Zero, ...]
    number: tuple[Float, ...]
    method: Collection[str] | None = None
    block_bytes: Collection[int] = (0,)
    rotated: tuple[bool, ...] = (False,)
    inputs: Collection[int] = (0,)

    def __contains__(self, scheme: Scheme) -> bool:
        fits = all(getattr(scheme, name) in values for name, values in self._values())
        return fits and (self.method is not None or is_made(scheme))

    def schemes(self) -> Iterator[Scheme]:
        """All of them."""
        for values in product(*(values for _, values in self._values())):
            scheme = Scheme(**dict(zip(FIELDS, values, strict=True)))
            if scheme in self:
                yield scheme

    def _values(self) -> Iterator[tuple[str, Collection[Any]]]:
        for name in FIELDS:
            values = getattr(self, name)
            yield name, methods() if values is None else values


FIELDS = tuple(field.name for field in fields(Scheme))


def exactly(scheme: Scheme) -> Held:
    """One scheme."""
    only = {name: (getattr(scheme, name),) for name in FIELDS}
    return Held(what=word(scheme), **only)


def refuse_unheld(
    target: str, name: str, scheme: Scheme, held: Sequence[Held], *, layers: Sequence[Held] = ()
) -> None:
    """Say what a target holds, where it is not this; `layers`: what else it may be in a layer."""
    if name.startswith("layers."):
        held = (*held, *layers)
    if any(scheme in some for some in held):
        return
    whats = dict.fromkeys(some.what for some in held)
    raise Unsupported(
        f"{target} cannot hold {name} as {word(scheme)}: it holds {', '.join(whats)}",
        fix=f"use {', '.join(nearest(scheme, held))} or the like; for one weight alone with --embed, "
        "--head or --override",
    )


def nearest(scheme: Scheme, held: Sequence[Held]) -> list[str]:
    """Recipes that a target holds, the likest to a scheme first."""

    def far(other: Scheme) -> tuple[int, int, bool, int]:
        unlike = [getattr(other, name) != getattr(scheme, name) for name in FIELDS]
        made = methods()[other.method]
        asks = other.method != scheme.method and bool(made.calibrated or made.balance)
        return abs(other.bits - scheme.bits), sum(unlike), asks, other.group or 0

    every = [other for some in held for other in some.schemes() if _has_a_word(other)]
    words = dict.fromkeys(word(other) for other in sorted(every, key=far))
    return list(words)[:_NEAREST]


def _has_a_word(scheme: Scheme) -> bool:
    """Whether it is a recipe: a type that only a library makes is none by itself."""
    try:
        return not scheme.block_bytes and parse(word(scheme)).body == scheme
    except EdgeError:
        return False
