"""Texts as rows of tokens: read a block at a time, in an order that a seed fixes, without end.

A block is some 32 KiB of a file: of a text, cut at a line break or a blank where there is one near; of JSON lines,
those that begin there, each a document, or a row of tokens that `edge data` packed. Blocks are numbered through all
epochs, each of which has an order of its own. A stream of rows takes every n-th block; where it is, is two numbers,
so that it can go on from there later.
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

from edge.data.frame.sources import TEXT, TOKENS, parsed
from edge.data.frame.step import Drop
from edge.data.jsonl import LONGEST, files
from edge.errors import EdgeError
from edge.files.config import Config
from edge.files.texts import MARK, other, unreadable

BLOCK = 32 << 10  # bytes
_REACH = 1 << 10  # bytes in which a block looks for where to end
_CHUNK = 1 << 20
_LINES = ".jsonl"
Encode = Callable[[str, bool], list[int]]  # a text, and whether a document begins with it -> ids


@dataclass(frozen=True, slots=True)
class Piece:
    """A text, and whether a document begins with it; or the ids that it was made into."""

    text: str
    begins: bool
    ids: tuple[int, ...] = ()


@dataclass(frozen=True, order=True, slots=True)
class StreamPosition:
    """Where a stream is: the number of a block, and how many of its tokens were used."""

    block: int
    tokens: int = 0


class Corpus:
    """Files of text in UTF-8, or of JSON lines, every byte of which was looked at: one that is none is found now.
    `tokenizer`: whose rows of tokens may be among them, as `edge.data.steps.tokens.digest` has it.
    """

    def __init__(
        self, names: Sequence[str], seed: int, tokenizer: Callable[[], str] | None = None
    ) -> None:
        self._files = [file for name in names for file in files(Path(name), "*.txt", f"*{_LINES}")]
        digest = hashlib.sha256()
        looked = [_read_through(file, digest.update) for file in self._files]
        self.digest = digest.hexdigest()  # of all texts, one after another
        self._ends = list(accumulate(-(-size // BLOCK) for size, _ in looked))
        self.blocks = self._ends[-1]  # of an epoch
        if not self.blocks:
            raise EdgeError(
                f"{', '.join(names)}: there is no text in it", fix="give texts to train on"
            )
        for file, (_, packed) in zip(self._files, looked, strict=True):
            if packed:
                _check_tokenizer(file, tokenizer)
        self._order = lru_cache(maxsize=2)(lambda epoch: _shuffled(self.blocks, seed, epoch))

    def block(self, number: int) -> list[Piece]:
        """What a block holds."""
        place = self._order(number // self.blocks)[number % self.blocks]
        index = bisect_right(self._ends, place)
        start = (place - (self._ends[index - 1] if index else 0)) * BLOCK
        file = self._files[index]
        if file.suffix == _LINES:
            return list(_documents(file, start))
        return [Piece(_text(file, start), start == 0)]


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
        for _ in range(2 * self._corpus.blocks):  # in which there is a whole epoch
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
        block = self._corpus.block(self.place.block + len(self._counts) * self._every)
        ids = [
            one for piece in block for one in piece.ids or self._encode(piece.text, piece.begins)
        ]
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


def _read_through(file: Path, update: Callable[[bytes], None]) -> tuple[int, bool]:
    """Size of a file in bytes, all of which are UTF-8, and of JSON lines all documents; whether it holds tokens."""
    packed = False
    if file.suffix == _LINES and file.is_file():
        packed = sum(bool(piece.ids) for piece in _documents(file, 0, file.stat().st_size)) > 0
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
    return size, packed


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


def _documents(file: Path, start: int, size: int | None = None) -> Iterator[Piece]:
    """Of the lines that begin in a block, which is `size` bytes long."""
    try:
        with file.open("rb") as opened:
            opened.seek(max(0, start - 1))
            at = start - 1 + len(opened.readline()) if start else 0
            while at < start + (BLOCK if size is None else size):
                line = opened.readline(LONGEST + 1)
                if not line:
                    return
                if len(line) > LONGEST:
                    raise unreadable(
                        f"{file}, at byte {at}", f"a line of more than {LONGEST >> 20} MiB"
                    )
                yield _document(file, at, line)
                at += len(line)
    except OSError as error:
        raise unreadable(file, error.strerror) from None


def _document(file: Path, at: int, line: bytes) -> Piece:
    found = parsed(line.removeprefix(MARK) if at == 0 else line, (TEXT, TOKENS))
    if isinstance(found, Drop):
        raise EdgeError(
            f"{file}, at byte {at}: a line is no text to train on: {found.reason} {found.detail}".rstrip(),
            fix="let `edge data text` leave such lines out",
        )
    return Piece(found[TEXT], True) if TEXT in found else Piece("", True, tuple(found[TOKENS]))


def _check_tokenizer(file: Path, tokenizer: Callable[[], str] | None) -> None:
    """Ids mean nothing to another tokenizer than the one that they are of."""
    manifest = file.with_name("manifest.json")
    said = Config.load(manifest).data.get("tokenizer") if manifest.is_file() else None
    if tokenizer is None or said != tokenizer():
        raise EdgeError(
            f"{file} holds tokens of another tokenizer",
            fix="pack the texts again, with --tokenizer the checkpoint that is trained",
        )


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
