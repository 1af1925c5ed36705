"""A text as sentences of phonemes: what a voice is given, and which of them is which word.

Other scripts, pictograms and what else English does not speak are left out, and a note says so; a text of which nothing
is left is refused. A sentence that is longer than a voice takes is parted at its pauses, or else between words.
"""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from edge.errors import EdgeError
from edge.text.spoken.markup import Manner, Part, parts
from edge.text.spoken.reading import Token, read
from edge.text.spoken.symbols import SPACE, Phonemes, is_vowel
from edge.text.spoken.words import CONSONANT, PAUSE, VOWEL, Words

LONGEST = 400  # symbols of a sentence
_FINAL = frozenset(".?!…")
_SHOWN = 5  # of what was left out, in a note


@dataclass(frozen=True, kw_only=True, slots=True)
class Spoken:
    """A word: `start` and `end` in the text that was given, `first` and `last` among its sentence's symbols; both ends
    exclusive.
    """

    text: str
    start: int
    end: int
    first: int
    last: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Sentence:
    """`symbols` end with a final mark. `pauses`: place of a symbol -> seconds of silence right after it that were asked
    for; -1: before the first. `manners`: one a symbol.
    """

    symbols: Phonemes
    words: tuple[Spoken, ...]
    manners: tuple[Manner, ...]
    pauses: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Script:
    """`guessed`: words that are spoken from their letters alone. `notes`: what is not spoken, one a sentence."""

    sentences: tuple[Sentence, ...]
    guessed: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(kw_only=True, slots=True)
class _Item:
    """A word or a mark, before it is put into a sentence. `token`: whose words are one word to the reader."""

    token: int
    text: str
    start: int
    end: int
    word: str = ""
    mark: str = ""
    phonemes: Phonemes = ()
    seconds: float = 0.0
    manner: Manner = field(default_factory=Manner)


def script(text: str, words: Words, longest: int = LONGEST) -> Script:
    """EdgeError if there is nothing to say, or for markup that cannot be followed."""
    items, left_out = _items(text, words)
    guessed = _pronounce(items, words)
    if not any(item.phonemes for item in items):
        what = f" but {_quoted(left_out)}" if left_out else ""
        raise EdgeError(f"the text has nothing to say{what}", fix="write English words or numbers")
    notes = (f"not spoken, for it is no English: {_quoted(left_out)}",) if left_out else ()
    sentences = [
        _sentence(piece)
        for sentence in _sentences(items)
        for piece in _pieces(sentence, longest)
        if any(item.phonemes for item in piece)
    ]
    return Script(sentences=tuple(sentences), guessed=tuple(dict.fromkeys(guessed)), notes=notes)


def _quoted(left_out: Sequence[str]) -> str:
    shown = list(dict.fromkeys(left_out))
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return ", ".join(f"{one[:20]!r}" for one in shown[:_SHOWN]) + more


def _items(text: str, words: Words) -> tuple[list[_Item], list[str]]:
    out: list[_Item] = []
    left_out: list[str] = []
    number = 0
    for part in parts(text):
        if part.phonemes is not None:
            out.append(_item(part, number, phonemes=part.phonemes))
        elif part.words is not None:
            out += [_item(part, number, word=word) for word in part.words]
        elif part.alias is not None:  # all of it is one word to the reader
            said = [t for token in read(part.alias, words.known) for t in token.words]
            out += [_item(part, number, word=word) for word in said]
        else:
            for token in _grouped(read(part.text, words.known)):
                number += 1
                out += _of_token(part, token, number, left_out)
        number += 1
        if part.mark or part.seconds:
            out.append(_item(part, number, mark=part.mark, seconds=part.seconds))
    return out, left_out


def _grouped(tokens: Sequence[Token]) -> Iterator[Token]:
    """What is not spoken and stands together is one."""
    last: Token | None = None
    for token in tokens:
        silent = not token.words and not token.pause
        if last is not None and silent and token.start == last.end:
            last = Token(start=last.start, end=token.end)
            continue
        if last is not None:
            yield last
        last = token if silent else None
        if not silent:
            yield token
    if last is not None:
        yield last


def _of_token(part: Part, token: Token, number: int, left_out: list[str]) -> Iterator[_Item]:
    if token.pause:
        yield _item(part, number, token, mark=token.pause)
    for word in token.words:
        yield _item(part, number, token, word=word)
    written = part.text[token.start : token.end]
    if not token.pause and not token.words and _is_meant(written):
        left_out.append(written)


