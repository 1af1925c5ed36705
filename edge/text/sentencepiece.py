"""A SentencePiece `tokenizer.model` as a `tokenizer.json`: the same pieces, merges by score.

Read without its library, which judges what comes of it (`edge.prove.judges`). What a tokenizer.json
cannot say exactly is refused by its name.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from edge.errors import Damaged, Unsupported
from edge.text import exact, pieces, scored
from edge.text.pieces import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, Piece, Pieces
from edge.text.scored import Rules

LIMIT = 16 << 20  # bytes of a tokenizer.model; the largest in use take about 4 MiB
_SYMBOLS = 1 << 16  # letters of all symbols: they become one regular expression
_BYTES = {f"<0x{byte:02X}>" for byte in range(256)}
_NUL = "\0"
# Unigram: where two ways to cut a text are equally likely, the library's rounding to 32 bits decides.
_KINDS = {pieces.BPE: "BPE", pieces.CHAR: "char", pieces.WORD: "word"}
_FIX = "save a tokenizer.json with transformers' save_pretrained, and see whether it cuts alike"


def tokenizer_json(
    file: Path, names: Mapping[int, str], *, add_bos: bool, prefix: bool | None = None
) -> str:
    """The definition of a tokenizer. `names`: ids whose text the checkpoint's own files change;
    `prefix`: what they say of the blank in front of a text.
    """
    if file.stat().st_size > LIMIT:
        raise Damaged(f"{file} is larger than {LIMIT >> 20} MiB", fix="get the file again")
    found = pieces.read(file)
    if damage := next(_damages(found), None):
        raise Damaged(
            f"{file} is no SentencePiece model: {damage}",
            fix="get the file again: it may be cut off",
        )
    _refuse(file, _inexact(found))
    table = [_named(piece, names.get(index)) for index, piece in enumerate(found.pieces)]
    bos = _places(found, CONTROL).get(found.bos)
    rules = Rules(
        unknown=next(i for i, piece in enumerate(found.pieces) if piece.kind == UNKNOWN),
        prefix=found.prefix if prefix is None else prefix,
        bos=bos if add_bos else None,
        squeezes=found.squeezes,
        by_bytes=found.by_bytes,
        joins=found.kind != pieces.CHAR,
    )
    made = scored.definition(table, rules)
    if scored.symbols_of(table):
        _refuse(file, exact.swallowed(made, [p.text for p in table if p.kind == NORMAL]))
    return made


def _named(piece: Piece, name: str | None) -> Piece:
    """A piece under the name that it goes by, as the library takes it: the zero byte's is not used, a
    letter that is not used still is that letter.
    """
    if name is not None:
        return Piece(name, piece.score, CONTROL)
    if len(piece.text) == 1 and piece.kind in (NORMAL, UNUSED):
        return replace(piece, kind=UNUSED if piece.text == _NUL else NORMAL)
    return piece


def _places(found: Pieces, kind: int) -> dict[str, int]:
    return {piece.text: at for at, piece in enumerate(found.pieces) if piece.kind == kind}


def _damages(found: Pieces) -> Iterator[str]:
    """What the library refuses, too."""
    texts, unknown = [piece.text for piece in found.pieces], _places(found, UNKNOWN)
    bytes_ = _places(found, BYTE).keys()
    if sum(piece.kind == UNKNOWN for piece in found.pieces) != 1 or not unknown:
        yield "not just one piece stands for what is unknown"
    if "" in texts or len(set(texts)) != len(texts):
        yield "a piece is empty or appears twice"
    if not bytes_ <= _BYTES or (found.by_bytes and len(bytes_) < len(_BYTES)):
        yield "it has not just one piece for each of the 256 bytes"
    if any(_NUL in text and (text != _NUL or not found.by_bytes) for text in texts):
        yield "a piece holds a zero byte"
    if exact.longest(found.pieces) > exact.LONGEST:
        yield f"a piece has more than {exact.LONGEST} letters"


def _inexact(found: Pieces) -> Iterator[str]:
    """What cannot be said in a tokenizer.json, or what nobody has tried."""
    if found.kind not in (pieces.BPE, pieces.CHAR):
        yield f"is of the type {_KINDS.get(found.kind, 'unigram')}"
    for table in filter(None, (found.normalizer, found.denormalizer)):
        yield f"normalizes text by the table {table!r:.60}"
    if found.suffix or not found.escapes:
        yield "puts a blank at the end of a text (treat_whitespace_as_suffix), or keeps blanks as they are"
    symbols = [piece.text for piece in found.pieces if piece.kind == USER_DEFINED]
    if sum(map(len, symbols)) > _SYMBOLS:
        yield f"has user-defined symbols of more than {_SYMBOLS} letters"
    # Else they change nothing, for a text in which symbols are sought has no blanks any more.
    if found.squeezes and any(" " in symbol for symbol in symbols):
        yield "keeps blanks in user-defined symbols, and squeezes others"
    if any(len(piece.text) == 1 and piece.kind == CONTROL for piece in found.pieces):
        yield "has a control piece of one letter"
    used = [piece for piece in found.pieces if piece.text != _NUL]
    problem = exact.problem(used) if found.kind == pieces.BPE else None
    if problem is not None:
        yield f"cannot be written as merges: {problem}"


def _refuse(file: Path, problems: Iterator[str]) -> None:
    if problem := next(problems, None):
        raise Unsupported(f"{file} {problem}: edge does not read that exactly", fix=_FIX)
