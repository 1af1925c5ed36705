"""How long work says how far it is; who shows it is for the command line to choose."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Advance = Callable[[int], None]
Progress = Callable[[str, int], AbstractContextManager[Advance]]  # what, how many bytes


@contextmanager
def silent(_what: str, _total: int) -> Iterator[Advance]:
    """Progress that nobody is shown."""
    yield lambda _: None
