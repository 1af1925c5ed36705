"""Which label each row of a CatLIP head stands for (arXiv 2404.15653): row i is the i-th key of the
published vocabulary, as corenet's `wordnet_tagged_classification` numbers them.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.errors import Damaged, EdgeError
from edge.files.config import read_json
from edge.files.texts import text_of
from edge.files.unpickled import plain
from edge.vision.wordnet import WordNet, normal

SIZE = 24320  # rows of the published heads
LETTERS = 200  # of one label
_KEY = re.compile(r"n\d{1,8}")
_FIX = "give the vocabulary that was published with the model"


@dataclass(frozen=True, slots=True)
class Label:
    """What a row stands for: a synset's offset in WordNet 3.0's data.noun, a name, or both."""

    name: str
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Labels by row; no two have the same name, nor the same synset."""

    labels: tuple[Label, ...]

    def __post_init__(self) -> None:
        _distinct(canonical(label.name) for label in self.labels)
        _distinct(key(label.offset) for label in self.labels if label.offset is not None)

    @classmethod
    def of(cls, labels: Mapping[str, Any] | Iterable[str], *, size: int = SIZE) -> "Vocabulary":
        """The first `size` of a mapping's keys, or of a list, in the order given.

        A label is a key (n2084071 or n02084071), a name, or both with a tab between. The published
        mapping gives each key's count, the most frequent first; its order is kept as it is.
        """
        given = list(labels)
        if size < 1 or len(given) < size:
            raise EdgeError(f"a head of {size} rows has a vocabulary of {len(given)}", fix=_FIX)
        return cls(tuple(_label(text, row) for row, text in enumerate(given[:size])))

    @classmethod
    def read(cls, file: Path, *, size: int = SIZE) -> "Vocabulary":
        """From the published pickle, which is read as data; from a JSON object, or an object or list under
        `labels` in it; or from a text of one label a line.
        """
        if file.suffix in (".pkl", ".pickle"):
            kept = plain(file)
            if not isinstance(kept, dict | list):
                raise Damaged(f"{file} holds no mapping of labels and no list", fix=_FIX)
            return cls.of(kept, size=size)
        if file.suffix == ".json":
            value = read_json(file)
            held = value.get("labels")
            return cls.of(held if isinstance(held, list | dict) else value, size=size)
        return cls.of([line for line in text_of(file).splitlines() if line.strip()], size=size)

    def named(self, wordnet: WordNet) -> "Vocabulary":
        """The same labels with names for people: a word if it is the word's most frequent sense,
        else a name such as crane.n.04. Refuses a WordNet that lacks a label's synset."""
        lost = [x for x in self.labels if x.offset is not None and not wordnet.has(x.offset)]
        if lost:
            problem = (
                f"{len(lost)} of {len(self.labels)} labels are no synsets of {wordnet.where}, "
                f"such as {lost[0].name}"
            )
            raise EdgeError(problem, fix="use WordNet 3.0, whose offsets the labels are")
        return Vocabulary(tuple(_named(label, wordnet) for label in self.labels))


def _named(label: Label, wordnet: WordNet) -> Label:
    if label.offset is None:
        return Label(label.name, next(iter(wordnet.find(label.name)), None))
    if not _KEY.fullmatch(label.name):
        return label
    name = wordnet.name(label.offset)
    word = normal(name.removesuffix(".n.01"))
    return Label(word if name.endswith(".n.01") else name, label.offset)


def _label(text: Any, row: int) -> Label:
    if not isinstance(text, str) or not text.strip() or len(text) > LETTERS:
        raise Damaged(f"the label of row {row} is no short text: {text!r:.60}", fix=_FIX)
    given, _, name = (part.strip() for part in text.partition("\t"))
    if not _KEY.fullmatch(given):
        return Label(text.strip())
    offset = int(given[1:])
    return Label(name or key(offset), offset)


def key(offset: int) -> str:
    """As ImageNet writes a synset, such as n02084071."""
    return f"n{offset:08d}"


def canonical(text: str) -> str:
    """A key in full length, or a name in lower case with one blank between its parts."""
    text = normal(text)
    return key(int(text[1:])) if _KEY.fullmatch(text) else text


def _distinct(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise Damaged(f"the vocabulary has {name!r} twice", fix=_FIX)
        seen.add(name)
