"""The one exception that means: the user can fix this."""

import unicodedata

_LONGEST = 800  # letters: more is not read


class EdgeError(Exception):
    """A mistake the user can fix: what is wrong, where, and what would work.

    The command line prints it without a traceback and exits with `code`; see `edge --help` for the
    codes.
    """

    code = 2

    def __init__(self, problem: str, *, fix: str) -> None:
        super().__init__()
        self.say(problem, fix=fix)

    def say(self, problem: str, *, fix: str) -> None:
        """Say it in other words: where more is known of what it is about."""
        self.problem = readable(problem)
        self.fix = readable(fix)
        self.args = (f"{self.problem}\n  fix: {self.fix}",)


def readable(text: str) -> str:
    """A text of bounded length that cannot steer a terminal, whatever names a file put into it."""
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]} [...] {text[-_LONGEST // 2 :]}"
    return "".join(char if char.isprintable() or char == "\n" else _escaped(char) for char in text)


def steady(text: str) -> str:
    """A text for a terminal: what would steer it (colours, its title, the clipboard) becomes escapes."""
    return "".join(
        _escaped(c) if unicodedata.category(c) == "Cc" and c not in "\n\t" else c for c in text
    )


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode()


class Unsupported(EdgeError):
    """What was asked for is understood, but this target, runtime or machine cannot do it."""

    code = 3


class Damaged(EdgeError):
    """A file is broken, hostile, or not what its name says."""

    code = 4
