"""SentencePiece pieces with scores as a `tokenizer.json`: the same pieces, merges by score."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from edge.text.pieces import CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, Piece

SPACE = "\u2581"  # stands for a blank inside pieces
LONGEST = 512  # letters of a piece that merges are sought in: their number is its square


def definition(pieces: Sequence[Piece], *, unknown: int, prefix: bool, bos: int | None) -> str:
    """The definition of a tokenizer. `prefix`: whether a text gets a blank in front; `bos`: what the
    post-processor puts before that.
    """
    taken: dict[str, int] = {}
    for index, piece in enumerate(pieces):
        # A piece that is never used, or that another has taken, keeps its id under a name no text has.
        hidden = piece.text in taken or piece.kind == UNUSED
        taken[f"\u2581[UNUSED {index}]" if hidden else piece.text] = index
    special = [(i, p.text) for i, p in enumerate(pieces) if p.kind in (CONTROL, UNKNOWN)]
    normal = {
        text: pieces[index].score
        for text, index in taken.items()
        if pieces[index].kind in (NORMAL, USER_DEFINED)
    }
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [_added(index, text) for index, text in special],
            "normalizer": _normalizer(prefix),
            "pre_tokenizer": None,
            "post_processor": None if bos is None else _bos_first(bos, pieces[bos].text),
            "decoder": _decoder(prefix),
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": pieces[unknown].text,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": True,
                "byte_fallback": True,
                "ignore_merges": False,
                "vocab": taken,
                "merges": [list(pair) for pair in _merges(normal)],
            },
        }
    )


def longest(pieces: Iterable[Piece]) -> int:
    """Letters of the longest piece in which merges would be sought."""
    return max((len(p.text) for p in pieces if p.kind in (NORMAL, USER_DEFINED)), default=0)


def _merges(scores: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """Pairs that join into a piece, the likeliest piece first, as SentencePiece joins them."""
    for piece in sorted(scores, key=lambda piece: -scores[piece]):
        for at in range(1, len(piece)):
            if piece[:at] in scores and piece[at:] in scores:
                yield piece[:at], piece[at:]


def _normalizer(prefix: bool) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"type": "Prepend", "prepend": SPACE}] if prefix else []
    steps.append({"type": "Replace", "pattern": {"String": " "}, "content": SPACE})
    return {"type": "Sequence", "normalizers": steps}


def _decoder(prefix: bool) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if prefix:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {"type": "Sequence", "decoders": steps}


def _bos_first(bos: int, text: str) -> dict[str, Any]:
    first = {"SpecialToken": {"id": text, "type_id": 0}}
    single, pair = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
    return {
        "type": "TemplateProcessing",
        "single": [first, single],
        "pair": [first, single, pair],
        "special_tokens": {text: {"id": text, "ids": [bos], "tokens": [text]}},
    }


def _added(index: int, text: str) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": index, "content": text, **flags, "special": True}
