"""Parameters of an engine: a dataclass whose fields say what they are for, whose they are, how large they may be."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from edge.errors import EdgeError
from edge.system import units

T = TypeVar("T")
_WORDS = {"yes": True, "true": True, "no": False, "false": False}


@dataclass(frozen=True, slots=True)
class About:
    """What a setting is for, who published its default, and from where to where it goes; `size`: of bytes."""

    what: str
    source: str
    low: float
    high: float
    size: bool


def setting(
    default: Any,
    what: str,
    source: str = "",
    *,
    low: float = 0,
    high: float = 1e12,
    size: bool = False,
) -> Any:
    """A field with its default."""
    return field(default=default, metadata={"about": About(what, source, low, high, size)})


def read(kind: type[T], given: Mapping[str, str], engine: str) -> T:
    """The parameters that were given as texts, with the defaults of the others."""
    known = about(kind)
    twice = next((name for name in given if "-" in name and named(name) in given), None)
    if twice is not None:
        raise EdgeError(f"{named(twice)} is given twice, as {twice}, too", fix="give it once")
    given = {named(name): text for name, text in given.items()}
    unknown = next((name for name in given if name not in known), None)
    if unknown is not None:
        raise EdgeError(
            f"the engine {engine} has no setting {unknown!r:.60}", fix=f"it has: {', '.join(known)}"
        )
    hints = get_type_hints(kind)
    return kind(
        **{name: _value(hints[name], name, text, known[name]) for name, text in given.items()}
    )


def named(name: str) -> str:
    """A setting may be written as options are, held-out for held_out."""
    return name.replace("-", "_")


def about(kind: Any) -> dict[str, About]:
    return {one.name: one.metadata["about"] for one in fields(kind)}


def _value(hint: Any, name: str, text: str, known: About) -> Any:
    try:
        return _read(hint, text.strip(), known)
    except ValueError:
        raise EdgeError(
            f"{name}={text:.60} is not {_wanted(hint, known)}",
            fix="see docs/data.md, docs/speech-data.md",
        ) from None


def _read(hint: Any, text: str, known: About) -> Any:
    if get_origin(hint) is Literal:
        if text not in get_args(hint):
            raise ValueError
        return text
    if get_origin(hint) is tuple:
        parts = text.split(",")
        if len(parts) != len(get_args(hint)):
            raise ValueError
        return tuple(_number(float, part, known) for part in parts)
    if hint is str:
        return text
    if hint is bool:
        if text not in _WORDS:
            raise ValueError
        return _WORDS[text]
    return _number(hint, text, known)


def _number(kind: Any, text: str, known: About) -> Any:
    value = units.nbytes(text) if known.size else kind(text)
    if not known.low <= value <= known.high:  # nor is it NaN
        raise ValueError
    return value


def _wanted(hint: Any, known: About) -> str:
    if get_origin(hint) is Literal:
        return f"one of {', '.join(get_args(hint))}"
    if hint is bool:
        return "yes or no"
    bounds = f"from {known.low:g} to {known.high:g}"
    if get_origin(hint) is tuple:
        return f"{len(get_args(hint))} numbers {bounds}, by commas"
    if known.size:
        return f"a size {bounds} bytes, as 64MB"
    return f"a {'whole ' if hint is int else ''}number {bounds}"
