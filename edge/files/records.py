"""A frozen dataclass of numbers, back from JSON: the inverse of `dataclasses.asdict`, each field
checked as a checkpoint's config is.
"""

from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from edge.errors import Damaged
from edge.files.config import Config

T = TypeVar("T")
_FIX = "convert again with this edge, or use the edge that wrote it"


def read(kind: type[T], config: Config) -> T:
    """The dataclass that an object holds; null and a missing field are the field's default."""
    known = _names(kind)
    for name in config.data:
        if name not in known:
            raise Damaged(f"{config.where}: unknown field {name!r:.60}", fix=_FIX)
    hints = get_type_hints(kind)
    given = {name for name in known if config.has(name) or name in _required(kind)}
    return kind(**{name: _value(hints[name], config, name) for name in known if name in given})


def _value(hint: Any, config: Config, name: str) -> Any:
    hints = _alternatives(hint)
    if len(hints) > 1 or is_dataclass(hints[0]):
        return _nested(hints, config.table(name), f"{config.where}: {name}")
    if get_origin(hints[0]) is tuple:
        return _items(get_args(hints[0])[0], config, name)
    if get_origin(hints[0]) is Literal:
        return _choice(get_args(hints[0]), config, name)
    readers: dict[Any, Callable[[str], Any]]
    readers = {int: config.integer, float: config.number, bool: config.flag, str: config.text}
    return readers[hints[0]](name)


def _items(kind: Any, config: Config, name: str) -> tuple[Any, ...]:
    values = config.data.get(name)
    if values == []:
        return ()
    if kind is int:
        return config.integers(name, low=0)
    if kind is float:
        return config.numbers(name)
    if get_origin(kind) is Literal:
        return _choices(get_args(kind), config, name)
    if get_origin(kind) is tuple and isinstance(values, list):
        inner = [
            Config({name: value}, f"{config.where}: {name}[{i}]") for i, value in enumerate(values)
        ]
        return tuple(_items(get_args(kind)[0], row, name) for row in inner)
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise Damaged(f"{config.where}: {name} is no list of objects", fix=_FIX)
    where = f"{config.where}: {name}"
    return tuple(read(kind, Config(value, f"{where}[{i}]")) for i, value in enumerate(values))


def _nested(kinds: tuple[Any, ...], config: Config | None, where: str) -> Any:
    """An object of one of these dataclasses: several are told apart by their fields."""
    if config is None:
        raise Damaged(f"{where} is missing", fix=_FIX)
    if len(kinds) == 1:
        return read(kinds[0], config)
    for kind in kinds:
        if set(_names(kind)) == set(config.data):
            return read(kind, config)
    found = str(sorted(config.data))[:120]
    raise Damaged(f"{where} has the fields of nothing known: {found}", fix=_FIX)


def _choices(allowed: tuple[Any, ...], config: Config, name: str) -> tuple[Any, ...]:
    values = config.data.get(name)
    if not isinstance(values, list) or not all(value in allowed for value in values):
        raise Damaged(f"{config.where}: {name} is {values!r:.60}, no list of {allowed}", fix=_FIX)
    return tuple(values)


def _choice(allowed: tuple[Any, ...], config: Config, name: str) -> Any:
    value = config.text(name)
    if value not in allowed:
        raise Damaged(f"{config.where}: {name} is {value!r:.60}, not one of {allowed}", fix=_FIX)
    return value


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """The members of a union, without None."""
    if get_origin(hint) is UnionType:
        return tuple(kind for kind in get_args(hint) if kind is not NoneType)
    return (hint,)


def _names(kind: Any) -> list[str]:
    return [field.name for field in fields(kind)]


def _required(kind: Any) -> set[str]:
    return {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}
