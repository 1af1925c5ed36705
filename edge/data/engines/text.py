"""Texts to train on: what is hardly prose goes, what repeats itself, what was there before; the rest is written as
texts or, with a tokenizer, packed into rows of tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal

from edge.data.asking import open_asked
from edge.data.frame.settings import setting
from edge.data.frame.step import Drop, Each, Engine, Form, Keyed, Means, Row, Step, seed_of
from edge.data.steps.c4 import Lines
from edge.data.steps.duplicates import duplicates
from edge.data.steps.gopher import Quality, Repetition
from edge.data.steps.minhash import MinHash
from edge.data.steps.rating import HIGHEST, Rating
from edge.data.steps.tokens import Tokens
from edge.errors import EdgeError

_Do = Callable[[Row, int], Row | Drop]
_GOPHER = "Gopher, arXiv 2112.11446"
_C4 = "C4, arXiv 1910.10683"
_FINEWEB = "FineWeb, arXiv 2406.17557"


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Parameters of the engine; docs/data.md is made from them."""

    c4: bool = setting(
        False, "keep lines and pages as C4 did, which rewrites a text: headings and lists go", _C4
    )
    line_end: bool = setting(True, "of c4: a line ends as a sentence does, in any script", _C4)
    line_words: int = setting(5, "of c4: words of a line, at least", _C4)
    sentences: int = setting(3, "of c4: sentences of a text, at least", _C4)
    quality: bool = setting(True, "throw away what is hardly prose", _GOPHER)
    least_words: int = setting(
        50, "words of a text, at least; two letters without blanks are one", _GOPHER
    )
    most_words: int = setting(100_000, "words of a text, at most", _GOPHER)
    least_word_length: float = setting(3.0, "letters of a word in the mean, at least", _GOPHER)
    most_word_length: float = setting(10.0, "letters of a word in the mean, at most", _GOPHER)
    most_symbols: float = setting(0.1, "of # and ellipses to a word, at most", _GOPHER)
    most_bullets: float = setting(0.9, "share of lines that begin with a bullet, at most", _GOPHER)
    most_ellipses: float = setting(
        0.3, "share of lines that end with an ellipsis, at most", _GOPHER
    )
    least_letters: float = setting(0.8, "share of words that hold a letter, at least", _GOPHER)
    least_stop_words: int = setting(
        0, "of the, be, to, of, and, that, have, with; theirs is 2, for English", _GOPHER
    )
    repetition: bool = setting(True, "throw away what repeats itself", _GOPHER)
    lines: float = setting(0.3, "share of lines that were there before, at most", _GOPHER)
    paragraphs: float = setting(0.3, "share of paragraphs that were there before, at most", _GOPHER)
    line_letters: float = setting(0.2, "share of letters in such lines, at most", _GOPHER)
    paragraph_letters: float = setting(0.2, "share of letters in such paragraphs, at most", _GOPHER)
    top_grams: tuple[float, float, float] = setting(
        (0.20, 0.18, 0.16),
        "share of letters in the most frequent run of 2, 3, 4 words, at most",
        _GOPHER,
    )
    grams: tuple[float, float, float, float, float, float] = setting(
        (0.15, 0.14, 0.13, 0.12, 0.11, 0.10),
        "share of letters in runs of 5 to 10 words that were there before, at most",
        _GOPHER,
    )
    duplicates: Literal["near", "exact", "none"] = setting(
        "near", "which copies of an earlier text go", _FINEWEB
    )
    gram: int = setting(5, "of near: words of a run that is compared", _FINEWEB, low=1, high=100)
    bands: int = setting(14, "of near: bands of a signature", _FINEWEB, low=1, high=1000)
    band_rows: int = setting(8, "of near: rows of a band", _FINEWEB, low=1, high=1000)
    least_rating: int = setting(
        3, "of --model: the rating that a text needs, from 0 to 5", _FINEWEB, high=HIGHEST
    )
    rated_letters: int = setting(2000, "of --model: letters of a text that it is rated by", low=1)
    length: int = setting(1024, "of --tokenizer: tokens of a row", low=1)
    shuffle: bool = setting(
        False, "write rows in an order that the seed fixes, instead of the sources'"
    )
    shard: int = setting(64 << 20, "bytes of a file that is written, at most", low=1, size=True)


