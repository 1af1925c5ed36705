"""From a word to its phonemes: tables, lexicon, endings, the part of speech, and at last a guess from its letters."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Protocol

from edge.text.spoken.english import folded, tables
from edge.text.spoken.guessing import guesser
from edge.text.spoken.lexicon import DEFAULT, Accent, Entry, Lexicon, lexicon
from edge.text.spoken.symbols import Phonemes, bare, is_vowel, spelled

Add = Callable[[Phonemes], Phonemes]
Look = Callable[[str], Entry | None]
CONSONANT, VOWEL, PAUSE = range(3)  # what comes after a word
_AT_THE_END = "None"  # misaki's tag of a word that no other follows


class Speller(Protocol):
    """Who knows how a word is spoken that the lexicon has not."""

    def phonemes(self, word: str) -> Phonemes: ...


class Words:
    """Of an accent. `speller`: for words that are in no table; by default the guess from letters."""

    def __init__(self, accent: Accent = "us", speller: Speller | None = None) -> None:
        self._lexicon: Lexicon = lexicon(accent)
        self._speller = speller
        self._inflected = lru_cache(maxsize=50_000)(self._look_up)
        self._unknown = lru_cache(maxsize=10_000)(self._guessed)

    def known(self, word: str) -> bool:
        """Whether it is spoken without a guess."""
        return self._inflected(folded(word)) is not None

    def phonemes(self, words: Sequence[str], at: int, follows: int) -> tuple[Phonemes, bool]:
        """Of the word at a place among others; whether it is a guess. `follows`: a consonant, a vowel or a pause."""
        word = words[at]
        if len(word) == 1 and word.isupper():
            return spelled(tables()["letters"].get(word.lower(), ""), "ipa"), False
        if len(word) == 3 and word.endswith("'s") and word[0].isupper():
            return _with_s(spelled(tables()["letters"].get(word[0].lower(), ""), "ipa")), False
        plain = folded(word)
        if plain.lower() in tables()["weak"]:
            return spelled(tables()["weak"][plain.lower()][follows], "ipa"), False
        entry = self._inflected(plain)
        if entry is None:
            return self._unknown(plain.lower()), True
        return _chosen(entry, words, at, follows), False

    def _guessed(self, word: str) -> Phonemes:
        return (self._speller or guesser()).phonemes(word)

    def _look_up(self, word: str) -> Entry | None:
        for form in dict.fromkeys((word, word.lower(), word.capitalize())):
            if found := self._entry(form):
                return found
        return _ended(word, self._entry) or _ended(word.lower(), self._entry)

    def _entry(self, word: str) -> Entry | None:
        for name in ("homographs", "words"):
            if raw := tables()[name].get(word):
                forms = raw if isinstance(raw, dict) else {DEFAULT: raw}
                return {tag: spelled(text, "ipa") for tag, text in forms.items()}
        return self._lexicon.entry(word)


def _ended(word: str, entry: Look) -> Entry | None:
    """A word with an ending that the lexicon has without it."""
    for ending, stems, add in _ENDINGS:
        if not word.endswith(ending) or len(word) < len(ending) + 2:
            continue
        for stem_ending in stems:
            stem = word[: len(word) - len(ending)] + stem_ending
            if stem_ending == "-":  # a doubled consonant: stopped, running
                stem = word[: len(word) - len(ending) - 1]
                if word[len(stem)] != stem[-1]:
                    continue
            if len(stem) > 1 and (found := entry(stem) or entry(stem.capitalize())):
                return {tag: add(sounds) for tag, sounds in found.items()}
    return None


def _with_s(sounds: Phonemes) -> Phonemes:
    """Plural, possessive, third person."""
    last = bare(sounds[-1]) if sounds else ""
    if last in ("s", "z", "ʃ", "ʒ", "tʃ", "dʒ"):
        return (*sounds, "ᵻ", "z")
    return (*sounds, "s" if last in ("p", "t", "k", "f", "θ") else "z")


def _with_ed(sounds: Phonemes) -> Phonemes:
    last = bare(sounds[-1]) if sounds else ""
    if last in ("t", "d"):
        return (*_flapped(sounds), "ᵻ", "d")
    return (*sounds, "t" if last in ("p", "k", "f", "θ", "s", "ʃ", "tʃ") else "d")


def _flapped(sounds: Phonemes) -> Phonemes:
    """American t between a vowel and an ending that begins with one."""
    if len(sounds) > 1 and sounds[-1] == "t" and (is_vowel(sounds[-2]) or sounds[-2] == "ɹ"):
        return (*sounds[:-1], "ɾ")
    return sounds


def _with(*ending: str) -> Add:
    def add(sounds: Phonemes) -> Phonemes:
        return (*(_flapped(sounds) if is_vowel(ending[0]) else sounds), *ending)

    return add


# Ending, what the stem ends with in its place ("-": a letter that was doubled is one), what is spoken.
_ENDINGS: tuple[tuple[str, tuple[str, ...], Add], ...] = (
    ("'s", ("",), _with_s),
    ("s'", ("s", ""), _with_s),
    ("ies", ("y", "ie"), _with_s),
    ("es", ("e", ""), _with_s),
    ("s", ("",), _with_s),
    ("ied", ("y",), _with_ed),
    ("ed", ("e", "", "-"), _with_ed),
    ("in'", ("ing",), lambda sounds: (*sounds[:-1], "n")),
    ("ing", ("e", "", "-"), _with("ɪ", "ŋ")),
    ("iest", ("y",), _with("i", "ə", "s", "t")),
    ("est", ("e", "", "-"), _with("ə", "s", "t")),
    ("ier", ("y",), _with("i", "ə", "ɹ")),
    ("er", ("e", "", "-"), _with("ə", "ɹ")),
    ("'d", ("",), _with_ed),
    ("'ll", ("",), _with("ə", "l")),
    ("'ve", ("",), _with("v")),
    ("'re", ("",), _with("ɹ")),
    ("n't", ("",), _with("ə", "n", "t")),
    ("ness", ("",), _with("n", "ə", "s")),
    ("less", ("",), _with("l", "ə", "s")),
    ("ly", ("",), _with("l", "i")),
    ("like", ("",), _with("l", "ˌaɪ", "k")),
    ("'", ("",), lambda sounds: sounds),
)


def _chosen(entry: Entry, words: Sequence[str], at: int, follows: int) -> Phonemes:
    """The way to say it that its neighbours ask for."""
    if len(entry) == 1:
        return next(iter(entry.values()))
    if follows == PAUSE and _AT_THE_END in entry:
        return entry[_AT_THE_END]
    before = [word.lower() for word in words[max(0, at - 2) : at]]
    if words[at].lower() == "used":
        return entry[
            "VBD" if words[at + 1 : at + 2] == ["to"] and not set(before) & _BE else DEFAULT
        ]
    for rule in tables()["parts"]:
        near = before if "two" in rule else before[-1:]
        if rule["tag"] in entry and set(near) & set(rule.get("two") or rule["last"]):
            return entry[rule["tag"]]
    return entry.get(DEFAULT) or next(iter(entry.values()))


_BE = frozenset(("be", "been", "being", "was", "were", "is", "are"))
