"""What has a `close` serves as a context manager, written once."""

from abc import abstractmethod
from types import TracebackType
from typing import Self


class Closeable:
    """Closed at the end of a `with`, whatever happens in it."""

    __slots__ = ()

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
