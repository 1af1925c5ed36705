"""Texts as ids of tokens, as a trainer reads a document: begun as the tokenizer begins one."""

import hashlib
import json
from pathlib import Path

from edge.data.frame.step import Drop, Row
from edge.text.tokenizer import Tokenizer


class Tokens:
    """A row becomes the ids of its text."""

    def __init__(self, folder: str) -> None:
        self._tokenizer = Tokenizer.load(Path(folder))

    def __call__(self, row: Row, _seed: int) -> Row | Drop:
        ids = document(self._tokenizer, row.data["text"])
        return Row(row.file, row.line, {"tokens": ids}, row.child) if ids else Drop("no tokens")


def document(tokenizer: Tokenizer, text: str, begins: bool = True) -> list[int]:
    """The ids of a document, or of what follows in one."""
    ids = tokenizer.encode(text, special=False)
    bos = tokenizer.bos_id
    return [bos, *ids] if begins and tokenizer.adds_bos and bos is not None else ids


def digest(tokenizer: Tokenizer) -> str:
    """What decides the ids of a document, as a hash."""
    said = [tokenizer.definition(), tokenizer.bos_id if tokenizer.adds_bos else None]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()
