"""A file's own keys as the tokenizer and the chat template that edge runs with.

The way back of `edge.gguf.tokens`: what the keys say is put into the form of a tokenizer.json, so that
one tokenizer reads all. Which blanks a special token swallows, and what a missing key means, are rules
of llama.cpp's that no key holds. A kind of tokenizer, or a rule of splitting, that cannot be rebuilt
exactly is refused by its name.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from edge.errors import Damaged, Unsupported
from edge.gguf.reader import GGUFFile
from edge.gguf.tokens import FORMS, RULES
from edge.gguf.vocabulary import ENDS, strips
from edge.text import exact, scored
from edge.text.chat import LIMIT, ChatTemplate
from edge.text.pieces import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, Piece
from edge.text.settings import Added, Settings
from edge.text.tokenizer import Tokenizer

_AT = "tokenizer.ggml."
_SAME_RULE = {"llama3": "llama-bpe", "llama-v3": "llama-bpe"}  # older names
_SPLITS = {name: rule for rule, name in RULES.items()}
_LEADS = ("llama-bpe",)  # whose texts begin with BOS unless a key says otherwise
_ROLES = ("bos", "eos", "unknown", "padding")
_TOKENS = dict(zip(_ROLES, ("bos_token", "eos_token", "unk_token", "pad_token"), strict=True))
_ENDS = ("eos", "eot", "eom")
_KEPT_BLANKS = {"<unk>", "<s>", "<|endoftext|>"}  # by llama.cpp, where others swallow them


def read_text(file: GGUFFile) -> tuple[Tokenizer, ChatTemplate | None]:
    """The tokenizer and the template of a file."""
    pieces, kind = list(_pieces(file)), _word(file, "model")
    if kind == "llama":
        definition, leads = _by_score(file, pieces), True
    elif kind == "gpt2":
        definition, leads = _by_merges(file, pieces), _rule(file) in _LEADS
    else:
        raise Unsupported(
            f"{file.path} has a tokenizer of the kind {kind!r:.60}, which edge does not rebuild",
            fix="use a file whose tokenizer.ggml.model is llama or gpt2",
        )
    settings = _settings(file, pieces, leads=leads)
    tokenizer = Tokenizer.of(definition, settings, file.path)
    return tokenizer, _template(file, settings)


def _by_score(file: GGUFFile, pieces: list[Piece]) -> str:
    if exact.longest(pieces) > exact.LONGEST:
        raise _wrong(file, f"a token has more than {exact.LONGEST} letters")
    if sum(piece.kind == BYTE for piece in pieces) != 256:
        raise Unsupported(
            f"{file.path} has no token for each byte", fix="use a file with byte tokens"
        )
    if problem := exact.problem(pieces):
        raise Unsupported(
            f"{file.path} cannot be cut by merges as llama.cpp cuts it: {problem}",
            fix="use a file of the same model whose tokenizer.ggml.model is gpt2",
        )
    unknown = _ids(file, {"unknown": 0}, len(pieces)).get("unknown", 0)
    prefix = bool(file.get(_AT + "add_space_prefix", True))
    # User-defined tokens are found in a text before it is cut, so no merges make them.
    plain = [Piece(p.text, p.score, CONTROL if p.kind == USER_DEFINED else p.kind) for p in pieces]
    definition: dict[str, Any] = json.loads(
        scored.definition(plain, scored.Rules(unknown=unknown, prefix=prefix))
    )
    return json.dumps({**definition, "added_tokens": []})


def _by_merges(file: GGUFFile, pieces: list[Piece]) -> str:
    rule = _rule(file)
    (splits, whole), form = _SPLITS[rule], FORMS.get(rule)
    merges = file.get(_AT + "merges")
    if not isinstance(merges, list):
        raise _wrong(file, "its BPE tokenizer has no merges")
    return json.dumps(
        {
            "version": "1.0",
            "added_tokens": [],
            "normalizer": form and {"type": form},
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [_step(s) for s in splits]},
            "post_processor": None,
            "decoder": _bytes(use_regex=True),
            "model": {
                "type": "BPE",
                "ignore_merges": whole,
                "vocab": {piece.text: index for index, piece in enumerate(pieces)},
                "merges": [_merge(file, str(merge)) for merge in merges],
            },
        }
    )


def _rule(file: GGUFFile) -> str:
    """The rule of splitting, by llama.cpp's name of it."""
    said = _word(file, "pre") or "none"
    name = _SAME_RULE.get(said, said)
    if name not in _SPLITS:
        raise Unsupported(
            f"{file.path} splits texts by the rule {said!r:.60}, which edge does not rebuild",
            fix=f"use a file whose tokenizer.ggml.pre is one of: {', '.join(sorted(_SPLITS))}",
        )
    return name


