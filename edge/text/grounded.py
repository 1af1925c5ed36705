"""An answer whose words have regions (Groma, arXiv 2404.13013), read as it comes: plain text, and of each region the
phrase that it belongs to.

`<p>a dog</p><roi><r3><r7></roi>` is the phrase "a dog" with two regions. A model may write any of these marks anywhere,
or leave one out: none is shown, every region that there is counts, and no word is lost.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edge.text.pointing import PHRASE, PHRASE_END, TOKENS
from edge.vision.boxes import Box

_NAME = re.compile(r"<r([0-9]{1,2})>")
_MARK = re.compile("|".join(map(re.escape, TOKENS)))
_LONGEST = max(map(len, TOKENS))
_PARTS = frozenset(token[:at] for token in TOKENS for at in range(1, len(token)))
_CLOSING = frozenset(".,;:!?)]}%。，、；：！？）」』…'’”")


@dataclass(frozen=True, kw_only=True, slots=True)
class Grounded:
    """`phrase`: letters `start` to `end` of the plain text, or what was asked for where it has no words there: then
    both are the place at which it stands; `region`: its number.
    """

    phrase: str
    start: int
    end: int
    region: int


@dataclass(slots=True)
class Reading:
    """`count`: regions that the model was shown; `asked`: the phrase of regions that have none of their own.

    Afterwards: `text`, `grounded` in the order of the answer, and `unknown`, regions that were named and not shown.
    """

    count: int
    asked: str = ""
    text: str = ""
    grounded: list[Grounded] = field(default_factory=list)
    unknown: list[int] = field(default_factory=list)
    _held: str = ""  # the beginning of a mark, perhaps
    _blank: str = ""  # before the next word, if one comes
    _marked: bool = False  # since the last word
    _open: bool = False  # a phrase
    _begun: int | None = None  # where its first word is
    _phrase: tuple[int, int] | None = None  # the last one, until a word comes after it

    def feed(self, piece: str) -> str:
        """More of the answer, marks and all -> more of the plain text, as soon as it is certain."""
        return self._read(self._held + piece, whole=False)

    def finish(self) -> str:
        """What was held back. Blanks at the end go where a mark was there."""
        rest = self._read(self._held, whole=True)
        if not self._marked:
            self.text += self._blank
            rest += self._blank
        self._blank = ""
        return rest

    def _read(self, content: str, *, whole: bool) -> str:
        before, at = len(self.text), 0
        for found in _MARK.finditer(content):
            self._say(content[at : found.start()])
            self._mark(found[0])
            at = found.end()
        stop = len(content) if whole else _certain(content, at)
        self._say(content[at:stop])
        self._held = content[stop:]
        return self.text[before:]

    def _say(self, content: str) -> None:
        word = content.lstrip()
        self._blank += content[: len(content) - len(word)]
        if not word:
            return
        said = word.rstrip()
        if not self._marked:
            self.text += self._blank
        elif self.text and said[0] not in _CLOSING and self._blank:
            self.text += "\n" * self._blank.count("\n") or " "
        self._blank, self._marked = word[len(said) :], False
        if self._open and self._begun is None:
            self._begun = len(self.text)
        self._phrase = None
        self.text += said

    def _mark(self, mark: str) -> None:
        self._marked = True
        named = _NAME.fullmatch(mark)
        if named:
            self._region(int(named[1]))
        elif mark in (PHRASE, PHRASE_END):
            self._phrase = self._words() if mark == PHRASE_END else None
            self._open, self._begun = mark == PHRASE, None

    def _words(self) -> tuple[int, int] | None:
        """Of a phrase so far, from where to where."""
        return None if self._begun is None else (self._begun, len(self.text))

    def _region(self, region: int) -> None:
        if region >= self.count:
            self.unknown.append(region)
            return
        # Before the phrase is over, where a model forgot to end it.
        start, end = self._phrase or self._words() or (len(self.text), len(self.text))
        phrase = self.text[start:end] or self.asked
        one = Grounded(phrase=phrase, start=start, end=end, region=region)
        if one not in self.grounded[-self.count :]:  # a model may say the same for ever
            self.grounded.append(one)


def read(answer: str, count: int, asked: str = "") -> Reading:
    """A whole answer."""
    reading = Reading(count, asked)
    reading.feed(answer)
    reading.finish()
    return reading


def as_json(
    grounded: Sequence[Grounded], boxes: Sequence[Box], scores: Sequence[float]
) -> list[dict[str, Any]]:
    """`regions` of a command's object, with the boxes and scores of all regions that were shown."""
    return [
        {
            "phrase": one.phrase,
            "box": [round(side, 1) for side in boxes[one.region]],
            "score": round(float(scores[one.region]), 4),
        }
        for one in grounded
    ]


def as_spans(
    grounded: Sequence[Grounded], boxes: Sequence[Box], scores: Sequence[float]
) -> list[dict[str, Any]]:
    """The same for who shows the text: each phrase once, with where it stands and all of its regions."""
    found: dict[Grounded, list[int]] = {}
    for one in grounded:
        found.setdefault(replace(one, region=0), []).append(one.region)
    return [
        {
            "phrase": one.phrase,
            "start": one.start,
            "end": one.end,
            "boxes": [[round(side, 1) for side in boxes[region]] for region in regions],
            "scores": [round(float(scores[region]), 4) for region in regions],
        }
        for one, regions in found.items()
    ]


def _certain(content: str, start: int) -> int:
    """Up to where no later letter makes a mark of what is there."""
    for at in range(max(start, len(content) - _LONGEST + 1), len(content)):
        if content[at:] in _PARTS:
            return at
    return len(content)
