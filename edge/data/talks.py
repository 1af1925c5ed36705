"""Files of conversations as rows of tokens: all of them read, rendered and encoded before anything is learned, so that
what is wrong with one is found now.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np

from edge.data.jsonl import objects
from edge.errors import EdgeError
from edge.text.assistant import Conversation, Spoken, spoken
from edge.text.chat import ChatTemplate
from edge.text.tokenizer import Tokenizer
from edge.typing import AnyArray

TOGETHER = 256  # lines that are rendered at once
Parse = Callable[[Mapping[str, Any]], Sequence[Conversation]]
Longer = Literal["cut", "drop"]
Tell = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Row:
    """Ids [T + 1], and which of them count as predictions."""

    ids: AnyArray
    counted: AnyArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Talks:
    """`items`: the rows of each line: one of a conversation, two of a pair. `digest`: of all files. `cut`, `left`: how
    many of `lines` were too long, and were cut, or left out.
    """

    items: Sequence[tuple[Row, ...]]
    digest: str
    lines: int
    cut: int
    left: int


@dataclass(frozen=True, slots=True)
class Reader:
    """`parse`: what an object says; by whose tokenizer and template it becomes rows."""

    parse: Parse
    tokenizer: Tokenizer
    template: ChatTemplate

    def read(
        self, names: Sequence[str], *, length: int, longer: Longer, tell: Tell = lambda lines: None
    ) -> Talks:
        """Every line of some files, in rows of at most `length` + 1 tokens: a `longer` one is cut, and left out where
        nothing that counts is left of it, or always left out. Any bad line is an EdgeError that names it. `tell`: how
        many lines were read by now.
        """
        digest = hashlib.sha256()
        items: list[tuple[Row, ...]] = []
        lines = cut = 0
        for rows in self._each(objects(names, digest.update)):
            lines += 1
            tell(lines)
            long = any(len(row.ids) > length + 1 for row in rows)
            short = [Row(row.ids[: length + 1], row.counted[: length + 1]) for row in rows]
            if long and (longer == "drop" or not all(row.counted.any() for row in short)):
                continue
            cut += long
            items.append(tuple(short))
        _refuse_nothing(names, lines, len(items), length)
        left = lines - len(items)
        return Talks(items=items, digest=digest.hexdigest(), lines=lines, cut=cut, left=left)

    def _each(self, lines: Iterator[tuple[str, dict[str, Any]]]) -> Iterator[list[Row]]:
        """The rows of each line. Many are rendered at once; where that fails, one by one, to find which."""
        while some := [
            (where, _parsed(self.parse, value, where)) for where, value in islice(lines, TOGETHER)
        ]:
            try:
                made = self._rows([talk for _, talks in some for talk in talks])
            except EdgeError:
                made = [row for where, talks in some for row in self._alone(talks, where)]
            rows = iter(made)
            yield from (list(islice(rows, len(talks))) for _, talks in some)

    def _alone(self, talks: Sequence[Conversation], where: str) -> list[Row]:
        try:
            return self._rows(talks)
        except EdgeError as error:
            error.say(f"{where}: {error.problem}", fix=error.fix)
            raise

    def _rows(self, talks: Sequence[Conversation]) -> list[Row]:
        return [_row(one) for one in spoken(self.tokenizer, self.template, talks)]


def _refuse_nothing(names: Sequence[str], lines: int, kept: int, length: int) -> None:
    if not lines:
        raise EdgeError(f"{', '.join(names)}: there is no line in it", fix="give data to train on")
    if not kept:
        raise EdgeError(
            f"{', '.join(names)}: every one of {lines} lines has more than {length} tokens",
            fix="lengthen the recipe's rows",
        )


def _parsed(parse: Parse, value: Mapping[str, Any], where: str) -> Sequence[Conversation]:
    try:
        return parse(value)
    except ValueError as error:
        raise EdgeError(f"{where}: {error}", fix="mend the line, or take it out") from None


def _row(one: Spoken) -> Row:
    """The first of all is predicted from nothing."""
    return Row(np.array(one.ids, np.int32), np.array([False, *one.counted[1:]]))