def steps(settings: Settings, means: Means) -> tuple[Step, ...]:
    found: list[Step] = []
    if settings.c4:
        rules = Lines(
            ended=settings.line_end, words=settings.line_words, sentences=settings.sentences
        )
        found.append(Each(name="c4", do=_lines(rules)))
    if settings.quality:
        found.append(Each(name="quality", do=_judged(_quality(settings).fails)))
    if settings.repetition:
        found.append(Each(name="repetition", do=_judged(_repetition(settings).fails)))
    if settings.duplicates != "none":
        near = MinHash(gram=settings.gram, bands=settings.bands, rows=settings.band_rows)
        found.append(duplicates(near if settings.duplicates == "near" else None))
    if means.model is not None:
        found.append(Each(name="rating", do=_late(partial(_rating, means.model, settings))))
    if means.tokenizer is not None:
        found.append(Each(name="tokens", do=_late(partial(Tokens, means.tokenizer))))
    if settings.shuffle:
        found.append(Keyed(name="shuffle", width=8, key=_anywhere))
    return tuple(found)


def form(settings: Settings, means: Means) -> Form:
    return Form(shard=settings.shard, length=None if means.tokenizer is None else settings.length)


# What belongs to what: without it, these say nothing.
_BELONG: dict[str, tuple[str, ...]] = {
    "c4=yes": ("line_end", "line_words", "sentences"),
    "quality=yes": (
        *("least_words", "most_words", "least_word_length", "most_word_length", "most_symbols"),
        *("most_bullets", "most_ellipses", "least_letters", "least_stop_words"),
    ),
    "repetition=yes": (
        *("lines", "paragraphs", "line_letters", "paragraph_letters", "top_grams", "grams"),
    ),
    "duplicates=near": ("gram", "bands", "band_rows"),
    "--model": ("least_rating", "rated_letters"),
    "--tokenizer": ("length",),
}


def check(given: frozenset[str], settings: Settings, means: Means) -> None:
    """Refuses a setting of what is off."""
    on = {
        "c4=yes": settings.c4,
        "quality=yes": settings.quality,
        "repetition=yes": settings.repetition,
        "duplicates=near": settings.duplicates == "near",
        "--model": means.model is not None,
        "--tokenizer": means.tokenizer is not None,
    }
    for name, owned in _BELONG.items():
        idle = sorted(given & set(owned))
        if idle and not on[name]:
            raise EdgeError(
                f"{', '.join(idle)} says nothing without {name}",
                fix=f"give {name}, or leave it out",
            )
    if settings.bands * settings.band_rows > 1 << 14:
        raise EdgeError("a signature has at most 16384 rows", fix="give fewer bands or band_rows")


def _quality(settings: Settings) -> Quality:
    names = _BELONG["quality=yes"]
    return Quality(**{name: getattr(settings, name) for name in names})


def _repetition(settings: Settings) -> Repetition:
    names = _BELONG["repetition=yes"]
    return Repetition(**{name: getattr(settings, name) for name in names})


def _judged(fails: Callable[[str], Any]) -> _Do:
    """A row stays if no test fails; the first that does is its reason."""

    def do(row: Row, _seed: int) -> Row | Drop:
        wrong = next(iter(fails(row.data["text"])), None)
        return row if wrong is None else Drop(*wrong)

    return do


def _lines(rules: Lines) -> _Do:
    def do(row: Row, _seed: int) -> Row | Drop:
        text = row.data["text"]
        wrong = rules.fails(text)
        if wrong is not None:
            return Drop(*wrong)
        left = rules.kept(text)
        return (
            Row(row.file, row.line, {**row.data, "text": left}, row.child)
            if left
            else Drop("no line stays")
        )

    return do


def _rating(model: str, settings: Settings) -> Rating:
    return Rating(open_asked(model), settings.least_rating, settings.rated_letters)


def _late(make: Callable[[], _Do]) -> _Do:
    """A step whose model or tokenizer is opened by the first row, in the process that it goes through."""
    made = cache(make)
    return lambda row, seed: made()(row, seed)


def _anywhere(row: Row, seed: int) -> bytes:
    return seed_of(seed, row.name).to_bytes(8, "big")


ENGINE = Engine(
    name="text",
    version=1,
    what="texts for training: filtered, without copies, packed into rows if a tokenizer is named",
    settings=Settings,
    steps=steps,
    form=form,
    check=check,
)