def _is_meant(written: str) -> bool:
    """Whether one would miss it: letters and pictograms are, a line or a bracket is not."""
    return any(
        unicodedata.category(c) in ("Lo", "Lu", "Ll", "Lt", "So", "Nd", "No", "Sk", "Sm")
        for c in written
    )


def _item(
    part: Part,
    number: int,
    token: Token | None = None,
    *,
    word: str = "",
    mark: str = "",
    phonemes: Phonemes = (),
    seconds: float = 0.0,
) -> _Item:
    """Of a token in a part, or of all of it."""
    start, end = (token.start, token.end) if token else (0, len(part.text))
    return _Item(
        token=number,
        text=part.text[start:end].strip(),
        start=part.start + start,
        end=part.start + end,
        word=word,
        mark=mark,
        phonemes=phonemes,
        seconds=seconds,
        manner=part.manner,
    )


def _pronounce(items: Sequence[_Item], words: Words) -> list[str]:
    """From the last to the first, since "the" is said as what follows begins. -> words that were guessed"""
    guessed = []
    follows = PAUSE
    spoken = [item.word for item in items if item.word]
    at = len(spoken)
    for item in reversed(items):
        if item.word:
            at -= 1
            item.phonemes, is_guess = words.phonemes(spoken, at, follows)
            guessed += [item.word] if is_guess else []
        if item.mark or item.seconds:
            follows = PAUSE
        elif item.phonemes:
            first = next((s for s in item.phonemes if s != SPACE), SPACE)
            follows = VOWEL if is_vowel(first) else CONSONANT
    return guessed[::-1]


def _sentences(items: Sequence[_Item]) -> Iterator[list[_Item]]:
    """Silence after a final mark is the end of its sentence."""
    sentence: list[_Item] = []
    over = False
    for item in items:
        if over and (item.phonemes or item.mark):
            yield sentence
            sentence, over = [], False
        sentence.append(item)
        over = over or (item.mark in _FINAL and bool(item.mark))
    if sentence:
        yield sentence


def _pieces(sentence: list[_Item], longest: int) -> Iterator[list[_Item]]:
    """One that fits is one; else it is parted after the last pause that fits, or before the word that does not."""
    while sum(_size(item) for item in sentence) + 1 > longest:
        size, fits, pause = 1, 0, 0
        for at, item in enumerate(sentence):
            size += _size(item)
            if size > longest:
                break
            fits = at + 1
            pause = at + 1 if item.mark else pause
        cut = pause or max(1, fits)
        head, sentence = sentence[:cut], sentence[cut:]
        if len(head) == 1 and _size(head[0]) >= longest:
            head[0].phonemes = head[0].phonemes[: longest - 1]
        yield head
    yield sentence


def _size(item: _Item) -> int:
    return len([s for s in item.phonemes if s != SPACE]) + bool(item.mark)


def _sentence(items: Sequence[_Item]) -> Sentence:
    symbols: list[str] = []
    manners: list[Manner] = []
    words: list[Spoken] = []
    pauses: dict[int, float] = {}
    tokens: list[int] = []
    for item in items:
        sounds = [s for s in item.phonemes if s != SPACE]
        if sounds and tokens and tokens[-1] == item.token:
            last = words.pop()
            words.append(
                Spoken(
                    text=last.text,
                    start=last.start,
                    end=last.end,
                    first=last.first,
                    last=last.last + len(sounds),
                )
            )
        elif sounds:
            words.append(
                Spoken(
                    text=item.text,
                    start=item.start,
                    end=item.end,
                    first=len(symbols),
                    last=len(symbols) + len(sounds),
                )
            )
            tokens.append(item.token)
        symbols += sounds
        if item.mark and symbols:
            _mark(symbols, item.mark)
        if item.seconds:
            pauses[len(symbols) - 1] = pauses.get(len(symbols) - 1, 0.0) + item.seconds
        manners += [item.manner] * (len(symbols) - len(manners))
    if symbols[-1] not in _FINAL:
        _mark(symbols, ".")
        manners += [manners[-1]] * (len(symbols) - len(manners))
    return Sentence(
        symbols=tuple(symbols), words=tuple(words), manners=tuple(manners), pauses=pauses
    )


def _mark(symbols: list[str], mark: str) -> None:
    """The stronger of two that follow each other."""
    if symbols[-1] in _STRENGTH:
        symbols[-1] = max(symbols[-1], mark, key=lambda one: _STRENGTH[one])
    else:
        symbols.append(mark)


_STRENGTH = {",": 0, "—": 1, ";": 2, ":": 3, ".": 4, "…": 5, "!": 6, "?": 7}
