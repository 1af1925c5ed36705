"""Progress bars on stderr: bytes, speed and time left. Nothing where stderr is no terminal."""

from collections.abc import Iterator
from contextlib import contextmanager

from edge.system.progress import Advance


@contextmanager
def bar(what: str, total: int) -> Iterator[Advance]:
    """A bar for `total` bytes of work, gone when it is done."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as shown:
        task = shown.add_task(what, total=total)
        yield lambda done: shown.advance(task, done)
