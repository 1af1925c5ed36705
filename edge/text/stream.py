"""Token by token into text, without half a character and without text that changes later.

The twin of the decoder that `tokenizer.json` describes: what it gives piece by piece is, put
together, what decoding all the tokens at once gives, for any tokens. Each token costs the same,
however long the text already is.
"""

import codecs
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from edge.errors import Unsupported

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class Pieces(Protocol):
    """Takes the vocabulary's pieces one by one and gives text as soon as it is certain."""

    def feed(self, piece: str) -> str: ...

    def finish(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Stream:
    """Text of a sequence of token ids, as it grows."""

    piece: Callable[[int], str | None]  # None: no such token, or one that is not shown
    pieces: Pieces

    def feed(self, token: int) -> str:
        """What can be shown now: possibly nothing, never something that a later token changes."""
        piece = self.piece(token)
        return "" if piece is None else self.pieces.feed(piece)

    def finish(self) -> str:
        """What was held back: an unfinished character becomes U+FFFD."""
        return self.pieces.finish()


@dataclass(slots=True)
class ByteLevel:
    """Each character of a piece stands for one byte (GPT-2's table); UTF-8 may span pieces."""

    _utf8: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")(errors="replace")
    )

    def feed(self, piece: str) -> str:
        values = [_BYTE_OF.get(char) for char in piece]
        known = [value for value in values if value is not None]
        # An added token such as "<|im end|>" holds characters outside the table: it is plain text.
        data = bytes(known) if len(known) == len(values) else piece.encode()
        return self._utf8.decode(data)

    def finish(self) -> str:
        return self._utf8.decode(b"", final=True)


@dataclass(slots=True)
class SentencePiece:
    """Pieces are text with a stand-in for the blank; rare characters are runs of `<0xNN>` pieces.

    A run is decoded as a whole: one wrong byte turns all of it into U+FFFD, so it is held until it
    ends.
    """

    replace: Sequence[tuple[str, str]]
    strip: tuple[str, int]  # a character, and how many of them to drop at the start of the text
    byte_fallback: bool
    _run: bytearray = field(default_factory=bytearray)

    def feed(self, piece: str) -> str:
        for old, new in self.replace:
            piece = piece.replace(old, new)
        byte = _BYTE.fullmatch(piece) if self.byte_fallback else None
        if byte:
            self._run.append(int(byte[1], 16))
            return ""
        return self._strip(self._end_run() + piece)

    def finish(self) -> str:
        return self._strip(self._end_run())

    def _end_run(self) -> str:
        run = bytes(self._run)
        self._run.clear()
        try:
            return run.decode()
        except UnicodeDecodeError:
            return "\ufffd" * len(run)

    def _strip(self, text: str) -> str:
        char, count = self.strip
        while count and text:
            if text[0] != char:
                count = 0
                break
            text, count = text[1:], count - 1
        self.strip = char, count
        return text


def pieces_of(decoder: Mapping[str, Any] | None, *, inside: bool = False) -> Callable[[], Pieces]:
    """The streaming twin of the `decoder` section of a tokenizer.json. `inside`: the text began before
    the first piece, so that a blank there is one.
    """
    steps = _flatten(decoder)
    kinds = [step.get("type") for step in steps]
    if kinds == ["ByteLevel"]:
        return ByteLevel
    strip = steps.pop() if kinds and kinds[-1] == "Strip" else {}
    kinds = [kind for kind in kinds if kind != "Replace"][: None if not strip else -1]
    simple = all("String" in step["pattern"] for step in steps if step["type"] == "Replace")
    if not simple or kinds not in (["ByteFallback", "Fuse"], ["Fuse"]) or strip.get("stop"):
        raise Unsupported(
            f"tokenizer.json: a decoder of {kinds} cannot be streamed",
            fix="use a model whose tokenizer is byte-level or SentencePiece BPE",
        )
    replace = [(s["pattern"]["String"], s["content"]) for s in steps if s["type"] == "Replace"]
    start = (strip["content"], strip["start"]) if strip and not inside else ("", 0)
    return lambda: SentencePiece(replace, start, "ByteFallback" in kinds)


def _flatten(decoder: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    if decoder is None:
        return []
    if decoder.get("type") != "Sequence":
        return [decoder]
    return [step for inner in decoder["decoders"] for step in _flatten(inner)]


def _byte_table() -> dict[str, int]:
    """GPT-2's: printable Latin-1 stands for itself, other bytes for characters from U+0100 on."""
    itself = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in itself]
    table = {chr(byte): byte for byte in itself}
    return table | {chr(0x100 + i): byte for i, byte in enumerate(others)}


_BYTE_OF = _byte_table()
