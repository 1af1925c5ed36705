"""Byte ranks (`*.tiktoken`) as a `tokenizer.json`: the same pieces, joined in the same order.

A file of ranks does not say how a text is split or which tokens are special: that goes with its name,
and with the class that a checkpoint names.
"""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.errors import Damaged, Unsupported
from edge.text.settings import Added

LIMIT = 16 << 20  # bytes of a file of ranks; the largest in use take about 4 MiB
_LONGEST = 512  # bytes of a token; the longest in use are runs of 128 blanks


@dataclass(frozen=True, slots=True)
class Rule:
    """What goes with a file's name: how a text is split, and tokens that the file does not have."""

    pattern: str
    special: Mapping[int, str]


_CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
RULES = {
    "cl100k_base": Rule(
        _CL100K,
        {
            100257: "<|endoftext|>",
            100258: "<|fim_prefix|>",
            100259: "<|fim_middle|>",
            100260: "<|fim_suffix|>",
            100276: "<|endofprompt|>",
        },
    )
}
# By the `tokenizer_class` of a checkpoint. Every row of Phi-3-small's embedding has a name.
_DUMMIES = (100264, 100265, 100256, *range(100267, 100276), *range(100277, 100352))
CLASSES: Mapping[str, Mapping[int, str]] = {
    "Phi3SmallTokenizer": {
        100261: "<|system|>",
        100262: "<|user|>",
        100263: "<|assistant|>",
        100266: "<|end|>",
        **{token: f"<|dummy_id_{index}|>" for index, token in enumerate(_DUMMIES)},
    }
}


def tokenizer_json(file: Path, added: tuple[Added, ...], kind: str | None) -> str:
    """The definition of a tokenizer. `added`: what the files beside it say; `kind`: its class."""
    rule = RULES.get(file.stem)
    if rule is None:
        raise Unsupported(
            f"{file} does not say how a text is split, and edge knows it only of {', '.join(RULES)}",
            fix="save a tokenizer.json with transformers' save_pretrained",
        )
    ranks = read(file)
    special = {**rule.special, **CLASSES.get(kind or "", {})}
    special |= {token.id: token.text for token in added}
    taken = special.keys() & set(ranks.values())
    if taken:
        raise Damaged(
            f"{file} and the added tokens both have the id {min(taken)}",
            fix="get the tokenizer files again, all from the same revision",
        )
    letters = byte_letters()
    vocab = {_spelled(token, letters): rank for token, rank in ranks.items()}
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [_entry(token, text) for token, text in sorted(special.items())],
            "normalizer": None,
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [
                    {
                        "type": "Split",
                        "pattern": {"Regex": rule.pattern},
                        "behavior": "Isolated",
                        "invert": False,
                    },
                    _byte_level(),
                ],
            },
            "post_processor": None,
            "decoder": _byte_level(),
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": True,  # a whole piece that is a token is that token
                # Special tokens stand here, too: elsewhere the library would number them itself.
                "vocab": vocab | {text: token for token, text in special.items()},
                "merges": [
                    [_spelled(left, letters), _spelled(right, letters)]
                    for left, right in merges(ranks)
                ],
            },
        }
    )


def read(file: Path) -> dict[bytes, int]:
    """Token -> rank, each of which appears once; every single byte is a token."""
    if file.stat().st_size > LIMIT:
        raise Damaged(f"{file} is larger than {LIMIT >> 20} MiB", fix="get the file again")
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        token, rank = _parsed(line, f"{file}, line {number}")
        if token in ranks:
            raise Damaged(f"{file}, line {number}: a token appears twice", fix="get the file again")
        ranks[token] = rank
    if len(set(ranks.values())) != len(ranks) or any(bytes([i]) not in ranks for i in range(256)):
        problem = f"{file}: a rank appears twice, or one of the 256 bytes is no token"
        raise Damaged(problem, fix="get the file again: it may be cut off")
    return ranks


def _parsed(line: bytes, where: str) -> tuple[bytes, int]:
    try:
        text, rank = line.split()
        token = base64.b64decode(text, validate=True)
        if not (0 < len(token) <= _LONGEST and rank.isdigit() and len(rank) < 9):
            raise ValueError
        return token, int(rank)
    except (ValueError, binascii.Error):
        problem = f"{where}: {line[:40]!r} is no token in base64 and its rank"
        raise Damaged(problem, fix="get the file again") from None


def merges(ranks: Mapping[bytes, int]) -> Iterator[tuple[bytes, bytes]]:
    """Pairs of tokens that join into a token, the lowest rank first: all pairs, for two neighbours are
    joined wherever the file has what they make, however they came about.
    """
    for token in sorted(ranks, key=ranks.__getitem__):
        for at in range(1, len(token)):
            if token[:at] in ranks and token[at:] in ranks:
                yield token[:at], token[at:]


def byte_letters() -> tuple[str, ...]:
    """The letter that stands for each byte in a byte-level vocabulary: itself where it is visible,
    else the next letter from U+0100 on.
    """
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in visible]
    return tuple(chr(b if b in visible else 256 + hidden.index(b)) for b in range(256))


def _spelled(token: bytes, letters: tuple[str, ...]) -> str:
    return "".join(letters[byte] for byte in token)


def _byte_level() -> dict[str, Any]:
    return {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": False,
    }


def _entry(token: int, text: str) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": token, "content": text, **flags, "special": True}
