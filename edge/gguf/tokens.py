"""A tokenizer.json as the table of tokens that llama.cpp reads.

llama.cpp has tokenizers of its own. `llama` joins SentencePiece pieces by their scores, in whichever
way makes a piece; `gpt2` is byte-level BPE, whose rule of splitting a file names. Here that name is
found from the rule itself, and one that llama.cpp has no name for is refused.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge.errors import Unsupported
from edge.gguf.keys import Keys, Typed, flag, text
from edge.gguf.kinds import FLOAT32, INT32, STRING
from edge.text import pieces
from edge.text.pieces import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED

SPACE = "\u2581"  # stands for a blank inside pieces
_LETTERS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# Steps before bytes are joined, and whether a piece that is a token needs no merges -> the name.
RULES: Mapping[tuple[tuple[str, ...], bool], str] = {
    ((_LETTERS + r"\p{N}{1,3}" + _REST, "bytes"), True): "llama-bpe",
    ((_LETTERS + r"\p{N}{1,3}" + _REST, "bytes"), False): "smaug-bpe",
    ((_LETTERS + r"\p{N}" + _REST, "bytes"), False): "qwen2",
    (("words of bytes",), False): "gpt-2",
    (("single digits", "words of bytes"), False): "smollm",
}
# The form that the tokenizers of models with such a rule put a text into. llama.cpp does not: of a text
# in another form it makes other ids. No key says it, so the name of the rule stands for it.
FORMS: Mapping[str, str] = {"qwen2": "NFC"}
_PADDING_SCORE, _ADDED_SCORE = -10000.0, -1000.0
_NUL = (
    "\U0001f409"  # for a piece that is one zero byte, which llama.cpp cannot hold: its own choice
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """One row of the vocabulary."""

    text: str
    kind: int = NORMAL
    score: float = 0.0


def by_score(definition: Mapping[str, Any], model: Path, asked: frozenset[int], rows: int) -> Keys:
    """SentencePiece: pieces and scores of a `tokenizer.model` if it is there, else from merges.

    `asked`: ids of tokens that the small files beside it change.
    """
    tokens = [Token(text=f"[PAD{i}]", kind=UNUSED, score=_PADDING_SCORE) for i in range(rows)]
    found = _pieces(model) if model.is_file() else _ranked(definition["model"])
    for index, token in found:
        if index < rows:
            tokens[index] = token
    for entry in definition["added_tokens"]:
        if entry["id"] < rows:
            tokens[entry["id"]] = _changed(tokens[entry["id"]], entry, entry["id"] in asked)
    return {
        "tokenizer.ggml.model": text("llama"),
        "tokenizer.ggml.pre": text("default"),
        "tokenizer.ggml.tokens": Typed(STRING, [token.text for token in tokens]),
        "tokenizer.ggml.scores": Typed(FLOAT32, [token.score for token in tokens]),
        "tokenizer.ggml.token_type": Typed(INT32, [token.kind for token in tokens]),
        "tokenizer.ggml.add_space_prefix": flag(prefixes(definition)),
    }


def by_merges(definition: Mapping[str, Any], rows: int) -> Keys:
    """Byte-level BPE."""
    model = definition["model"]
    tokens = [Token(text=f"[PAD{i}]", kind=UNUSED) for i in range(rows)]
    for piece, index in model["vocab"].items():
        tokens[index] = Token(text=piece)
    for entry in definition["added_tokens"]:
        tokens[entry["id"]] = replace(_added(entry), score=0.0)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    return {
        "tokenizer.ggml.model": text("gpt2"),
        "tokenizer.ggml.pre": text(rule(definition)),
        "tokenizer.ggml.tokens": Typed(STRING, [token.text for token in tokens]),
        "tokenizer.ggml.token_type": Typed(INT32, [token.kind for token in tokens]),
        "tokenizer.ggml.merges": Typed(STRING, merges),
    }


def rule(definition: Mapping[str, Any]) -> str:
    """llama.cpp's name for how a tokenizer splits a text."""
    steps = tuple(_steps(definition.get("pre_tokenizer") or {}))
    whole = bool(definition["model"].get("ignore_merges"))
    if (steps, whole) not in RULES:
        raise Unsupported(
            f"llama.cpp has no pre-tokenizer that splits a text like this one: {str(steps)[:300]}",
            fix=f"convert to another target; known are {', '.join(sorted(set(RULES.values())))}",
        )
    name, form = RULES[steps, whole], definition.get("normalizer")
    if form and form != {"type": FORMS.get(name)}:
        raise Unsupported(
            f"llama.cpp's pre-tokenizer {name} knows nothing of the normalizer {json.dumps(form)[:200]}",
            fix=f"convert to another target; known are {', '.join(f'{v} of {k}' for k, v in FORMS.items())}",
        )
    return name


def _steps(table: Mapping[str, Any]) -> Iterator[str]:
    """Each step of a pre-tokenizer, in a word or as its regular expression."""
    kind = table.get("type")
    if kind == "Sequence":
        for part in table["pretokenizers"]:
            yield from _steps(part)
    elif kind == "ByteLevel" and not table.get("add_prefix_space"):
        yield "words of bytes" if table.get("use_regex", True) else "bytes"
    elif kind == "Digits" and table.get("individual_digits"):
        yield "single digits"
    elif kind == "Split" and table.get("behavior") == "Isolated" and not table.get("invert"):
        yield str(table.get("pattern", {}).get("Regex"))
    else:
        yield json.dumps(table)


def _pieces(file: Path) -> Iterator[tuple[int, Token]]:
    for index, piece in enumerate(pieces.read(file).pieces):
        unused = piece.text == "\0" or piece.text.startswith("[UNUSED")
        word = _NUL if piece.text == "\0" else piece.text
        yield index, Token(text=word, kind=UNUSED if unused else piece.kind, score=piece.score)


def _ranked(model: Mapping[str, Any]) -> Iterator[tuple[int, Token]]:
    """The earlier a merge makes a piece, the higher its score."""
    rank: dict[str, int] = {}
    for i, merge in enumerate(model["merges"]):
        rank.setdefault("".join(merge.split(" ") if isinstance(merge, str) else merge), i)
    for piece, index in model["vocab"].items():
        is_byte = re.fullmatch("<0x[0-9A-F]{2}>", piece) is not None
        kind = BYTE if is_byte else UNKNOWN if piece == model["unk_token"] else NORMAL
        yield index, Token(text=piece, kind=kind, score=-float(rank.get(piece, 0)))


def _changed(token: Token, entry: Mapping[str, Any], asked: bool) -> Token:
    """A row under what the files say of an added token; a piece that none changes keeps its score."""
    if asked or token.score == _PADDING_SCORE:
        return _added(entry)
    learned = token.kind == NORMAL and entry["special"]
    return replace(token, kind=CONTROL) if learned else token


def _added(entry: Mapping[str, Any]) -> Token:
    word: str = entry["content"]
    if entry["special"] or re.fullmatch(r"<\|.*\|>", word, re.DOTALL):
        return Token(text=word, kind=CONTROL, score=_ADDED_SCORE)
    return Token(text=word.replace(SPACE, " "), kind=USER_DEFINED, score=_ADDED_SCORE)


def prefixes(definition: Mapping[str, Any]) -> bool:
    """Whether a text gets a blank in front."""
    said = json.dumps([definition.get("normalizer"), definition.get("pre_tokenizer")])
    return '"Prepend"' in said or re.search(r'"prepend_scheme": "(first|always)"', said) is not None
