"""What a tokenizer.json cannot say of scored pieces: where it would cut a text otherwise.

SentencePiece, and llama.cpp after it, join the two neighbours that make the likeliest piece, of equals
the leftmost, whatever made the two. A list of merges is in one order, and knows both halves of each.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, pairwise
from math import isfinite

import tokenizers

from edge.text.pieces import NORMAL, UNUSED, USER_DEFINED, Piece

LONGEST = 512  # letters of a piece that merges are sought in: their number is its square
_WORK = 4_000_000  # pairs that are looked at where pieces of one score meet
_JOINED = (NORMAL, UNUSED)


def problem(pieces: Sequence[Piece]) -> str | None:
    """Why merges would not cut as the scores do; None where they would."""
    if not all(isfinite(piece.score) for piece in pieces):
        return "a piece's score is no number"
    return _lone_half(pieces) or _joins_unused(pieces) or _tie(pieces)


def longest(pieces: Sequence[Piece]) -> int:
    """Letters of the longest piece in which merges would be sought."""
    return max((len(piece.text) for piece in pieces if piece.kind in _JOINED), default=0)


def _lone_half(pieces: Sequence[Piece]) -> str | None:
    """A letter that is no piece can be joined by score, but is no half of a merge."""
    joined = {piece.text for piece in pieces if piece.kind in _JOINED}
    known = joined | {piece.text for piece in pieces if piece.kind == USER_DEFINED}
    for piece in pieces:
        lacking = {*piece.text} - known if piece.kind in _JOINED and len(piece.text) > 1 else None
        if lacking and _halves(piece.text, joined):
            return (
                f"the piece {piece.text!r:.60} has the letter {min(lacking)!r}, which is no piece"
            )
    return None


def _joins_unused(pieces: Sequence[Piece]) -> str | None:
    """A piece that is not used is joined like any other, and then cut again."""
    joined = {piece.text for piece in pieces if piece.kind in _JOINED}
    for piece in pieces:
        if piece.kind == UNUSED and _halves(piece.text, joined):
            return f"the unused piece {piece.text!r:.60} can be joined"
    return None


def _halves(text: str, joined: set[str]) -> bool:
    """Whether two neighbours can make it: letters, or pieces."""
    halves = ((text[:at], text[at:]) for at in range(1, len(text)))
    return any(all(len(half) == 1 or half in joined for half in pair) for pair in halves)


def _tie(pieces: Sequence[Piece]) -> str | None:
    """Pieces of one score that meet in a text, where the order of merges is not that of places."""
    normal = [piece for piece in pieces if piece.kind == NORMAL and len(piece.text) > 1]
    scores = {piece.text: piece.score for piece in normal}
    places = {piece.text: place for place, piece in enumerate(normal)}
    groups: dict[float, list[str]] = defaultdict(list)
    for text, score in scores.items():
        groups[score].append(text)
    tied = [group for group in groups.values() if len(group) > 1]
    work = sum(len(text) ** 2 for group in tied for text in group)
    if work > _WORK:
        return "too many of its pieces have the same score"
    if wanted := _sooner(scores, tied):
        return f"the piece {wanted!r:.60} is likelier than a half whose score others have, too"
    for text in chain.from_iterable(map(_meetings, tied)):
        work += len(text) ** 2
        if work > _WORK:
            return "too many of its pieces have the same score"
        by_place = _cut(text, scores, lambda left, right: (-scores[left + right],))
        by_merge = _cut(
            text,
            scores,
            lambda left, right: (-scores[left + right], places[left + right], len(left)),
        )
        if by_place != by_merge:
            return f"pieces of the same score meet in {text!r:.60}"
    return None


def _sooner(scores: Mapping[str, float], tied: Sequence[Sequence[str]]) -> str | None:
    """A piece that is joined as soon as one of its halves is, and takes the other from a piece of that
    half's score.
    """
    known = {text for group in tied for text in group}
    ends: dict[tuple[float, str], set[str]] = defaultdict(set)
    starts: dict[tuple[float, str], set[str]] = defaultdict(set)
    for text in known:
        for at in range(1, len(text)):
            starts[scores[text], text[:at]].add(text)
            ends[scores[text], text[at:]].add(text)
    for text, score in scores.items():
        for at in range(1, len(text)):
            left, right = text[:at], text[at:]
            if score > scores.get(left, score) and starts.get((scores[left], right), set()) - {
                left
            }:
                return text
            if score > scores.get(right, score) and ends.get((scores[right], left), set()) - {
                right
            }:
                return text
    return None


def _meetings(tied: Sequence[str]) -> Iterator[str]:
    """Texts in which two pieces of one score overlap."""
    yield from tied
    starts: dict[str, list[str]] = defaultdict(list)
    for text in tied:
        for end in range(1, len(text)):
            starts[text[:end]].append(text)
    for text in tied:
        for at in range(1, len(text)):
            yield from (text + other[len(text) - at :] for other in starts.get(text[at:], ()))


def _cut(
    text: str, known: Mapping[str, float], key: Callable[[str, str], tuple[float, ...]]
) -> list[str]:
    """Join neighbours while any two make a known piece: those of the least key, then the leftmost."""
    parts = list(text)
    while True:
        pairs = [
            (key(left, right), at)
            for at, (left, right) in enumerate(pairwise(parts))
            if left + right in known
        ]
        if not pairs:
            return parts
        at = min(pairs)[1]
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


def swallowed(definition: str, normal: Sequence[str]) -> Iterator[str]:
    """Where symbols stand apart, a text between them that is a piece is that piece: whether it would be
    without them.
    """
    table = json.loads(definition)
    model = {**table["model"], "ignore_merges": False}
    plain = {**table, "added_tokens": [], "normalizer": None, "pre_tokenizer": None, "model": model}
    library = tokenizers.Tokenizer.from_str(json.dumps(plain))
    for at in range(0, len(normal), 1024):  # the library keeps a kilobyte or two of each text
        some = normal[at : at + 1024]
        for text, found in zip(some, library.encode_batch(some, False, False), strict=True):
            if len(found.ids) != 1:
                yield f"has the piece {text!r:.60}, which no merges make, beside user-defined symbols"
    for text in normal:
        if text.startswith("<0"):
            yield f"has the piece {text!r:.60}, which is like a byte's, beside user-defined symbols"
