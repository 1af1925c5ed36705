"""How English words are spoken: the lexicon inside the package `misaki` (Apache-2.0), whose JSON is read, none of its
code; and names that it lacks, from the CMU Pronouncing Dictionary (BSD-2-Clause): `names.txt.gz`, which
`tests/bench/phonemes.py --names` makes and whose head is its licence.

An entry is one spelling in its alphabet, or several by part of speech, where `DEFAULT` is the one that is taken when
no other is meant. Entries lie in one piece of memory, in order: as objects of Python's they would take 54 MB.
"""

import gzip
import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import metadata
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edge.errors import Damaged, Unsupported
from edge.text.spoken.symbols import Phonemes, spelled

Accent = Literal["us", "gb"]
DEFAULT = "DEFAULT"
Entry = Mapping[str, Phonemes]
NAMES = Path(__file__).with_name("names.txt.gz")
_LIMIT = 16 << 20  # bytes of a file
_OBJECT = "\r"  # before what JSON writes


class Lexicon:
    """Words as they are written, capitals and all. A word's phonemes are parsed when it is asked for."""

    def __init__(self, *words: Mapping[str, Any]) -> None:
        """The first that has a word says how it is spoken."""
        self._words = words

    def __contains__(self, word: str) -> bool:
        return any(word in words for words in self._words)

    def entry(self, word: str) -> Entry | None:
        """Part of speech -> phonemes; None if it is not there."""
        for words in self._words:
            if word in words:
                raw = words[word]
                spoken = raw if isinstance(raw, dict) else {DEFAULT: raw}
                return {
                    tag: spelled(text, "ipa")
                    for tag, text in spoken.items()
                    if isinstance(text, str)
                }
        return None

    def words(self) -> set[str]:
        return set().union(*self._words)


class Packed(Mapping[str, Any]):
    """Words, and what is said of each: a text, or what JSON writes. Of two of one word the last is kept."""

    def __init__(self, rows: Iterable[tuple[str, Any]]) -> None:
        """No word has a tab, or a line's end."""
        said = {
            word: value if isinstance(value, str) else _OBJECT + json.dumps(value)
            for word, value in rows
        }
        lines = sorted(f"{word}\t{value}\n".encode() for word, value in said.items())
        self._ends = np.fromiter(accumulate(map(len, lines)), np.int32, len(lines))
        self._rows = b"".join(lines)

    def __getitem__(self, word: str) -> Any:
        wanted = f"{word}\t".encode()
        at = bisect_left(range(len(self)), wanted, key=self._row)
        if at == len(self) or not (row := self._row(at)).startswith(wanted):
            raise KeyError(word)
        value = row[len(wanted) : -1].decode()
        return json.loads(value[len(_OBJECT) :]) if value.startswith(_OBJECT) else value

    def __iter__(self) -> Iterator[str]:
        return (self._row(at).partition(b"\t")[0].decode() for at in range(len(self)))

    def __len__(self) -> int:
        return int(self._ends.size)

    def _row(self, at: int) -> bytes:
        return self._rows[self._ends[at - 1] if at else 0 : self._ends[at]]


@cache
def lexicon(accent: Accent) -> Lexicon:
    """Unsupported where the package is not installed."""
    return Lexicon(*(_read(f"{accent}_{kind}.json") for kind in ("gold", "silver")), names())


@cache
def names() -> Mapping[str, str]:
    """Lower case -> phonemes, American in every accent."""
    with gzip.open(NAMES, "rt", encoding="utf-8") as stream:
        rows = (line.rstrip("\n").partition("\t") for line in stream if line[0] != "#")
        return Packed((word, spoken) for word, _, spoken in rows)


def _read(name: str) -> Mapping[str, Any]:
    try:
        package = metadata.distribution("misaki")
    except metadata.PackageNotFoundError:
        raise Unsupported(
            "speaking English needs the lexicon of misaki", fix="pip install 'edge-toolkit[speech]'"
        ) from None
    file = Path(str(package.locate_file(f"misaki/data/{name}")))
    if not file.is_file() or file.stat().st_size > _LIMIT:
        raise Damaged(
            f"the package misaki has no lexicon {file}", fix="pip install 'misaki>=0.7.4'"
        )
    words = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(words, dict):
        raise Damaged(f"{file} is no lexicon", fix="pip install 'misaki>=0.7.4'")
    return Packed(words.items())
