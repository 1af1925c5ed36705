"""A file whose layout is known before its content: blocks are written where they belong, in any
order and from several threads, or compared with what lies there.
"""

import os
from pathlib import Path
from threading import Lock
from typing import Literal

import numpy as np

from edge.files.closeable import Closeable
from edge.typing import AnyArray

Mode = Literal["write", "resume", "compare"]


class DataFile(Closeable):
    """`write` makes a new file of `nbytes`, `resume` goes on with one, `compare` only reads."""

    def __init__(self, path: Path, nbytes: int, mode: Mode = "write") -> None:
        self.differing = 0
        self._lock = Lock()
        self._compare = mode == "compare"
        new = os.O_EXCL if mode == "write" else 0
        flags = os.O_RDONLY if self._compare else os.O_RDWR | os.O_CREAT | new
        self._file = os.open(path, flags, 0o644)
        size = os.fstat(self._file).st_size
        if not self._compare:
            os.truncate(self._file, nbytes)
        elif size > nbytes:
            self.differing = size - nbytes

    def put(self, offset: int, content: bytes | AnyArray) -> int:
        """Write, or count the bytes that differ: the number of bytes of the content."""
        view = _bytes(content)
        if self._compare:
            self._count(offset, view)
            return len(view)
        done = 0
        while done < len(view):
            done += os.pwrite(self._file, view[done:], offset + done)
        return len(view)

    def _count(self, offset: int, content: memoryview) -> None:
        want = np.frombuffer(content, np.uint8)
        got = np.frombuffer(os.pread(self._file, len(want), offset), np.uint8)
        count = len(want) - len(got) + int(np.count_nonzero(got != want[: len(got)]))
        with self._lock:  # blocks are compared on several threads: no count may be lost
            self.differing += count

    def sync(self) -> None:
        """What was written is on the disk."""
        if not self._compare:
            os.fsync(self._file)

    def close(self) -> None:
        """What was written is on the disk before its folder is renamed."""
        self.sync()
        os.close(self._file)


def _bytes(content: bytes | AnyArray) -> memoryview:
    if isinstance(content, bytes):
        return memoryview(content)
    return np.ascontiguousarray(content).reshape(-1).view(np.uint8).data.cast("B")
