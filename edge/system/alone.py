"""Work of other people's libraries that must reach no other machine: whoever tries is refused, by Python's own audit
events (PEP 578), which no library goes round.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from edge.errors import Unsupported

_EVENTS = {
    "socket.connect": 1,  # where in an event's arguments the other machine stands
    "socket.sendto": 1,
    "socket.sendmsg": 1,
    "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0,
    "socket.gethostbyaddr": 0,
}
_HELPERS = ("fsspecIO", "asyncio_")  # threads that ask for whoever wants something of the web


@dataclass(frozen=True, slots=True)
class _Work:
    name: str
    asked: list[str]
    others: frozenset[int | None]  # threads whose business this is not


_works: list[_Work] = []
_hooks: list[object] = []  # one for all: a hook stays as long as the process


@contextmanager
def alone(work: str) -> Iterator[list[str]]:
    """Within, no other machine is asked for anything; gives those that were asked for. `work`: what is being done,
    for the error. Threads that were there before go on as they please, but for those that libraries have for such
    things.
    """
    if not _hooks:
        sys.addaudithook(_hear)
        _hooks.append(_hear)
    here = threading.current_thread()
    others = (
        thread.ident
        for thread in threading.enumerate()
        if thread is not here and not thread.name.startswith(_HELPERS)
    )
    doing = _Work(work, [], frozenset(others))
    _works.append(doing)
    try:
        yield doing.asked
    finally:
        _works.remove(doing)


def _hear(event: str, given: tuple[object, ...]) -> None:
    at = _EVENTS.get(event)
    if at is None or not _works:
        return
    where = given[at] if len(given) > at else None
    if isinstance(where, str | bytes) and event == "socket.connect":
        return  # a socket in the file system is of this machine
    work = next((work for work in _works if threading.get_ident() not in work.others), None)
    if work is None:
        return
    name = str(where[0] if isinstance(where, tuple) else where)
    work.asked.append(name)
    raise Unsupported(
        f"{work.name} asks for {name}, and edge makes no connection for it",
        fix="get what it needs beforehand, or leave it out",
    )
