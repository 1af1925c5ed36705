"""SentencePiece models for tests: trained by its library on a few words, or written by hand."""

import io
import struct
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

WORDS = (
    "the cat sat on the mat and the hat was that of a fat rat in a tan van",
    "café naïve 漢字 かな 12 345 6.7 don't stop-go (yes) [no] {maybe} a_b x=y;",
    "aa aaa aaaa abab ababab bab baba then there their these those other another",
)


@cache
def trained(**options: Any) -> bytes:
    """A model of some 120 pieces; what is left out is as Llama's is."""
    import sentencepiece

    out = io.BytesIO()
    plain = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(WORDS * 4), model_writer=out, minloglevel=3, num_threads=1,
        **{**plain, "hard_vocab_limit": False, "vocab_size": 400 if options.get("byte_fallback") else 140, **options},
    )  # fmt: skip
    return out.getvalue()


Row = tuple[str, float, int]  # text, score, type


def written(rows: Iterable[Row], *more: bytes, kind: int = 2, prefix: bool = False) -> bytes:
    """A model of these pieces, <unk> before them; `more`: fields of the whole message, the last first."""
    pieces = [("<unk>", 0.0, 2), *rows]
    trainer, normalizer = number(3, kind), number(3, prefix) + number(4, 0)
    body = b"".join(block(1, piece(row)) for row in pieces)
    return body + block(2, trainer) + block(3, normalizer) + b"".join(more)


def piece(row: Row) -> bytes:
    text, score, kind = row
    return block(1, text.encode()) + b"\x15" + struct.pack("<f", score) + number(3, kind)


def number(field: int, value: int) -> bytes:
    return size(field << 3) + size(int(value))


def block(field: int, content: bytes) -> bytes:
    return size(field << 3 | 2) + size(len(content)) + content


def size(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + size(value >> 7)


def letters(texts: Sequence[str]) -> list[Row]:
    """Each letter of these as a piece, which every piece of several needs."""
    found = sorted({letter for text in texts for letter in text})
    return [(letter, -1000.0 - at, 1) for at, letter in enumerate(found)]
