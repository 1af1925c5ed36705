"""Cuts a CatLIP head to a list of classes by name, without training: the paper's "Transfer Init"
(arXiv 2404.15653) takes for a class the rows nearest to it in WordNet.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from edge.errors import EdgeError
from edge.vision.labels import Label, Vocabulary, canonical, key
from edge.vision.wordnet import WordNet

_SHOWN = 5  # refused classes in one error


@dataclass(frozen=True, slots=True)
class Cut:
    """A class, and the rows of the head whose mean is its row.

    similarity: path similarity of the class and its rows' labels, 1 for the very label; where a
    class has several synsets, the least.
    """

    label: str
    rows: tuple[int, ...]
    similarity: float
    synsets: tuple[str, ...]  # names of the rows' labels, in the order of `rows`


def cut(
    classes: Sequence[str], vocabulary: Vocabulary, wordnet: WordNet | None = None
) -> tuple[Cut, ...]:
    """The rows of each class, in the order given.

    A class is a label's name or key (n02084071); with WordNet also any noun, in its most frequent
    sense, or a name such as crane.n.04. Several words with commas between are the synset that they
    share, as in ImageNet's lists ("tench, Tinca tinca"), else the mean of each word's own. Refuses,
    by EdgeError, a list that has a class twice, by name or by meaning, and all classes that nothing
    is known of at once, with near spellings.
    """
    if not classes:
        raise EdgeError("there are no classes to cut the head to", fix="name one a line")
    labels = (vocabulary.named(wordnet) if wordnet else vocabulary).labels
    found = _Found({}, labels, wordnet)
    for row, label in enumerate(labels):
        found.rows[canonical(label.name)] = row
        if label.offset is not None:
            found.rows[key(label.offset)] = row
    meanings = [found.meaning(text) for text in classes]
    _refuse_unknown(classes, meanings, found)
    _refuse_twice(classes, meanings)
    nearest = _Nearest.of(labels, wordnet) if wordnet else _Nearest({})
    return tuple(
        _cut(text, [nearest.to(means, wordnet, text) for means in meaning], labels)
        for text, meaning in zip(classes, meanings, strict=True)
    )


@dataclass(frozen=True, slots=True)
class _Exact:
    """What a class means where no way through WordNet is needed: the row itself."""

    row: int


_Meaning = tuple[_Exact | int, ...]  # rows, and offsets of synsets that are no labels


@dataclass(frozen=True, slots=True)
class _Nearest:
    """For every hypernym of a label: the fewest steps down to a label, and the first such row."""

    down: dict[int, tuple[int, int]]  # offset -> (steps, row)

    @classmethod
    def of(cls, labels: Sequence[Label], wordnet: WordNet) -> "_Nearest":
        down: dict[int, tuple[int, int]] = {}
        for row, label in enumerate(labels):
            if label.offset is not None:
                for node, steps in wordnet.above(label.offset).items():
                    down[node] = min((steps, row), down.get(node, (steps, row)))
        return cls(down)

    def to(self, means: _Exact | int, wordnet: WordNet | None, text: str) -> tuple[int, int]:
        """Steps and row of the nearest label.

        Of several as near, one that is a hypernym of the class wins, as what it means holds of the
        class, too; then the one nearest to what both are; then the first row: labels are sorted by
        frequency, so that it saw most images.
        """
        if isinstance(means, _Exact):
            return 0, means.row
        above = wordnet.above(means) if wordnet else {}
        ways = [
            (up + self.down[node][0], *self.down[node])
            for node, up in above.items()
            if node in self.down
        ]
        if not ways:
            raise EdgeError(
                f"no label is related to {text!r:.80} in WordNet", fix="leave the class out"
            )
        steps, _, row = min(ways)
        return steps, row


@dataclass(frozen=True, slots=True)
class _Found:
    """Where the words of a class are looked up: the labels first, then WordNet."""

    rows: dict[str, int]  # canonical name or key -> row
    labels: Sequence[Label]
    wordnet: WordNet | None

    def meaning(self, text: str) -> _Meaning:
        """What a line means; nothing if a word of it is unknown."""
        words = [word for word in text.split(",") if word.strip()]
        if len(words) > 1 and (shared := self._shared(words)) is not None:
            return (self._of(shared),)
        each = [self._word(word) for word in words]
        return () if None in each else tuple(dict.fromkeys(x for x in each if x is not None))

    def _shared(self, words: Sequence[str]) -> int | None:
        """The first sense of the first word that every other word has, too."""
        if self.wordnet is None:
            return None
        first, *others = (self.wordnet.find(word) for word in words)
        return next((sense for sense in first if all(sense in other for other in others)), None)

    def _word(self, word: str) -> _Exact | int | None:
        if (row := self.rows.get(canonical(word))) is not None:
            return _Exact(row)
        senses = self.wordnet.find(word) if self.wordnet else ()
        return self._of(senses[0]) if senses else None

    def _of(self, offset: int) -> _Exact | int:
        row = self.rows.get(key(offset))
        return offset if row is None else _Exact(row)

    def near(self, text: str) -> list[str]:
        """Spellings that are known, near to the first word of a line that is not."""
        word = next((w for w in text.split(",") if w.strip() and self._word(w) is None), text)
        if self.wordnet:
            return self.wordnet.near(word)
        return difflib.get_close_matches(canonical(word), self.rows, n=3)


def _cut(text: str, ways: Sequence[tuple[int, int]], labels: Sequence[Label]) -> Cut:
    """From the steps and the row of each meaning; a row that two of them share counts once."""
    rows = tuple(dict.fromkeys(row for _, row in ways))
    least = 1 / (1 + max(steps for steps, _ in ways))
    return Cut(text.strip(), rows, least, tuple(labels[row].name for row in rows))


def _refuse_unknown(classes: Sequence[str], meanings: Sequence[_Meaning], found: _Found) -> None:
    unknown = [text for text, meaning in zip(classes, meanings, strict=True) if not meaning]
    if not unknown:
        return
    shown = [
        f"{text!r:.80}" + (f" (near: {', '.join(near)})" if (near := found.near(text)) else "")
        for text in unknown[:_SHOWN]
    ]
    more = f", and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
    where = "the labels or WordNet" if found.wordnet else "the labels"
    fix = "write a noun that WordNet has" if found.wordnet else "give a folder of WordNet 3.0, too"
    raise EdgeError(f"not among {where}: {'; '.join(shown)}{more}", fix=fix)


def _refuse_twice(classes: Sequence[str], meanings: Sequence[_Meaning]) -> None:
    seen: dict[frozenset[_Exact | int], str] = {}
    for text, meaning in zip(classes, meanings, strict=True):
        if (other := seen.get(frozenset(meaning))) is not None:
            raise EdgeError(
                f"the classes {other!r:.80} and {text!r:.80} mean the same", fix="leave one out"
            )
        seen[frozenset(meaning)] = text


def alike(cuts: Sequence[Cut]) -> tuple[tuple[str, ...], ...]:
    """Classes that got the same rows, which such a head cannot tell apart."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for one in cuts:
        groups.setdefault(tuple(sorted(one.rows)), []).append(one.label)
    return tuple(tuple(labels) for labels in groups.values() if len(labels) > 1)
