"""What is spoken of an answer while it is written: whole sentences, without what Markdown adds for the eye."""

import re
from collections.abc import Callable, Iterator

from edge.text.spoken.reading import read

_FINAL = frozenset(".?!…")
_CLOSING = re.compile(
    r"[\"'”’)\]*_`]*\s+(?=\S)"
)  # after a final mark, where another sentence begins
_FENCE = re.compile(r"\s*(```|~~~)")
_RULED = re.compile(r"[\s|:=_*-]*")  # a line that is drawn
_LINE = re.compile(r"\A\s*(?:#{1,6}\s+|>\s?|[-*+]\s+(?:\[[ xX]\]\s+)?)+")
_NUMBERED = re.compile(r"\A\s*(\d{1,3})[.)]\s+")
_PICTURE = re.compile(r"!\[([^\]\n]{0,500})\]\([^)\n]{0,2000}\)")
_LINK = re.compile(r"\[([^\]\n]{0,500})\]\([^)\n]{0,2000}\)")
_TAG = re.compile(r"</?[A-Za-z][^<>\n]{0,500}>")
_MARKS = re.compile(r"\*+|~~|`+|(?<!\w)_+|_+(?!\w)")


class Sentences:
    """Of a text that comes in pieces. `known`: as `edge.text.spoken.reading.read` takes it."""

    def __init__(self, known: Callable[[str], bool]) -> None:
        self._known = known
        self._rest = ""  # what is no whole sentence yet
        self._code = False  # between two fences

    def add(self, piece: str) -> Iterator[str]:
        """What became whole with a piece. A sentence ends with its line."""
        self._rest += piece
        while "\n" in self._rest:
            line, _, self._rest = self._rest.partition("\n")
            yield from self._line(line)
        if not self._code and not _FENCE.match(self._rest):
            cut = self._end()
            whole, self._rest = self._rest[:cut], self._rest[cut:]
            yield from _said(whole)

    def end(self) -> Iterator[str]:
        """The rest."""
        line, self._rest = self._rest, ""
        yield from self._line(line)

    def _line(self, line: str) -> Iterator[str]:
        if _FENCE.match(line):
            self._code = not self._code
        elif not self._code:
            yield from _said(line)

    def _end(self) -> int:
        """Where the last whole sentence of a line ends that may go on, 0 where there is none."""
        if not any(mark in self._rest for mark in _FINAL):
            return 0
        numbered = _NUMBERED.match(self._rest)
        start, ends = numbered.end() if numbered else 0, [0]
        for token in read(self._rest[start:], self._known):
            closing = _CLOSING.match(self._rest, start + token.end)
            if token.pause in _FINAL and token.pause and closing:
                ends.append(closing.end())
        return ends[-1]


def _said(text: str) -> Iterator[str]:
    spoken = plain(text).strip()
    if any(char.isalnum() for char in spoken):
        yield spoken


def plain(line: str) -> str:
    """A line of Markdown as it is said: links by their text, no marks, no tags. What would be phonemes in a text of the
    user's is none in a model's.
    """
    if _RULED.fullmatch(line):
        return ""
    line = _NUMBERED.sub(r"\1, ", _LINE.sub("", line))
    line = _LINK.sub(r"\1", _PICTURE.sub(r"\1", line))
    line = _MARKS.sub("", _TAG.sub("", line))
    return re.sub(r"\s*\|\s*", ", ", line).replace("[[", "[").strip(", ")
