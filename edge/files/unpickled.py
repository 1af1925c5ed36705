"""Pickles read as data: plain containers, and what a caller lets a pickle name (`edge.files.opcodes`)."""

import struct
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

from edge.errors import Damaged, Unsupported
from edge.files.opcodes import FIX, LIMIT, Call, Machine, Make

_NODES = 1 << 23  # of a plain object, where what is shared counts each time
_DEPTH = 64


def plain(path: Path) -> object:
    """What a pickle of plain data holds: dict, list, tuple, str, int, float, bool, None, bytes. A Counter
    comes as a dict. Damaged or Unsupported for anything else.
    """
    with path.open("rb") as file:
        content = file.read(LIMIT + 1)
    value = read(content, str(path), PLAIN)
    _check_tree(value, str(path))
    return value


def read(
    content: bytes,
    where: str,
    names: Mapping[str, object],
    persistent: Make | None = None,
) -> object:
    """The object that a pickle describes. `names`: what each global stands for, a `Call` where it may be
    called; `persistent`: what an id outside of the pickle stands for.
    """
    if len(content) > LIMIT:
        raise Unsupported(f"{where} is a pickle of more than {LIMIT >> 20} MiB", fix=FIX)
    try:
        return Machine(content, where, names, persistent).run()
    except (ValueError, TypeError, IndexError, KeyError, struct.error, OverflowError) as error:
        raise Damaged(
            f"{where} is no sound pickle ({str(error)[:200]})", fix="get the file again"
        ) from None


def _encode(args: tuple[object, ...]) -> bytes:
    """Bytes as protocols 0 to 2 write them."""
    text, *rest = args
    if not isinstance(text, str) or rest != ["latin1"]:
        raise ValueError("bytes that are no latin1 text")
    return text.encode("latin1")


def _ordered(args: tuple[object, ...]) -> object:
    if args:
        raise ValueError("an OrderedDict with arguments")
    return OrderedDict()


def _counter(args: tuple[object, ...]) -> object:
    if len(args) != 1 or not isinstance(args[0], dict):
        raise ValueError("a Counter of what is no dict")
    return args[0]


def _nothing(args: tuple[object, ...]) -> bytes:
    if args:
        raise ValueError("bytes with arguments")
    return b""


def named(*calls: Call) -> dict[str, object]:
    """What a pickle may call, by its name there."""
    return {call.name: call for call in calls}


ORDERED = Call("collections.OrderedDict", _ordered)
PLAIN: Mapping[str, object] = named(
    ORDERED,
    Call("collections.Counter", _counter),
    Call("_codecs.encode", _encode),
    Call("__builtin__.bytes", _nothing),
)


def _check_tree(value: object, where: str) -> None:
    """Refuse what is deep, endless or large once written out, and whatever is no plain data."""
    waiting, seen = [(value, 0)], 0
    while waiting:
        item, depth = waiting.pop()
        seen += 1
        inner: tuple[object, ...] | list[object] = ()
        if isinstance(item, dict):
            inner = list(item.values())
        elif isinstance(item, list | tuple):
            inner = item
        elif not isinstance(item, str | bytes | int | float | None):
            raise Unsupported(f"{where} holds more than plain data", fix=FIX)
        if depth > _DEPTH or seen + len(waiting) + len(inner) > _NODES:
            raise Damaged(f"{where} is nested too deep, or within itself", fix=FIX)
        waiting.extend((child, depth + 1) for child in inner)
