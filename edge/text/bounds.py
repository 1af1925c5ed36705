"""What a tokenizer.json may ask for: a stranger's rules run on a user's text, in a library that can
only be stopped from outside.

Rules that make a text longer and longer are refused when they are read. A pattern that backtracks
for ever cannot be told from an honest one: it ends by the library's own limit, or by our clock.
"""

import json
import os
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import tokenizers

from edge.errors import Damaged

STEPS = 32  # of normalizers, pre-tokenizers and decoders; the longest in use have seven
GROWTH = 256  # times longer than the text that it was made from
PATIENCE = 20.0  # seconds, and one more for each
LETTERS = 20_000  # of the text: fifty times slower than usual
_FIX = "use the tokenizer that was published with the model"


def check(library: tokenizers.Tokenizer) -> None:
    """Refuse rules that are too many, or that together make a text too long."""
    for part in (library.normalizer, library.pre_tokenizer, library.decoder):
        if part is None:
            continue
        steps = list(_steps(json.loads(part.__getstate__())))
        growth = 1
        for step in steps:
            growth *= _growth(step)
        if len(steps) > STEPS or growth > GROWTH:
            raise Damaged(
                f"tokenizer.json has {len(steps)} rules that make a text up to {growth} times as long",
                fix=_FIX,
            )


def encode(library: tokenizers.Tokenizer, text: str, *, special: bool) -> list[int]:
    """Ids of a text."""
    return encoded(library, text, special=special).ids


def encoded(library: tokenizers.Tokenizer, text: str, *, special: bool) -> tokenizers.Encoding:
    """Ids of a text and where in it each lies. The library runs on a thread of its own, so that it can be given up."""
    # For one text its own threads only cost, and it warns of them at every fork.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    made: list[tokenizers.Encoding | BaseException] = []

    def run() -> None:
        try:
            made.append(library.encode_batch([text], add_special_tokens=special)[0])
        except BaseException as error:  # a panic inside the library is no Exception
            made.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE + len(text) / LETTERS)
    if not made:
        raise Damaged(
            f"the tokenizer was still busy with {len(text):,} letters after {PATIENCE:g} seconds",
            fix=_FIX,
        )
    if isinstance(made[0], UnicodeError | TypeError | MemoryError):
        raise made[0]
    if isinstance(made[0], BaseException):
        raise Damaged(f"the tokenizer fails on a text: {str(made[0])[:200]}", fix=_FIX) from None
    return made[0]


def _steps(part: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The rules of a part, those of a sequence one by one."""
    inside = [value for value in part.values() if isinstance(value, list)]
    if part.get("type") != "Sequence" or not inside:
        yield part
        return
    for step in inside[0]:
        yield from _steps(step)


def _growth(step: Mapping[str, Any]) -> int:
    """How many times as long one rule can make a text."""
    if step.get("type") == "Replace":
        least = len(step["pattern"].get("String", ""))  # a regular expression may match nothing
        content = len(step["content"])
        return -(-content // least) or 1 if least else 1 + content
    return 2 if step.get("type") == "ByteLevel" else 1
