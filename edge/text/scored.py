"""SentencePiece pieces with scores as a `tokenizer.json`: the same pieces, merges by score."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge.text.pieces import CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, Piece

SPACE = "\u2581"  # stands for a blank inside pieces
_ALL = 1 << 16
_BYTE = r"\A<(?=0x[0-9A-F]{2}>\z)"  # what begins the name of a byte's piece, alone in a text


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """How a text is cut, beside its pieces."""

    unknown: int
    prefix: bool  # a text gets a blank in front
    bos: int | None = None  # what the post-processor puts before that
    squeezes: bool = False  # blanks at the ends go, and of several in a row one is left
    by_bytes: bool = True  # a letter that no piece has is cut into its bytes
    joins: bool = True  # or letters stay apart


def definition(pieces: Sequence[Piece], rules: Rules) -> str:
    """The definition of a tokenizer."""
    taken: dict[str, int] = {}
    for index, piece in enumerate(pieces):
        # A piece that is never used, or that another has taken, keeps its id under a name no text has.
        hidden = piece.text in taken or piece.kind == UNUSED
        taken[f"\u2581[UNUSED {index}]" if hidden else piece.text] = index
    special = [(i, p.text) for i, p in enumerate(pieces) if p.kind in (CONTROL, UNKNOWN)]
    normal = {
        text: pieces[index].score for text, index in taken.items() if pieces[index].kind == NORMAL
    }
    symbols = symbols_of(pieces)
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [_added(index, text) for index, text in special],
            "normalizer": _normalizer(rules),
            "pre_tokenizer": _apart(symbols, rules) if symbols else None,
            "post_processor": None if rules.bos is None else _first(rules.bos, pieces),
            "decoder": _decoder(rules),
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": pieces[rules.unknown].text,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": True,
                "byte_fallback": rules.by_bytes,
                "ignore_merges": bool(symbols),  # a symbol is a token, and no merges make it
                "vocab": taken,
                "merges": [list(pair) for pair in _merges(normal)] if rules.joins else [],
            },
        }
    )


def prefixed(definition: str, wanted: bool) -> str:
    """A tokenizer.json with or without the blank in front of a text, where the settings beside it
    contradict it: Llama's class is then built anew from the vocabulary.
    """
    try:
        table = json.loads(definition)
        said = json.dumps([table.get("normalizer"), table.get("pre_tokenizer")])
        by_score = table["model"]["type"] == "BPE" and table["model"].get("byte_fallback")
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return definition  # what is wrong with it, its library says
    says = re.search(r'"Prepend"|"prepend_scheme": "(first|always)"', said) is not None
    if not by_score or says == wanted:
        return definition
    rules = Rules(unknown=0, prefix=wanted)
    own = {"normalizer": _normalizer(rules), "pre_tokenizer": None, "decoder": _decoder(rules)}
    return json.dumps({**table, **own})


def symbols_of(pieces: Sequence[Piece]) -> list[str]:
    """Pieces that are found in a text before it is cut, the longest first. One of a single letter is
    found by itself, for no merge has it.
    """
    found = (piece.text for piece in pieces if piece.kind == USER_DEFINED)
    return sorted((text for text in found if len(text) > 1), key=len, reverse=True)


def _merges(scores: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """Pairs that join into a piece, the likeliest piece first, as SentencePiece joins them."""
    for piece in sorted(scores, key=lambda piece: -scores[piece]):
        for at in range(1, len(piece)):
            if piece[:at] in scores and piece[at:] in scores:
                yield piece[:at], piece[at:]


def _normalizer(rules: Rules) -> dict[str, Any]:
    around = [_replace({"Regex": r"\A +"}, ""), _replace({"Regex": " +"}, SPACE)]
    steps = around if rules.squeezes else []
    steps += [{"type": "Prepend", "prepend": SPACE}] if rules.prefix else []
    steps += [_replace({"Regex": SPACE + r"+\z"}, "")] if rules.squeezes else []
    steps += [] if rules.squeezes else [_replace({"String": " "}, SPACE)]
    return {"type": "Sequence", "normalizers": steps}


def _replace(pattern: Mapping[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": dict(pattern), "content": content}


def _apart(symbols: Sequence[str], rules: Rules) -> dict[str, Any]:
    """Symbols stand apart; so does the head of a text that is written like a byte's piece."""
    patterns = ["|".join(map(_escaped, symbols)), *([_BYTE] if rules.by_bytes else [])]
    steps = [
        {"type": "Split", "pattern": {"Regex": one}, "behavior": "Isolated", "invert": False}
        for one in patterns
    ]
    return {"type": "Sequence", "pretokenizers": steps}


def _escaped(text: str) -> str:
    return re.sub(r"[\\.*+?^$|(){}\[\]#\s-]", lambda found: f"\\x{{{ord(found[0]):x}}}", text)


def _decoder(rules: Rules) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [
        _replace({"String": SPACE}, " "),
        *([{"type": "ByteFallback"}] if rules.by_bytes else []),
        {"type": "Fuse"},
    ]
    # Where blanks are squeezed, each piece at the start of an answer loses its own.
    start = _ALL if rules.squeezes else int(rules.prefix)
    if start:
        steps.append({"type": "Strip", "content": " ", "start": start, "stop": 0})
    return {"type": "Sequence", "decoders": steps}


def _first(bos: int, pieces: Sequence[Piece]) -> dict[str, Any]:
    text = pieces[bos].text
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
