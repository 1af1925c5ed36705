"""Tokenizers that ask for one rule each, over two small vocabularies, and what they make of hard texts.

Ids are those of Hugging Face's tokenizers, of which each file is read as it stands.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tokenizers

WORDS = (
    "the The was wasn't don't DON'T we've it's red kite blue drum had Marla Tomtin a an and in on of to is story time "
    "upon once ſa naïve größe 123 1234 3.14 ...) !! ?? // \n\n \r\n \t é 你好 世界 की हिन्दी"
)  # fmt: skip
TEXTS = (
    "", " ", "  ", "the red kite", " the red  kite", "Marla wasn't there.\n\nDon't! DON'T, we'VE it\u2019s i'ſ",
    "  two blanks\t\r\n\r\n  end  ", "123456 and 1,000.5 ½ Ⅷ ² ٣٤", "naïve größe e\u0301 ﬁ ǆ",
    "你好，世界 हिन्दी की", "🙂👩‍👩‍👧\u200b\ufeff",
    "a\u2028b\u3000c\xa0d\x85e\x1cf\u1680", "<s> a</s>  b<|r|>   x\n<|r|>", "a <|l|> b\u3000<|l|>",
    "Wort Worte_Wort Wort. éWort",
    "norm normal normalx  norm  norm x", "  <|both|> <|both|>\u3000 a<|both|><|l|>", "! ! !", "\n", " \n", "it'ſa",
    "▁x ▁▁the <0x41>", "\U0001d538x\x00y", "...)//!!??(a)[b]_c{a{xxx}}", "x" * 40 + "the" * 12,
)  # fmt: skip
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
GPT2 = BYTES | {"use_regex": True}
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")
GPT4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
POSSESSIVE = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]"
    r"|\s+(?!\S)|\s"
)
DEEPSEEK3 = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"""
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LINES = r"^.|.$|(?<=a)\S\S|\D"
BRACES = r"a{|x{2}|\{|}|[{}\]]+|]"
SCRIPTS = r"\p{Han}+|\P{L}+|[^\P{N}x]+|[&#~ ]|\x{74}\u0068"
BEHAVIORS = ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous")
PREPEND = {"type": "Prepend", "prepend": "▁"}
BLANKS = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}


def split(pattern: str, behavior: str = "Isolated", *, invert: bool = False) -> dict[str, Any]:
    cut = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert}
    return {"type": "Sequence", "pretokenizers": [cut, BYTES]}


def pre_tokenizers() -> Iterator[dict[str, Any]]:
    yield GPT2
    yield GPT2 | {"add_prefix_space": True}
    for digits in (False, True):
        one = {"type": "Digits", "individual_digits": digits}
        yield {"type": "Sequence", "pretokenizers": [one, GPT2]}
    for pattern in (LLAMA3, QWEN2, GPT4O, POSSESSIVE, DEEPSEEK3, LINES, BRACES, SCRIPTS):
        yield split(pattern)
    for behavior in BEHAVIORS:
        for invert in (False, True):
            yield split(r"\s|\p{N}", behavior, invert=invert)


def metaspaces() -> Iterator[dict[str, Any]]:
    for scheme in ("always", "first", "never"):
        for splits in (False, True):
            yield {
                "type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": splits,
            }  # fmt: skip


def vocabulary(first: list[str], words: list[str]) -> tuple[dict[str, int], list[str]]:
    """Pieces with ids, and merges that build each word from the left."""
    vocab = {piece: at for at, piece in enumerate(first)}
    merges: list[str] = []
    for word in words:
        for end in range(1, len(word)):
            merge = f"{word[:end]} {word[end]}"
            if merge not in merges:
                merges.append(merge)
                vocab.setdefault(word[: end + 1], len(vocab))
    return vocab, merges


def models() -> dict[str, dict[str, Any]]:
    table = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    words = [form for word in WORDS.split(" ") for form in (word, f" {word}") if word]
    bytes_ = vocabulary(sorted(table), [level.pre_tokenize_str(word)[0][0] for word in words])
    fallback = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    letters = sorted({letter for word in words for letter in word if letter != " "} | {"▁"})
    plain = vocabulary([*fallback, *letters], [word.replace(" ", "▁") for word in words])
    common = {"type": "BPE", "unk_token": None, "fuse_unk": False, "byte_fallback": False}
    return {
        "bytes": common | {"vocab": bytes_[0], "merges": bytes_[1]},
        "pieces": common
        | {"vocab": plain[0], "merges": plain[1], "unk_token": "<unk>", "byte_fallback": True},
    }


