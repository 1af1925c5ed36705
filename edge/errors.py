"""The one exception that means: the user can fix this."""


class EdgeError(Exception):
    """A mistake the user can fix: what is wrong, where, and what would work.

    The command line prints it without a traceback and exits with `code`; see `edge --help` for the
    codes.
    """

    code = 2

    def __init__(self, problem: str, *, fix: str) -> None:
        super().__init__(f"{problem}\n  fix: {fix}")
        self.problem = problem
        self.fix = fix


class Unsupported(EdgeError):
    """What was asked for is understood, but this target, runtime or machine cannot do it."""

    code = 3


class Damaged(EdgeError):
    """A file is broken, hostile, or not what its name says."""

    code = 4
