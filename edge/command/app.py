"""The one application that every command belongs to, and how it talks beside its results."""

import typer

app = typer.Typer(
    name="edge",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 done; 1 a verification failed; 2 a wrong request; 3 not supported here; "
    "4 a damaged file; 70 a mistake of edge's own; 130 interrupted; 141 nobody read its output.",
)


def say(line: str) -> None:
    """To the user, beside what is printed for others to read."""
    typer.echo(line, err=True)
