"""The pieces of a SentencePiece `tokenizer.model`, read without its library.

The file is one protobuf message: its first field, repeated, is a piece with a text, a score and a
type; its third is what happens to a text before it is cut.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge.errors import Damaged

LIMIT = 64 << 20  # bytes of a tokenizer.model
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5  # how a field is written
_PIECES, _NORMALIZER = 1, 3


@dataclass(frozen=True, slots=True)
class Piece:
    """One entry of the vocabulary: its id is its place."""

    text: str
    score: float
    kind: int


@dataclass(frozen=True, slots=True)
class Pieces:
    """A vocabulary, and whether a text gets a blank in front."""

    pieces: tuple[Piece, ...]
    prefix: bool


def read(file: Path) -> Pieces:
    if file.stat().st_size > LIMIT:
        raise Damaged(f"{file} is larger than {LIMIT >> 20} MiB", fix="get the file again")
    try:
        fields = list(_fields(memoryview(file.read_bytes())))
        pieces = tuple(_piece(value) for number, value in fields if number == _PIECES)
        prefix = [_prefix(value) for number, value in fields if number == _NORMALIZER]
    except (ValueError, struct.error) as error:
        problem = f"{file} is no SentencePiece model: {str(error)[:200]}"
        raise Damaged(problem, fix="get the file again: it may be cut off") from None
    if not pieces:
        raise Damaged(f"{file} holds no pieces", fix="get the file again")
    return Pieces(pieces, all(prefix))


def _piece(value: int | memoryview) -> Piece:
    found = dict(_fields(_message(value)))
    score = struct.unpack("<f", _message(found.get(2, memoryview(bytes(4)))))[0]
    kind = found.get(3, NORMAL)
    if not isinstance(kind, int) or not NORMAL <= kind <= BYTE:
        raise ValueError("a piece is of no known type")
    return Piece(bytes(_message(found.get(1, memoryview(b"")))).decode(), score, kind)


def _prefix(value: int | memoryview) -> bool:
    """Whether the normalizer puts a blank in front of a text: it does if nothing is said."""
    return dict(_fields(_message(value))).get(3, 1) != 0


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number stands where a text should")
    return value


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and content of each field of a message: a number, or bytes."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        form = tag & 7
        if form == _VARINT:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        if form == _BYTES:
            size, at = _varint(data, at)
        elif form in (_FOUR, _EIGHT):
            size = 4 if form == _FOUR else 8
        else:
            raise ValueError(f"a field is written in form {form}")
        if size > len(data) - at:
            raise ValueError("a field ends past its message")
        yield tag >> 3, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, lowest first, and the place after it."""
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(data):
            break
        byte, at = data[at], at + 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number does not end")
