"""What is written, as the words that are spoken.

Rules are tried in order where a token begins; the first that answers takes what it matched. A word of one capital is
the name of that letter; every other is looked up as it is.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from edge.text.spoken import figures, letters
from edge.text.spoken.english import tables
from edge.text.spoken.place import Place, Row, Rule, Said

_RECENT = 3  # words that a rule may look back at
_QUIET = frozenset("\"“”„«»‹›*_|`‘’'\u200b\u200d\ufe0f\ufeff\u00ad")
_PARAGRAPH = re.compile(r"[^\S\n]*\n[^\S\n]*\n\s*")
# Words that begin a sentence, so that a point before one ended the last.
_FIRST = frozenset(
    """the a an he she it we they i you this that these those there but and so in on at if when as for his her our my
    their its what who how why where all some many most no not then now yet""".split()  # noqa: SIM905
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """`start`, `end`: in the text. Words that are spoken, or a mark that is a pause, or neither: what English does not
    speak.
    """

    start: int
    end: int
    words: tuple[str, ...] = ()
    pause: str = ""


def read(text: str, known: Callable[[str], bool]) -> list[Token]:
    """Tokens of a text, in order; between them there is space, or what is silent."""
    out: list[Token] = []
    at, shouted = 0, _is_shouted(text)
    recent: tuple[str, ...] = ()
    while at < len(text):
        if text[at].isspace() or text[at] in _QUIET:
            if gap := _PARAGRAPH.match(text, at):
                out.append(Token(start=at, end=gap.end(), pause="."))
                at = gap.end()
            else:
                at += 1
            continue
        token = _token(text, at, recent, known, shouted)
        out += _ended(text, token)
        recent = (
            () if token.pause else (*recent, *(word.lower() for word in token.words))[-_RECENT:]
        )
        at = token.end
    return out


def _is_shouted(text: str) -> bool:
    """Whether capitals are all there is, so that they say nothing: transcripts are often so."""
    letters = [c for c in text if c.isalpha()]
    small = sum(c.islower() for c in letters)
    return len(letters) > 8 and small < 0.1 * len(letters) and len(text.split()) > 2


def _token(
    text: str, at: int, recent: tuple[str, ...], known: Callable[[str], bool], shouted: bool
) -> Token:
    for pattern, rule in _rules():
        match = pattern.match(text, at)
        if match is None or match.end() == at:
            continue
        found = rule(Place(match=match, known=known, recent=recent, shouted=shouted))
        if isinstance(found, str):
            return Token(start=at, end=match.end(), pause=found)
        if found is not None:
            return Token(start=at, end=match.end(), words=tuple(found))
    return Token(start=at, end=at + 1)


def _ended(text: str, token: Token) -> Iterator[Token]:
    """A token, and the end of the sentence where an abbreviation's point is it, too."""
    yield token
    written = text[token.start : token.end].lower()
    rest = text[token.end : token.end + 40].lstrip("\"'”’)")
    ends = written in tables()["abbreviation_rules"]["ends"] and (
        not rest.strip()
        or (rest[0].isspace() and rest.lstrip()[:1].isupper() and not _is_name(rest))
    )
    if ends:
        yield Token(start=token.end, end=token.end, pause=".")


def _is_name(rest: str) -> bool:
    """ "U.S. Senate", "Acme Inc. Tower": a capital that begins no sentence: no common first word."""
    first = re.match(r"\s*([A-Za-z']+)", rest)
    return first is not None and first[1].lower() not in _FIRST


@cache
def _rules() -> tuple[tuple[re.Pattern[str], Rule], ...]:
    """Built once, when a text is first read."""
    rows = (*letters.first_rules(), *figures.rules(), *letters.rules(), *_marks())
    return tuple(
        (re.compile(p, re.IGNORECASE if any_case else 0), rule) for p, rule, any_case in rows
    )


def _marks() -> Iterator[Row]:
    yield r"\.(?=[a-z])", _dot, False
    yield r"[.!?…。！？]+(?: (?=[.!?…])[.!?…]+)*", _stop, False
    yield r"[-–—]{2,}|[—―]|[–-](?=\s)", lambda _: "—", False
    yield r"[,;:()\[\]{}，；：、]", _pause, False
    yield r"[-–‐‑/\\](?=\w)", lambda _: [], False
    yield r"#{2,}", lambda _: [], False  # a heading's, in Markdown
    yield r"\S", _symbol, False


def _dot(place: Place) -> Said:
    """Of a file's name."""
    return ["dot"] if place.glued.isalnum() else "."


def _stop(place: Place) -> str:
    """Several of them are the strongest."""
    text = place[0]
    if "?" in text:
        return "?"
    if "!" in text:
        return "!"
    return "…" if "…" in text or "..." in text else "."


def _pause(place: Place) -> str:
    return {";": ";", ":": ":", "：": ":", "；": ";"}.get(place[0], ",")


def _symbol(place: Place) -> Said:
    """Between words or before a number; a sign that is only drawn is silent."""
    words = tables()["symbols"].get(place[0])
    if words is None or (
        place[0] in "#~<>^=" and not place.after[:1].strip() and place.before == ""
    ):
        return None
    return str(words).split()
