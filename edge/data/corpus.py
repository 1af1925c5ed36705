"""Texts as rows of tokens: read a block at a time, in an order that a seed fixes, without end.

A block is some 32 KiB of a file, cut at a line break or a blank where there is one near. Blocks are
numbered through all epochs, each of which has an order of its own. A stream of rows takes every n-th
block; where it is, is two numbers, so that it can go on from there later.
"""

import codecs
import hashlib
import random
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

from edge.errors import EdgeError
from edge.files.texts import MARK, other, unreadable

BLOCK = 32 << 10  # bytes
_REACH = 1 << 10  # bytes in which a block looks for where to end
_CHUNK = 1 << 20
Encode = Callable[[str, bool], list[int]]  # a text, and whether a document begins with it -> ids


@dataclass(frozen=True, order=True, slots=True)
class StreamPosition:
    """Where a stream is: the number of a block, and how many of its tokens were used."""

    block: int
    tokens: int = 0


class Corpus:
    """Files of UTF-8 text, every byte of which was looked at: one that is none is found now."""

    def __init__(self, names: Sequence[str], seed: int) -> None:
        self._files = [file for name in names for file in _files(Path(name))]
        digest = hashlib.sha256()
        sizes = [_read_through(file, digest.update) for file in self._files]
        self.digest = digest.hexdigest()  # of all texts, one after another
        self._ends = list(accumulate(-(-size // BLOCK) for size in sizes))
        self.blocks = self._ends[-1]  # of an epoch
        if not self.blocks:
            raise EdgeError(
                f"{', '.join(names)}: there is no text in it", fix="give texts to train on"
            )
        self._order = lru_cache(maxsize=2)(lambda epoch: _shuffled(self.blocks, seed, epoch))

    def block(self, number: int) -> tuple[str, bool]:
        """A block's text, and whether a file begins with it."""
        place = self._order(number // self.blocks)[number % self.blocks]
        index = bisect_right(self._ends, place)
        at = place - (self._ends[index - 1] if index else 0)
        return _text(self._files[index], at * BLOCK), at == 0


class Stream:
    """Rows of length + 1 tokens, of which the first `length` predict the last: every token is
    predicted once. Of the blocks it takes each `every`-th from its place on.
    """

    def __init__(
        self, corpus: Corpus, encode: Encode, length: int, place: StreamPosition, *, every: int
    ) -> None:
        self._corpus, self._encode, self._length, self._every = corpus, encode, length, every
        self.place = place
        self._ids: list[int] = []
        self._counts: list[int] = []  # tokens of each block that is held
        if place.tokens:
            self._take()
            del self._ids[: place.tokens]

    def row(self) -> list[int]:
        for _ in range(self._corpus.blocks + 1):
            if len(self._ids) > self._length:
                break
            self._take()
        else:
            raise EdgeError(
                f"all texts together have fewer tokens than a row of {self._length}",
                fix="give more text, or shorten the recipe's rows",
            )
        row = self._ids[: self._length + 1]
        self._advance()
        return row

    def _take(self) -> None:
        ids = self._encode(*self._corpus.block(self.place.block + len(self._counts) * self._every))
        self._counts.append(len(ids))
        self._ids += ids

    def _advance(self) -> None:
        """Past what the row's tokens predicted from: its last token predicts in the next row."""
        del self._ids[: self._length]
        block, used = self.place.block, self.place.tokens + self._length
        while self._counts and used >= self._counts[0]:
            used -= self._counts.pop(0)
            block += self._every
        self.place = StreamPosition(block, used)


def _files(path: Path) -> Iterator[Path]:
    """A file, or the texts of a folder by name."""
    if not path.is_dir():
        yield path
        return
    found = sorted(path.glob("*.txt"))
    if not found:
        raise EdgeError(f"{path} holds no *.txt file", fix="name the files of text")
    yield from found


def _read_through(file: Path, update: Callable[[bytes], None]) -> int:
    """Size of a file in bytes, all of which are UTF-8."""
    decoder, size = codecs.getincrementaldecoder("utf-8")(), 0
    if not file.is_file():  # a pipe or a device may never end
        raise unreadable(file, "there is no such file")
    try:
        with file.open("rb") as opened:
            while chunk := opened.read(_CHUNK):
                update(chunk)
                decoder.decode(chunk)
                size += len(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise unreadable(file, other(error.object) or error) from None
    except OSError as error:
        raise unreadable(file, error.strerror) from None
    return size


def _text(file: Path, start: int) -> str:
    """From the first cut at or after `start` up to that of the next block."""
    try:
        with file.open("rb") as opened:
            opened.seek(max(0, start))
            content = opened.read(BLOCK + _REACH)
        begin = _cut(content[:_REACH]) if start else len(MARK) * content.startswith(MARK)
        tail = content[BLOCK:]
        end = BLOCK + _cut(tail) if tail else len(content)
        return content[begin:end].decode()
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(file, error) from None


def _cut(window: bytes) -> int:
    """Where a block ends within these bytes: after a line, a blank, or else between characters."""
    for mark in (b"\n", b" "):
        if (found := window.find(mark)) >= 0:
            return found + 1
    return next((at for at, byte in enumerate(window) if byte & 0xC0 != 0x80), len(window))


def _shuffled(count: int, seed: int, epoch: int) -> "array[int]":
    order = array("I", range(count))
    random.Random(f"{seed}/texts/{epoch}").shuffle(order)
    return order
