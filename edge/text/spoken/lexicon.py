"""How English words are spoken: the lexicon inside the package `misaki` (Apache-2.0), whose JSON is read, none of its
code; and names that it lacks, from the CMU Pronouncing Dictionary (BSD-2-Clause): `names.txt.gz`, which
`tests/bench/phonemes.py --names` makes and whose head is its licence.

An entry is one spelling in its alphabet, or several by part of speech, where `DEFAULT` is the one that is taken when
no other is meant.
"""

import gzip
import json
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from edge.errors import Damaged, Unsupported
from edge.text.spoken.symbols import Phonemes, spelled

Accent = Literal["us", "gb"]
DEFAULT = "DEFAULT"
Entry = Mapping[str, Phonemes]
NAMES = Path(__file__).with_name("names.txt.gz")
_LIMIT = 16 << 20  # bytes of a file


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


@cache
def lexicon(accent: Accent) -> Lexicon:
    """Unsupported where the package is not installed."""
    return Lexicon(*(_read(f"{accent}_{kind}.json") for kind in ("gold", "silver")), names())


@cache
def names() -> Mapping[str, str]:
    """Lower case -> phonemes, American in every accent."""
    with gzip.open(NAMES, "rt", encoding="utf-8") as stream:
        rows = (line.rstrip("\n").partition("\t") for line in stream if line[0] != "#")
        return {word: spoken for word, _, spoken in rows}


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
    return words