def added(first: int, **flags: dict[str, bool]) -> list[dict[str, Any]]:
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    named = {
        "<|l|>": {"lstrip": True},
        "<|r|>": {"rstrip": True, "special": True},
        "Wort": {"single_word": True, "normalized": True},
        "norm": {"lstrip": True, "rstrip": True, "normalized": True},
        "normal": {"single_word": True},
        "<|both|>": {"lstrip": True, "rstrip": True, "special": True},
    }
    return [
        {"id": first + at, "content": text, **plain, **set_}
        for at, (text, set_) in enumerate(named.items())
    ]


def tokenizers_of(sizes: dict[str, int]) -> Iterator[dict[str, Any]]:
    """Sections of a tokenizer.json, and the name of the model in it; `change`: fields of the model."""
    for pre in pre_tokenizers():
        yield {"model": "bytes", "pre_tokenizer": pre}
    for form in ("NFC", "NFKD"):
        yield {"model": "bytes", "normalizer": {"type": form}, "pre_tokenizer": split(QWEN2)}
    yield {
        "model": "bytes",
        "change": {"ignore_merges": True, "merges": []},
        "pre_tokenizer": split(LLAMA3),
        "added_tokens": added(sizes["bytes"]),
    }
    prepended = {"type": "Sequence", "normalizers": [PREPEND, BLANKS]}
    blank = {
        "type": "Split",
        "pattern": {"String": " "},
        "behavior": "MergedWithPrevious",
        "invert": False,
    }
    yield {"model": "pieces", "normalizer": BLANKS, "pre_tokenizer": blank}  # Gemma's
    for pre in metaspaces():
        yield {"model": "pieces", "pre_tokenizer": pre, "added_tokens": added(sizes["pieces"])}
    for normalizer in (prepended, BLANKS):
        yield {
            "model": "pieces", "normalizer": normalizer, "added_tokens": added(sizes["pieces"]),
        }  # fmt: skip
    for unknown, fuse in (("<unk>", True), ("<unk>", False), (None, False)):
        change = {"byte_fallback": False, "unk_token": unknown, "fuse_unk": fuse}
        yield {"model": "pieces", "normalizer": prepended, "change": change}


def whole(case: dict[str, Any], made: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "version": "1.0",
        "added_tokens": case.get("added_tokens", []),
        "normalizer": case.get("normalizer"),
        "pre_tokenizer": case.get("pre_tokenizer"),
        "post_processor": None,
        "decoder": BYTES if case["model"] == "bytes" else {"type": "Fuse"},
        "model": made[case["model"]] | case.get("change", {}),
    }


def rules() -> dict[str, Any]:
    made = models()
    cases = list(tokenizers_of({name: len(model["vocab"]) for name, model in made.items()}))
    for case in cases:
        library = tokenizers.Tokenizer.from_str(json.dumps(whole(case, made)))
        case["ids"] = [library.encode(text, add_special_tokens=False).ids for text in TEXTS]
    return {"models": made, "texts": TEXTS, "cases": cases}


def vocabularies() -> list[dict[str, Any]] | None:
    """Ids by the hash of a real tokenizer.json, which the project does not hold; None where they are not here."""
    here = Path(__file__).resolve().parents[2]
    assets = Path(os.environ.get("EDGE_ASSETS", here.parent / "shared" / "assets"))
    files = [
        *(f"tokenizers/{name}/tokenizer.json" for name in ("llama-2", "llama-3", "phi-3")),
        "llm/stories-260k/tokenizer.json",
    ]
    if not assets.is_dir():
        return None
    told = []
    for name in files:
        raw = (assets / name).read_bytes()
        library = tokenizers.Tokenizer.from_str(raw.decode())
        told.append(
            {
                "file": name,
                "sha256": hashlib.sha256(raw).hexdigest(),
                "ids": [library.encode(text, add_special_tokens=False).ids for text in TEXTS],
            }
        )
    return told
