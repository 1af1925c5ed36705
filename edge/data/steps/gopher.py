"""What Gopher was not trained on (arXiv 2112.11446, appendix A.1): texts that are hardly prose, and those that repeat
themselves. Each test is on a whole text and gives the reason why it fails, with the figure.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from edge.data.steps.words import Words

_BULLETS = ("-", "*", "•", "·", "‣", "◦", "▪", "●", "・")
_ELLIPSES = ("...", "…")
STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Quality:
    """From where to where a text is prose."""

    least_words: int
    most_words: int
    least_word_length: float
    most_word_length: float
    most_symbols: float
    most_bullets: float
    most_ellipses: float
    least_letters: float
    least_stop_words: int

    def fails(self, text: str) -> Iterator[tuple[str, str]]:
        words = Words.of(text)
        count = words.count
        yield from _below("few words", count, self.least_words)
        yield from _above("many words", count, self.most_words)
        if words.spaced and not words.unspaced:  # of others a word's length says nothing
            length = sum(map(len, words.spaced)) / len(words.spaced)
            yield from _below("short words", length, self.least_word_length)
            yield from _above("long words", length, self.most_word_length)
        symbols = text.count("#") + sum(map(text.count, _ELLIPSES))
        yield from _above("many symbols", symbols / max(1, count), self.most_symbols)
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        yield from _above(
            "many bullets", _share(line.startswith(_BULLETS) for line in lines), self.most_bullets
        )
        yield from _above(
            "many ellipses", _share(line.endswith(_ELLIPSES) for line in lines), self.most_ellipses
        )
        letters = _share(any(map(str.isalpha, piece)) for piece in words.raw)
        yield from _below("few letters", letters, self.least_letters)
        stops = (
            len(STOP_WORDS & {word.lower() for word in words.plain}) if self.least_stop_words else 0
        )
        yield from _below("few stop words", stops, self.least_stop_words)


@dataclass(frozen=True, kw_only=True, slots=True)
class Repetition:
    """Which share of a text may repeat: lines and paragraphs of them and of their letters; letters of the most
    frequent run of 2, 3, 4 words, and of all runs of 5 to 10 words that were there before.
    """

    lines: float
    paragraphs: float
    line_letters: float
    paragraph_letters: float
    top_grams: Sequence[float]
    grams: Sequence[float]

    def fails(self, text: str) -> Iterator[tuple[str, str]]:
        for name, mark, most, most_letters in (
            ("lines", r"\n+", self.lines, self.line_letters),
            ("paragraphs", r"\n\s*\n", self.paragraphs, self.paragraph_letters),
        ):
            parts = [part.strip() for part in re.split(mark, text) if part.strip()]
            again, letters = _again(parts)
            yield from _above(f"repeated {name}", again / max(1, len(parts)), most)
            yield from _above(
                f"letters in repeated {name}", letters / max(1, len(text)), most_letters
            )
        words = Words.of(text)
        plain, longer = words.plain, 1 + words.unspaced  # of Chinese, two letters for a word
        total = sum(map(len, plain))
        for n, most in enumerate(self.top_grams, start=2):
            share = _top(plain, n * longer) / max(1, total)
            yield from _above(f"frequent run of {n} words", share, most)
        for n, most in enumerate(self.grams, start=5):
            share = _repeated(plain, n * longer) / max(1, total)
            yield from _above(f"repeated runs of {n} words", share, most)


def _below(reason: str, value: float, least: float) -> Iterator[tuple[str, str]]:
    if value < least:
        yield reason, f"{value:.4g}, below {least:g}"


def _above(reason: str, value: float, most: float) -> Iterator[tuple[str, str]]:
    if value > most:
        yield reason, f"{value:.4g}, above {most:g}"


def _share(found: Iterable[bool]) -> float:
    every = list(found)
    return sum(every) / max(1, len(every))


def _again(parts: Sequence[str]) -> tuple[int, int]:
    """How many parts were there before, and their letters."""
    counts = Counter(parts)
    return len(parts) - len(counts), sum(len(part) * (n - 1) for part, n in counts.items())


def _grams(words: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    return zip(*(words[i:] for i in range(n)), strict=False)


def _top(words: Sequence[str], n: int) -> int:
    """Letters in the run of n words that is there most often, if more than once: of equals the longest."""
    counts = Counter(_grams(words, n))
    most = max(counts.values(), default=0)
    if most < 2:
        return 0
    return most * max(sum(map(len, gram)) for gram, count in counts.items() if count == most)


def _repeated(words: Sequence[str], n: int) -> int:
    """Letters in runs of n words that were there before; each letter counts once."""
    seen: set[tuple[str, ...]] = set()
    covered, letters = 0, 0  # up to this word
    for at, gram in enumerate(_grams(words, n)):
        if gram in seen:
            letters += sum(map(len, words[max(at, covered) : at + n]))
            covered = at + n
        seen.add(gram)
    return letters
