"""What a process apart and its parent say to each other, and what bounds the one who answers.

A request has two parts. What stands, such as a template, is the same in many requests: after an
answer the next child is made, and waits with that part done.

stdin: a line for the script, [path, whether to fork] in JSON, then requests: REQUEST and two parts.
stdout: for each of them ANSWER and what was answered, or the last words of code that failed.
"""

import contextlib
import json
import struct
import sys
from collections.abc import Callable
from typing import IO, Any

try:
    import resource
except ImportError:  # Windows, which has no such limits: there the clock decides
    resource = None  # type: ignore[assignment]

# Seconds, MiB, seconds by the clock, bytes of the longest answer, and of both parts.
REQUEST = struct.Struct("!IIdIII")
ANSWER = struct.Struct("!iI")  # how it ended, bytes that follow
LATE, LONG, UNMADE = 256, 257, 258  # ends that no process has by itself

Answer = Callable[[Any], dict[str, Any]]
Begin = Callable[[Any], Answer]  # what stands -> how the rest is answered


def limit(seconds: int, megabytes: int) -> None:
    """Bound this process from here on: time and memory, and not one more file, socket or process."""
    if resource is None:
        return
    wanted = {
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_AS: megabytes << 20,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 0,  # what is open stays open, what is closed stays closed
        resource.RLIMIT_NPROC: 0,  # which binds everyone but root
    }
    for what, value in wanted.items():
        # macOS refuses a limit of the address space.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(what, (value, value))


def outcome(begin: Begin, stands: bytes, rest: Callable[[], bytes]) -> tuple[int, bytes]:
    """0 and the answer; or 1 and what went wrong in code of ours."""
    try:
        answer = begin(json.loads(stands or b"null"))
        return 0, json.dumps(answer(json.loads(rest()))).encode()
    except MemoryError:
        return 0, b'{"error": "MemoryError"}'
    except BaseException as error:
        return 1, f"{type(error).__name__}: {str(error)[:500]}".encode(errors="replace")


def read(size: int) -> bytes:
    """So many bytes from the parent."""
    data = sys.stdin.buffer.read(size)
    if len(data) < size:
        raise EOFError
    return data


def give(out: IO[bytes], end: int, answer: bytes) -> None:
    out.write(ANSWER.pack(end, len(answer)) + answer)
    out.flush()
