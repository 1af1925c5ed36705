"""What networks made of inputs that may come again, by the inputs' content: the latest, up to a bound."""

from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from typing import Generic, Protocol, TypeVar

BOUND = 256 << 20  # bytes: some thirty pictures of 13 tiles of a decoder of 2,048


class Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


Made = TypeVar("Made", bound=Sized)


class Remembered(Generic[Made]):
    """Rows by content, or whatever else was made of it; the one that was not asked for the longest time goes first.
    It is given out more than once: nobody may change it.
    """

    def __init__(self, bound: int = BOUND) -> None:
        self._bound, self._nbytes = bound, 0
        self._found: OrderedDict[bytes, Made] = OrderedDict()

    def get(self, content: tuple[bytes | memoryview, ...], make: Callable[[], Made]) -> Made:
        """That of this content, made now if it is not there."""
        key = sha256(b"".join(sha256(part).digest() for part in content)).digest()
        if key in self._found:
            self._found.move_to_end(key)
            return self._found[key]
        made = make()
        if made.nbytes <= self._bound:
            self._found[key] = made
            self._nbytes += made.nbytes
        while self._nbytes > self._bound:
            self._nbytes -= self._found.popitem(last=False)[1].nbytes
        return made
