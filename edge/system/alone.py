"""Work of other people's libraries that must reach no other machine: whoever tries is refused, by Python's own audit
events (PEP 578), which no library goes round.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from edge.errors import Unsupported

_EVENTS = {
    "socket.connect": 1,  # where in an event's arguments the other machine stands
    "socket.sendto": 1,
    "socket.sendmsg": 1,
    "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0,
    "socket.gethostbyaddr": 0,
}
_work: ContextVar[tuple[str, list[str]] | None] = ContextVar("work", default=None)
_hooks: list[object] = []  # one for all: a hook stays as long as the process


@contextmanager
def alone(work: str) -> Iterator[list[str]]:
    """Within, what this thread does asks no other machine for anything; gives those that were asked for. `work`: what
    is being done, for the error.
    """
    if not _hooks:
        sys.addaudithook(_hear)
        _hooks.append(_hear)
    asked: list[str] = []
    before = _work.set((work, asked))
    try:
        yield asked
    finally:
        _work.reset(before)


def _hear(event: str, given: tuple[object, ...]) -> None:
    at, current = _EVENTS.get(event), _work.get()
    if at is None or current is None:
        return
    where = given[at] if len(given) > at else None
    if isinstance(where, str | bytes) and event == "socket.connect":
        return  # a socket in the file system is of this machine
    work, asked = current
    name = where[0] if isinstance(where, tuple) else where
    asked.append(str(name))
    raise Unsupported(
        f"{work} asks for {name}, and edge makes no connection for it",
        fix="get what it needs beforehand, or leave it out",
    )
