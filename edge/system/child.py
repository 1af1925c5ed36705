"""The far side of `edge.system.confined`: a process that answers the requests of its parent, one by one.

It reads the code that it needs once, and forks a child for each request where that can be done
(Linux; `edge.system.forked`). Only the child looks at what a stranger wrote. Elsewhere the process limits
itself, answers one request and ends. `edge.system.wire` says what they send each other.
"""

import contextlib
import gc
import signal
import sys
from collections.abc import Callable
from typing import Any

from edge.system.wire import REQUEST, Answer, Begin, give, limit, outcome, read


def serve(prepare: Callable[[], Begin], *, forks: bool) -> None:
    """Answer what comes until nothing does. `prepare` imports, and says how requests are begun."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to hear
    begin = _prepared(prepare)
    with contextlib.suppress(EOFError, BrokenPipeError):  # the parent is gone
        if forks:
            gc.freeze()  # pages that no collection writes stay shared with every child,
            gc.set_threshold(100_000)  # which seldom lives until its first
            from edge.system.forked import serve_all

            serve_all(begin)
        else:
            _serve_one(begin)


def _prepared(prepare: Callable[[], Begin]) -> Begin:
    try:
        return prepare()
    except Exception as error:
        problem = error

    def fail(_: Any) -> Answer:
        raise problem

    return fail


def _serve_one(begin: Begin) -> None:
    seconds, megabytes, _, _, *sizes = REQUEST.unpack(read(REQUEST.size))
    stands, rest = (read(size) for size in sizes)
    limit(seconds, megabytes)
    give(sys.stdout.buffer, *outcome(begin, stands, lambda: rest))
