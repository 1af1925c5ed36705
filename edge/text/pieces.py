"""The pieces of a SentencePiece `tokenizer.model`, read without its library.

The file is one protobuf message: its first field, repeated, is a piece with a text, a score and a
type; the others are how a text is cut, and what happens to it before that and to an answer after.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.errors import Damaged

LIMIT = 64 << 20  # bytes of a tokenizer.model
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
UNIGRAM, BPE, WORD, CHAR = range(1, 5)  # how a text is cut
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5  # how a field is written
_PIECES, _TRAINER, _NORMALIZER, _DENORMALIZER = 1, 2, 3, 5
Fields = Mapping[int, int | memoryview]


@dataclass(frozen=True, slots=True)
class Piece:
    """One entry of the vocabulary: its id is its place."""

    text: str
    score: float
    kind: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Pieces:
    """A vocabulary, and what the library does with it where the file says nothing else."""

    pieces: tuple[Piece, ...]
    kind: int = UNIGRAM
    by_bytes: bool = False  # a letter that no piece has is cut into its bytes, each a piece
    prefix: bool = True  # a text gets a blank in front,
    suffix: bool = False  # or rather at its end
    squeezes: bool = True  # blanks at the ends go, and of several in a row one is left
    escapes: bool = True  # a blank is written as U+2581
    normalizer: str = ""  # the name of a table by which letters are changed
    denormalizer: str = ""  # the same of an answer's
    bos: str = "<s>"


def read(file: Path) -> Pieces:
    if file.stat().st_size > LIMIT:
        raise Damaged(f"{file} is larger than {LIMIT >> 20} MiB", fix="get the file again")
    try:
        found = _pieces(list(_fields(memoryview(file.read_bytes()))))
    except (ValueError, struct.error) as error:
        problem = f"{file} is no SentencePiece model: {str(error)[:200]}"
        raise Damaged(problem, fix="get the file again: it may be cut off") from None
    if not found.pieces:
        raise Damaged(f"{file} holds no pieces", fix="get the file again")
    return found


def _pieces(fields: Sequence[tuple[int, int | memoryview]]) -> Pieces:
    """Where a message comes more than once, its parts add up; of a number the last one counts."""

    def merged(which: int) -> Fields:
        return dict(
            f for number, value in fields if number == which for f in _fields(_bytes(value))
        )

    trainer, before = merged(_TRAINER), merged(_NORMALIZER)
    return Pieces(
        pieces=tuple(_piece(value) for number, value in fields if number == _PIECES),
        kind=_number(trainer, 3, UNIGRAM),
        by_bytes=bool(_number(trainer, 35, 0)),
        prefix=bool(_number(before, 3, 1)),
        suffix=bool(_number(trainer, 24, 0)),
        squeezes=bool(_number(before, 4, 1)),
        escapes=bool(_number(before, 5, 1)),
        normalizer=_table(before),
        denormalizer=_table(merged(_DENORMALIZER)),
        bos=_text(trainer, 46) or "<s>",
    )


def _table(spec: Fields) -> str:
    """The name of a table of letters; nothing where there is none."""
    return (_text(spec, 1) or "unnamed") if len(_bytes(spec.get(2, memoryview(b"")))) else ""


def _number(message: Fields, field: int, default: int) -> int:
    value = message.get(field, default)
    if not isinstance(value, int):
        raise ValueError("a text stands where a number should")
    return value


def _text(message: Fields, field: int) -> str:
    return bytes(_bytes(message.get(field, memoryview(b"")))).decode()


def _piece(value: int | memoryview) -> Piece:
    found = dict(_fields(_bytes(value)))
    score = struct.unpack("<f", _bytes(found.get(2, memoryview(bytes(4)))))[0]
    kind = _number(found, 3, NORMAL)
    if not NORMAL <= kind <= BYTE:
        raise ValueError("a piece is of no known type")
    return Piece(_text(found, 1), score, kind)


def _bytes(value: int | memoryview) -> memoryview:
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
    if at < len(data) and data[at] < 128:
        return data[at], at + 1
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(data):
            break
        byte, at = data[at], at + 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number does not end")
