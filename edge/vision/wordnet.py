"""Nouns of a user's copy of WordNet: which synsets a word names, what a synset is a kind of, and how
far two are apart.

Reads `index.noun` and `data.noun` as wndb(5WN) lays them out. The keys of CatLIP's labels
(arXiv 2404.15653) are offsets into `data.noun` of WordNet 3.0, so another version does not fit.
"""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from edge.errors import Damaged, EdgeError

LIMIT = 64 << 20  # bytes of one file; WordNet 3.0's larger one has 15 MB
LINE = 1 << 16  # bytes of one line
DEPTH = 64  # hypernyms above one another; WordNet 3.0 has fewer than 20
ABOVE = 1024  # hypernyms of one synset, direct and indirect
_FIX = "give the folder of an unchanged WordNet 3.0, which holds index.noun and data.noun"
_NAME = re.compile(r"(.+)\.n\.(\d{2,3})")
_KEY = re.compile(r"n(\d{1,8})")


@dataclass(frozen=True, slots=True)
class Synset:
    """One meaning: its offset in data.noun, its lemmas, and the offsets of its direct hypernyms."""

    offset: int
    lemmas: tuple[str, ...]
    hypernyms: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class WordNet:
    """The two files, of which only the lines asked for are parsed."""

    where: str
    index: dict[str, bytes]  # lemma -> its line
    data: bytes
    _synsets: dict[int, Synset] = field(default_factory=dict, repr=False)
    _above: dict[int, dict[int, int]] = field(default_factory=dict, repr=False)

    @classmethod
    def load(cls, folder: Path) -> "WordNet":
        """From a folder with index.noun and data.noun."""
        index = dict(_lines(_content(folder / "index.noun"), folder / "index.noun"))
        return cls(str(folder), index, _content(folder / "data.noun"))

    def senses(self, word: str) -> tuple[int, ...]:
        """Offsets of a noun's synsets, the most frequent first; nothing for what is no noun here."""
        lemma = normal(word).replace(" ", "_")
        line = self.index.get(lemma)
        if line is None:
            return ()
        try:
            fields = line.decode("ascii").split()
            count, skipped = int(fields[2]), int(fields[3])
            offsets = tuple(int(offset) for offset in fields[6 + skipped :])
        except (ValueError, IndexError):
            raise self._damaged(f"index.noun: the line of {lemma!r} is malformed") from None
        if skipped < 0 or len(offsets) != count or not offsets:
            raise self._damaged(f"index.noun: {lemma!r} counts {count} senses, not {len(offsets)}")
        return offsets

    def find(self, text: str) -> tuple[int, ...]:
        """Offsets that a word, a name such as dog.n.01 or a key such as n02084071 means; the word's
        most frequent first, nothing if WordNet does not have it."""
        if match := _KEY.fullmatch(text.strip().lower()):
            offset = int(match[1])
            return (offset,) if self.has(offset) else ()
        if match := _NAME.fullmatch(text.strip().lower()):
            number = int(match[2])
            return self.senses(match[1])[number - 1 : number] if number else ()
        return self.senses(text)

    def has(self, offset: int) -> bool:
        """Whether a synset's line starts there."""
        starts = offset > 0 and self.data[offset - 1 : offset] == b"\n"
        return starts and self.data[offset : offset + 9] == b"%08d " % offset

    def synset(self, offset: int) -> Synset:
        """The synset at an offset."""
        if offset not in self._synsets:
            self._synsets[offset] = self._parsed(offset)
        return self._synsets[offset]

    def name(self, offset: int) -> str:
        """The first lemma and the number of its sense, such as dog.n.01."""
        lemma = normal(self.synset(offset).lemmas[0])
        senses = self.senses(lemma)
        if offset not in senses:
            raise self._damaged(f"index.noun: {lemma!r} lacks the synset at {offset}")
        return f"{lemma.replace(' ', '_')}.n.{senses.index(offset) + 1:02d}"

    def above(self, offset: int) -> dict[int, int]:
        """Every hypernym, itself included, and how many steps up it is at least."""
        return self._climb(offset, ())

    def similarity(self, one: int, other: int) -> float:
        """1 / (1 + steps), from one up to a hypernym that both have and down to the other, by the
        shortest way (Pedersen et al. 2004, WordNet::Similarity); 0 if they share none."""
        up, down = self.above(one), self.above(other)
        steps = [up[node] + down[node] for node in up.keys() & down.keys()]
        return 1 / (1 + min(steps)) if steps else 0.0

    def near(self, word: str) -> list[str]:
        """Nouns that a mistyped or too special word may mean, at most three."""
        lemma = normal(word).replace(" ", "_")
        parts = lemma.split("_")
        heads = ("_".join(parts[start:]) for start in range(1, len(parts)))
        alike = [
            noun for noun in self.index if noun[:1] == lemma[:1] and abs(len(noun) - len(lemma)) < 3
        ]
        found = [head for head in heads if head in self.index]
        found += difflib.get_close_matches(lemma, alike, n=3, cutoff=0.75)
        return [noun.replace("_", " ") for noun in found[:3]]

    def _climb(self, offset: int, below: tuple[int, ...]) -> dict[int, int]:
        known = self._above.get(offset)
        if known is not None:
            return known
        if offset in below or len(below) > DEPTH:
            raise self._damaged(
                f"data.noun: the hypernyms of the synset at {offset} go in a circle"
            )
        above = {offset: 0}
        for hypernym in self.synset(offset).hypernyms:
            for node, steps in self._climb(hypernym, (*below, offset)).items():
                above[node] = min(steps + 1, above.get(node, steps + 1))
        if len(above) > ABOVE:
            raise self._damaged(f"data.noun: the synset at {offset} has {len(above)} hypernyms")
        self._above[offset] = above
        return above

    def _parsed(self, offset: int) -> Synset:
        if not self.has(offset):
            raise self._damaged(f"data.noun: no synset starts at offset {offset}")
        end = self.data.find(b"\n", offset, offset + LINE)
        if end < 0:
            raise self._damaged(f"data.noun: the line at offset {offset} does not end")
        try:
            fields = self.data[offset:end].partition(b" | ")[0].decode("ascii").split()
            words = 4 + 2 * int(fields[3], 16)
            lemmas = tuple(word.replace("_", " ") for word in fields[4:words:2])
            pointers = fields[words + 1 :]
            whole = len(pointers) == 4 * int(fields[words]) and bool(lemmas) and fields[2] == "n"
            hypernyms = [
                int(pointers[at + 1])
                for at in range(0, len(pointers), 4)
                if pointers[at] in ("@", "@i") and pointers[at + 2] == "n"
            ]
        except (ValueError, IndexError):
            whole = False
        if not whole:
            raise self._damaged(f"data.noun: the synset at offset {offset} is malformed")
        return Synset(offset, lemmas, tuple(dict.fromkeys(hypernyms)))

    def _damaged(self, problem: str) -> Damaged:
        return Damaged(f"{self.where}/{problem}", fix=_FIX)


def normal(word: str) -> str:
    """A word as it is compared: lower case, one blank between its parts."""
    return " ".join(word.replace("_", " ").lower().split())


def _content(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            content = stream.read(LIMIT + 1)
    except OSError as error:
        raise EdgeError(f"{file} cannot be read: {error.strerror or error}", fix=_FIX) from None
    if len(content) > LIMIT:
        raise Damaged(f"{file} is larger than {LIMIT >> 20} MiB", fix=_FIX)
    return content


def _lines(content: bytes, file: Path) -> Iterator[tuple[str, bytes]]:
    """Lemma and line; the licence at the top is indented."""
    for line in content.split(b"\n"):
        if len(line) > LINE:
            raise Damaged(f"{file}: a line is longer than {LINE} bytes", fix=_FIX)
        if line and not line.startswith(b" "):
            yield line.partition(b" ")[0].decode("ascii", "replace"), line
