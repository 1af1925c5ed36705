"""A match of what is written, and what is around it: what a rule of reading is asked about."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge.text.spoken.numbers import Words

NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?"
END = r"(?![\w])"


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A match and what is around it. `known`: whether the lexicon has a word; `before`: the last words,
    lower case.
    """

    match: re.Match[str]
    known: Callable[[str], bool]
    recent: tuple[str, ...]
    shouted: bool

    def __getitem__(self, group: int) -> str:
        return self.match[group] or ""

    @property
    def before(self) -> str:
        """The last word."""
        return self.recent[-1] if self.recent else ""

    @property
    def after(self) -> str:
        """What follows."""
        return self.match.string[self.match.end() : self.match.end() + 40]

    @property
    def glued(self) -> str:
        """The sign right before, if there is no space."""
        at = self.match.start()
        return self.match.string[at - 1] if at and not self.match.string[at - 1].isspace() else ""


Said = Words | str | None  # words, or a mark that is a pause; None: another rule is asked
Rule = Callable[[Place], Said]
# A pattern, its rule, and whether capitals are the same as small letters.
Row = tuple[str, Rule, bool]


def one_of(names: Sequence[str]) -> str:
    """A group of them, the longest first."""
    return "(?:" + "|".join(re.escape(n) for n in sorted(names, key=len, reverse=True)) + ")"
