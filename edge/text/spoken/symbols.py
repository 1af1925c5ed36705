"""The symbols that speech is made of, their ids, and how they are spelled elsewhere: `symbols.toml`.

A phoneme is a symbol, and a vowel's stress is part of it, so that each symbol takes time and none takes none.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from edge.errors import EdgeError

NONE, SECONDARY, PRIMARY = "", "ˌ", "ˈ"
STRESSES = (NONE, SECONDARY, PRIMARY)
PAD, START, END, SPACE = "_", "^", "$", " "
Phonemes = tuple[str, ...]
Alphabet = Literal["ipa", "ascii"]
_MOST = 100  # ids, of the networks that are published (arXiv 2404.14700's code)


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """`spellings`: alphabet -> spelling -> symbols, vowels without a stress; `longest` of its spellings; `marks`:
    how many symbols are no sounds, the first ones."""

    symbols: tuple[str, ...]
    ids: Mapping[str, int]
    marks: int
    vowels: frozenset[str]
    spellings: Mapping[str, Mapping[str, Phonemes]]


@cache
def table() -> Table:
    raw = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    vowels = [stress + vowel for vowel in raw["vowels"] for stress in STRESSES]
    symbols = (*raw["marks"], *raw["consonants"], *vowels)
    assert len(symbols) <= _MOST
    own = {name: (name,) for name in (*raw["consonants"], *raw["vowels"])}
    letters = {name: (name,) for name in raw["consonants"] if name.isascii()}
    return Table(
        symbols=symbols,
        ids={symbol: at for at, symbol in enumerate(symbols)},
        marks=len(raw["marks"]),
        vowels=frozenset(raw["vowels"]),
        spellings={
            "ipa": own | {k: tuple(v.split()) for k, v in raw["ipa"].items()},
            "ascii": letters | {k: tuple(v.split()) for k, v in raw["ascii"].items()},
        },
    )


def ids(symbols: Sequence[str]) -> list[int]:
    """Symbols -> their ids. KeyError for one that is none: our mistake."""
    known = table().ids
    return [known[symbol] for symbol in symbols]


def spelled(text: str, alphabet: Alphabet | None = None) -> Phonemes:
    """What someone wrote as phonemes, in IPA or in letters of any keyboard, whichever its letters are where nobody
    says: ˈ ˌ or ' , before a vowel or its syllable are its stress. EdgeError names what is no phoneme.
    """
    alphabet = alphabet or ("ascii" if text.isascii() else "ipa")
    known, text = table().spellings[alphabet], text.replace(_TIE, "")
    longest = max(map(len, known))
    out, stress, at = [], NONE, 0
    while at < len(text):
        if text[at] in _STRESS[alphabet]:
            stress, at = _STRESS[alphabet][text[at]], at + 1
            continue
        if text[at] in _SILENT:
            out.append(SPACE)
            at += 1
            continue
        size = next((n for n in range(longest, 0, -1) if text[at : at + n] in known), 0)
        if not size:
            raise EdgeError(
                f"{text[at]!r} in the phonemes {text!r} is none of English",
                fix="write them in IPA, or as in [[h@l'oU]]: docs/speaking.md lists them",
            )
        for symbol in known[text[at : at + size]]:
            vowel = symbol in table().vowels
            out.append(stress + symbol if vowel else symbol)
            stress = NONE if vowel else stress
        at += size
    return tuple(_single_spaces(out))


def _single_spaces(symbols: Sequence[str]) -> Iterator[str]:
    last = SPACE
    for symbol in symbols:
        if symbol != SPACE or last != SPACE:
            yield symbol
        last = symbol


_STRESS: Mapping[str, Mapping[str, str]] = {
    "ipa": {"ˈ": PRIMARY, "ˌ": SECONDARY, "'": PRIMARY},
    "ascii": {"'": PRIMARY, ",": SECONDARY, "%": NONE},
}
_TIE = "\u0361"  # drawn over two letters of one sound
_SILENT = frozenset(" \t\n_|")


def bare(symbol: str) -> str:
    """Without its stress."""
    return symbol.lstrip("ˈˌ")


def stress_of(symbol: str) -> str:
    return symbol[0] if symbol[0] in "ˈˌ" else NONE


def is_vowel(symbol: str) -> bool:
    return bare(symbol) in table().vowels


def is_sound(number: int) -> bool:
    """Whether the symbol of this id is heard: marks, and what stands before a text, are silence."""
    return number >= table().marks


def shown(symbols: Sequence[str]) -> str:
    """As one reads it: stress stands before its vowel."""
    return "".join(symbols)