def _step(step: str) -> dict[str, Any]:
    if step in ("bytes", "words of bytes"):
        return _bytes(use_regex=step != "bytes")
    if step == "single digits":
        return {"type": "Digits", "individual_digits": True}
    return {"type": "Split", "pattern": {"Regex": step}, "behavior": "Isolated", "invert": False}


def _bytes(*, use_regex: bool) -> dict[str, Any]:
    flags = {"add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}
    return {"type": "ByteLevel", **flags}


def _merge(file: GGUFFile, merge: str) -> list[str]:
    first, blank, second = merge[:1], merge[1:].partition(" ")[1], merge[1:].partition(" ")[2]
    if not blank or not second:
        raise _wrong(file, f"{merge!r:.60} is no merge of two pieces")
    return [first + merge[1:].partition(" ")[0], second]


def _pieces(file: GGUFFile) -> Iterator[Piece]:
    """The table of tokens, each with its score and its type."""
    texts = file.get(_AT + "tokens")
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise _wrong(file, "it has no table of tokens")
    scores = _numbers(file, "scores", len(texts), 0)
    kinds = _numbers(file, "token_type", len(texts), NORMAL)
    if len(set(texts)) != len(texts):
        raise _wrong(file, "two tokens are of one text")
    for text, score, kind in zip(texts, scores, kinds, strict=True):
        known = kind in (NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE)
        yield Piece(str(text), float(score), int(kind) if known else UNUSED)


def _numbers(file: GGUFFile, key: str, count: int, default: int) -> list[float]:
    values = file.get(_AT + key, [default] * count)
    if not isinstance(values, list) or len(values) != count:
        raise _wrong(file, f"{_AT}{key} has not one value a token")
    if not all(isinstance(value, int | float) and value == value for value in values):
        raise _wrong(file, f"{_AT}{key} holds what is no number")
    return [float(value) for value in values]


def _settings(file: GGUFFile, pieces: list[Piece], *, leads: bool) -> Settings:
    """What files beside a tokenizer.json would say; `leads`: whether BOS does if no key says so."""
    by_score = _word(file, "model") == "llama"
    defaults = {"bos": 1, "eos": 2, "unknown": 0} if by_score else {}
    ids = _ids(file, defaults, len(pieces))
    by_text = {index for index, piece in enumerate(pieces) if piece.text in ENDS}
    add_bos = file.get(_AT + "add_bos_token", leads)
    if add_bos and "bos" not in ids:
        raise _wrong(file, "texts begin with BOS, and no key says which token that is")
    return Settings(
        kind=None,
        named={_TOKENS[role]: pieces[ids[role]].text for role in _ROLES if role in ids},
        add_bos=bool(add_bos),
        add_eos=bool(file.get(_AT + "add_eos_token", False)),
        prefix=None,
        added=tuple(_added(pieces, swallow=strips(str(file.get("general.name", ""))))),
        plain={},
        eos_ids=frozenset(ids[role] for role in _ENDS if role in ids) | by_text,
        bos_id=ids.get("bos"),
    )


def _ids(file: GGUFFile, defaults: Mapping[str, int], count: int) -> dict[str, int]:
    """Tokens that have a part, by it; a number that is no token's is none."""
    found = {}
    for role in (*_ROLES, *_ENDS):
        value = file.get(f"{_AT}{role}_token_id", defaults.get(role))
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < count:
            found[role] = value
    return found


def _added(pieces: list[Piece], *, swallow: bool) -> Iterator[Added]:
    """Tokens that are found in a text before it is cut."""
    for index, piece in enumerate(pieces):
        if piece.kind in (CONTROL, UNKNOWN, USER_DEFINED):
            yield Added(
                id=index,
                text=piece.text,
                special=piece.kind != USER_DEFINED,
                rstrip=swallow and piece.text not in _KEPT_BLANKS,
            )


def _template(file: GGUFFile, settings: Settings) -> ChatTemplate | None:
    source = file.get("tokenizer.chat_template")
    if source is None:
        return None
    if not isinstance(source, str) or len(source.encode()) > LIMIT:
        raise _wrong(file, f"its chat template is no text of at most {LIMIT >> 10} KiB")
    return ChatTemplate(source, settings.named)


def _word(file: GGUFFile, key: str) -> str:
    value = file.get(_AT + key, "")
    return value if isinstance(value, str) else ""


def _wrong(file: GGUFFile, what: str) -> Damaged:
    return Damaged(f"{file.path}: {what}", fix="get the file again, or another one")
