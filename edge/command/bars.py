"""Progress bars on stderr: how much is done, and time left. Nothing where stderr is no terminal."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edge.system.progress import Advance

if TYPE_CHECKING:
    from rich.progress import ProgressColumn


@contextmanager
def bar(what: str, total: int) -> Iterator[Advance]:
    """A bar for `total` bytes of work, gone when it is done."""
    from rich.progress import DownloadColumn

    with _shown(what, total, DownloadColumn()) as advance:
        yield advance


@contextmanager
def steps(what: str, total: int) -> Iterator[Advance]:
    """The same for work that is counted, such as tiles."""
    from rich.progress import MofNCompleteColumn

    with _shown(what, total, MofNCompleteColumn()) as advance:
        yield advance


@contextmanager
def _shown(what: str, total: int, done: "ProgressColumn") -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), done, TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as shown:
        task = shown.add_task(what, total=total)
        yield lambda count: shown.advance(task, count)
