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
from edge.text.chat import ChatTemplate
from edge.text.spoken import Conversation, Spoken, spoken
from edge.text.tokenizer import Tokenizer
from edge.typing import AnyArray

TOGETHER = 256  # lines that are rendered at once
Parse = Callable[[Mapping[str, Any]], Sequence[Conversation]]
Longer = Literal["cut", "drop"]


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


def read(
    names: Sequence[str],
    parse: Parse,
    tokenizer: Tokenizer,
    template: ChatTemplate,
    *,
    length: int,
    longer: Longer,
) -> Talks:
    """Every line of some files, in rows of at most `length` + 1 tokens: a `longer` one is cut, and left out where
    nothing that counts is left of it, or always left out. Any bad line is an EdgeError that names it.
    """
    digest = hashlib.sha256()
    items: list[tuple[Row, ...]] = []
    lines = cut = 0
    for rows in _each(objects(names, digest.update), parse, tokenizer, template):
        lines += 1
        long = any(len(row.ids) > length + 1 for row in rows)
        short = [Row(row.ids[: length + 1], row.counted[: length + 1]) for row in rows]
        if long and (longer == "drop" or not all(row.counted.any() for row in short)):
            continue
        cut += long
        items.append(tuple(short))
    if not lines:
        raise EdgeError(f"{', '.join(names)}: there is no line in it", fix="give data to train on")
    if not items:
        raise EdgeError(
            f"{', '.join(names)}: every one of {lines} lines has more than {length} tokens",
            fix="lengthen the recipe's rows",
        )
    return Talks(
        items=items, digest=digest.hexdigest(), lines=lines, cut=cut, left=lines - len(items)
    )


def _each(
    lines: Iterator[tuple[str, dict[str, Any]]],
    parse: Parse,
    tokenizer: Tokenizer,
    template: ChatTemplate,
) -> Iterator[list[Row]]:
    """The rows of each line. Many are rendered at once; where that fails, one by one, to find which."""
    while some := [
        (where, _parsed(parse, value, where)) for where, value in islice(lines, TOGETHER)
    ]:
        try:
            made = spoken(tokenizer, template, [talk for _, talks in some for talk in talks])
        except EdgeError:
            made = [
                one for where, talks in some for one in _alone(tokenizer, template, talks, where)
            ]
        rows = iter(made)
        for _, talks in some:
            yield [_row(one) for one in islice(rows, len(talks))]


def _alone(
    tokenizer: Tokenizer, template: ChatTemplate, talks: Sequence[Conversation], where: str
) -> list[Spoken]:
    try:
        return spoken(tokenizer, template, talks)
    except EdgeError as error:
        error.say(f"{where}: {error.problem}", fix=error.fix)
        raise


def _parsed(parse: Parse, value: Mapping[str, Any], where: str) -> Sequence[Conversation]:
    try:
        return parse(value)
    except ValueError as error:
        raise EdgeError(f"{where}: {error}", fix="mend the line, or take it out") from None


def _row(one: Spoken) -> Row:
    """The first of all is predicted from nothing."""
    return Row(np.array(one.ids, np.int32), np.array([False, *one.counted[1:]]))
