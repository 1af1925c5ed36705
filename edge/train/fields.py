"""What recipes of any kind share: YAML with plain values only, whose every field is of its type and in range."""

import re
from collections.abc import Callable, Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args, get_origin

import yaml

from edge.errors import EdgeError
from edge.files import texts

LIMIT = 64 << 10  # bytes
SMALL = 1 << 20  # of a shape's number, or of a row's
_MOST = 1 << 40
_FROM_ZERO = ("seed", "warmup", "marks")  # whole numbers that may be nothing
T = TypeVar("T")
R = TypeVar("R")
EXAMPLE = Path(__file__).parent / "recipes" / "stories.yaml"


def read_as(path: Path, made: Callable[[Mapping[str, Any]], R]) -> R:
    """A recipe, `made` of what a file holds; what is unknown, missing or out of range is an error that names it."""
    try:
        if path.stat().st_size > LIMIT:
            raise ValueError(f"it has more than {LIMIT >> 10} KiB")
        content = texts.decoded(path.read_bytes(), str(path))
        return made(table(_Loader(content).get_single_data(), "it"))
    except FileNotFoundError:
        raise EdgeError(f"there is no recipe {path}", fix=f"start from {EXAMPLE}") from None
    except (yaml.YAMLError, OSError, ValueError, TypeError, RecursionError) as error:
        problem = f"{path} is not a training recipe: {error}"
        raise EdgeError(problem, fix=f"compare it with one of {EXAMPLE.parent}") from error


def built(kind: type[T], raw: object, where: str, *, most: int = _MOST) -> T:
    """A dataclass from a table; no number of it is above `most`."""
    found = table(raw, where)
    check(kind, found, where, most=most)
    return kind(**{key: tuple(v) if isinstance(v, list) else v for key, v in found.items()})


def check(kind: type, raw: Mapping[str, object], where: str, *, most: int = _MOST) -> None:
    """Every field that is given is of its type, a number in a range that no honest recipe leaves."""
    for field in fields(kind):
        if field.name in raw:
            wanted = _unlike(field, raw[field.name], most)
            if wanted:
                raise ValueError(f"{where}: {field.name} is {raw[field.name]!r:.40}, {wanted}")


def table(raw: object, where: str) -> dict[str, Any]:
    if not isinstance(raw, dict) or not all(isinstance(key, str) for key in raw):
        raise TypeError(f"{where} is no table")
    return raw


class _Loader(yaml.SafeLoader):
    """Plain values only. An alias repeats what is above it: nine of nine of nine fill any memory."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise ValueError("it holds an alias (*), which a recipe needs nowhere")
        return super().compose_node(parent, index)


def _unlike(field: "Field[Any]", value: object, high: int) -> str:
    """What a value should have been; nothing if it is."""
    kinds: tuple[Any, ...] = get_args(field.type) or (field.type,)
    listed = _LISTS.get(get_origin(field.type) or object)
    if listed is not None:
        return listed(kinds, value, high)
    if bool in kinds:
        return "" if isinstance(value, bool) else "neither true nor false"
    if int in kinds or float in kinds:
        allowed = (int, float) if float in kinds else int
        low = 1 if int in kinds and field.name not in _FROM_ZERO else 0
        if isinstance(value, bool) or not isinstance(value, allowed) or not low <= value <= high:
            point = " (YAML wants a point in it: 3.0e-5)" if re.match(r"\d+e", str(value)) else ""
            return f"no number from {low} to {high}{point}"
        return ""
    return "" if isinstance(value, str) and value else "no text"


def _choice(kinds: tuple[Any, ...], value: object, high: int) -> str:
    return "" if value in kinds else f"none of {', '.join(kinds)}"


def _shares(kinds: tuple[Any, ...], value: object, high: int) -> str:
    return "" if _odds(value) else "no table of shares"


def _list(kinds: tuple[Any, ...], value: object, high: int) -> str:
    """Of numbers from 1, or of texts."""
    if not isinstance(value, list) or not value:
        right = False
    elif kinds[0] is int:
        right = all(type(one) is int and 1 <= one <= high for one in value)
    else:
        right = all(isinstance(one, str) and one for one in value)
    return "" if right else f"no list of {'numbers' if kinds[0] is int else 'texts'}"


_LISTS: Mapping[type, Callable[[tuple[Any, ...], object, int], str]] = {
    cast(type, Literal): _choice,
    Mapping: _shares,
    tuple: _list,
}


def _odds(value: object) -> bool:
    return (
        isinstance(value, dict)
        and len(value) > 0
        and all(isinstance(key, str) for key in value)
        and all(type(share) in (int, float) and 0 < share <= _MOST for share in value.values())
    )
