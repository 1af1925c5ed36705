"""Reads the parts of a header one after another, never past the end of the file."""

import os
import struct
from collections.abc import Iterator

_WINDOW = 1 << 18  # bytes that are read at a time
_LENGTH = struct.Struct("<Q")
_TEXTS = 1 << 22  # strings in arrays; the largest vocabularies have 2^18 tokens and 2^19 merges
_HEADER = 256 << 20  # bytes: a longer header is no honest one


class Malformed(Exception):
    """What is wrong with the file; the reader says which file."""


class Cursor:
    """A place in an open file of a known size."""

    def __init__(self, file: int, size: int, *, at: int = 0) -> None:
        self.at = at
        self._file = file
        self._size = min(size, _HEADER)
        self._window = b""
        self._first = 0  # position of the window
        self._texts = 0  # strings in arrays so far

    def take(self, count: int) -> bytes:
        """The next bytes."""
        self._check(count)
        self._fill(count)
        begin = self.at - self._first
        self.at += count
        return self._window[begin : begin + count]

    def skip(self, count: int) -> None:
        self._check(count)
        self.at += count

    def scalar(self, form: str) -> bool | int | float:
        raw = self.take(struct.calcsize(form))
        if form == "<?" and raw not in (b"\0", b"\1"):
            raise Malformed(f"a flag is {raw[0]}, neither 0 nor 1")
        value: bool | int | float = struct.unpack(form, raw)[0]
        return value

    def integer(self, form: str) -> int:
        return int(self.scalar(form))

    def length(self, limit: int) -> int:
        """The length of a string that is in the file."""
        count = self.integer("<Q")
        if count > limit:
            raise Malformed(f"a string claims {count:,} bytes")
        self._check(count)
        return count

    def text(self, limit: int) -> str:
        return decoded(self.take(self.length(limit)))

    def texts(self, count: int, limit: int) -> Iterator[bytes]:
        """So many strings: a vocabulary has some hundred thousand, so the loop is tight."""
        self._check(8 * count)
        self._texts += count
        if self._texts > _TEXTS:
            raise Malformed(f"its arrays claim {self._texts:,} strings")
        window, at = self._window, self.at - self._first
        for _ in range(count):
            if at + 8 > len(window):
                window, at = self._turn(at, 8)
            length = _LENGTH.unpack_from(window, at)[0]
            if length > limit:
                raise Malformed(f"a string claims {length:,} bytes")
            if at + 8 + length > len(window):
                window, at = self._turn(at, 8 + length)
            yield window[at + 8 : at + 8 + length]
            at += 8 + length
        self.at = self._first + at

    def _turn(self, at: int, count: int) -> tuple[bytes, int]:
        """A window that holds so many bytes from a place of this one on, and the place in it."""
        self.at = self._first + at
        self._check(count)
        self._fill(count)
        return self._window, self.at - self._first

    def _fill(self, count: int) -> None:
        """Have this many bytes from here on in the window."""
        begin = self.at - self._first
        if begin >= 0 and begin + count <= len(self._window):
            return
        self._window = os.pread(self._file, max(count, _WINDOW), self.at)
        self._first = self.at
        if len(self._window) < count:
            raise Malformed("it became shorter while it was read")

    def _check(self, count: int) -> None:
        if self.at + count > self._size:
            raise Malformed(f"it ends at byte {self._size:,}, inside its header: it is cut off")


def decoded(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"a string is not UTF-8: {error}") from None
