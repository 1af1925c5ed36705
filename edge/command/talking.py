"""A chat on a terminal: lines in, pieces of an answer out."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from edge.errors import steady


def turns() -> Iterator[str]:
    """The user's lines, until an empty one, the end of input or Ctrl-C."""
    while True:
        try:
            typer.echo("> ", nl=False, err=True)
            line = sys.stdin.readline().strip()
        except KeyboardInterrupt:
            return
        if not line:
            return
        yield line


@contextmanager
def stopping() -> Iterator[None]:
    """Ctrl-C stops an answer, and not the chat."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(" [stopped]", nl=False, err=True)


def write(piece: str) -> None:
    """A piece of an answer. What a model writes is a stranger's: it may not steer the terminal."""
    typer.echo(steady(piece) if sys.stdout.isatty() else piece, nl=False)
    sys.stdout.flush()
