"""Words of any script, so that filters judge a text by what it says and not by its blanks.

A piece is what stands between blanks. In scripts that put none between words (Chinese, Japanese, Thai, …) each letter
is one, with the marks and signs that follow; in counts, two of them are taken as a word.
"""

import re
import sys
import unicodedata
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache

# Thai, Lao, Tibetan, Myanmar, Khmer, kana, bopomofo, Han, halfwidth katakana.
_UNSPACED = (
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3100-\u312f\u31a0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
# Signs of vowels and tones, which are no letters of their own.
_MARKS = "".join(c for c in map(chr, range(0x0E00, 0x1800)) if unicodedata.category(c)[0] == "M")
_PIECE = re.compile(rf"[{_UNSPACED}](?:[{_MARKS}]|[^\s\w{_UNSPACED}])*|[^\s{_UNSPACED}]+")
_ALONE = re.compile(rf"[{_UNSPACED}]")


@dataclass(frozen=True)
class Words:
    """A text in pieces: `raw` as they stand there, `plain` without signs around them."""

    raw: tuple[str, ...]

    @classmethod
    @lru_cache(maxsize=1)  # one step after another asks for those of one row
    def of(cls, text: str) -> "Words":
        return cls(tuple(_PIECE.findall(text)))

    @cached_property
    def plain(self) -> tuple[str, ...]:
        return tuple(word for piece in self.raw if (word := _bare(piece)))

    @cached_property
    def spaced(self) -> tuple[str, ...]:
        """Those of scripts with blanks between words."""
        return tuple(word for word in self.plain if not _ALONE.match(word))

    @property
    def count(self) -> int:
        """Of two letters without blanks between them, a word is about one."""
        return len(self.spaced) + (len(self.plain) - len(self.spaced) + 1) // 2

    @property
    def unspaced(self) -> bool:
        """Whether most of the text has no blanks between words."""
        return 2 * len(self.spaced) < len(self.plain)


def _bare(piece: str) -> str:
    # Most begin and end with a letter, and to look through all signs takes longer.
    return piece if piece[0].isalnum() and piece[-1].isalnum() else piece.strip(_signs())


@cache
def _signs() -> str:
    """Punctuation and symbols, none of which is a mark that belongs to a letter."""
    every = map(chr, range(min(sys.maxunicode, 0x1FFFF)))
    return "".join(char for char in every if unicodedata.category(char)[0] in "PS")
