"""What networks made of inputs that may come again, by the inputs' content: the latest, up to a bound."""

from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256

from edge.typing import F32

BOUND = 256 << 20  # bytes: some thirty pictures of 13 tiles of a decoder of 2,048


class Remembered:
    """Rows by content; the one that was not asked for the longest time goes first."""

    def __init__(self, bound: int = BOUND) -> None:
        self._bound, self._nbytes = bound, 0
        self._rows: OrderedDict[bytes, F32] = OrderedDict()

    def get(self, content: tuple[bytes | memoryview, ...], make: Callable[[], F32]) -> F32:
        """Those of this content, made now if they are not there."""
        key = sha256(b"".join(sha256(part).digest() for part in content)).digest()
        if key in self._rows:
            self._rows.move_to_end(key)
            return self._rows[key]
        rows = make()
        rows.flags.writeable = False  # for it is given out more than once
        if rows.nbytes <= self._bound:
            self._rows[key] = rows
            self._nbytes += rows.nbytes
        while self._nbytes > self._bound:
            self._nbytes -= self._rows.popitem(last=False)[1].nbytes
        return rows
