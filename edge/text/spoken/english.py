"""The tables of `english.toml`, and words as they are looked up there."""

import tomllib
import unicodedata
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

_APOSTROPHES = str.maketrans({"’": "'", "ʼ": "'", "‘": "'", "´": "'", "`": "'"})


@cache
def tables() -> Mapping[str, Any]:
    """By their names in the file."""
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


def folded(text: str) -> str:
    """Without accents, and with straight apostrophes: café -> cafe."""
    apart = unicodedata.normalize("NFKD", text.translate(_APOSTROPHES))
    for letter, plain in _PLAIN.items():
        apart = apart.replace(letter, plain)
    return "".join(c for c in apart if not unicodedata.combining(c))


_PLAIN = {
    "ß": "ss",
    "æ": "ae",
    "Æ": "AE",
    "œ": "oe",
    "Œ": "OE",
    "ø": "o",
    "Ø": "O",
    "ł": "l",
    "Ł": "L",
    "đ": "d",
    "ð": "d",
}
_PLAIN |= {"þ": "th", "Þ": "Th", "ı": "i", "Đ": "D"}
