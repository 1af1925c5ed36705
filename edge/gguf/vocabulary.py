"""A tokenizer's files as keys of a GGUF file, and what llama.cpp makes of a model's name."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edge.errors import Unsupported
from edge.gguf import tokens
from edge.gguf.keys import Keys, Typed, count, flag, text
from edge.text.chat import ChatTemplate
from edge.text.settings import Settings
from edge.text.tokenizer import Tokenizer

# Texts at which llama.cpp ends an answer by itself.
ENDS = (
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|eom_id|>",
    "</s>",
)
# A name that holds one of these words makes llama.cpp swallow blanks after special tokens; it then
# wants all of these tokens to be there.
_STRIPPING = ("phi-3", "phi3")
_STRIPPING_TOKENS = {"</s>", "<unk>", "<s>", "<|endoftext|>"}
_NAMED = {
    "bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "sep_token": "seperator",
    "pad_token": "padding", "cls_token": "cls", "mask_token": "mask",
}  # fmt: skip


def of_folder(folder: Path, rows: int, name: str) -> Keys:
    """The keys of a folder's tokenizer, for a model of this name with so many embedding rows."""
    if not (folder / "tokenizer.json").is_file():
        return {"tokenizer.ggml.model": text("none"), "general.name": text(_named(name, []))}
    settings, tokenizer = Settings.load(folder), Tokenizer.load(folder)
    definition = json.loads(tokenizer.definition())
    table = _table(folder, definition, settings, rows)
    _no_twins(table["tokenizer.ggml.tokens"], folder)
    ids = _ids(definition)
    keys = {**table, **_special(settings, ids), **_ends(tokenizer.stop_ids, settings, ids)}
    around = tokenizer.encode("", special=True)
    ends = len(around) > int(tokenizer.adds_bos) and around[-1] in tokenizer.stop_ids
    keys["tokenizer.ggml.add_bos_token"] = flag(tokenizer.adds_bos)
    keys["tokenizer.ggml.add_eos_token"] = flag(ends)
    keys["general.name"] = text(_named(name, definition["added_tokens"]))
    template = ChatTemplate.load(folder)
    if template is not None:
        keys["tokenizer.chat_template"] = text(template.source)
    return keys


def strips(name: str) -> bool:
    """Whether llama.cpp swallows blanks after special tokens of a model of this name."""
    return any(word in name.lower() for word in _STRIPPING)


def _named(name: str, added: Sequence[Mapping[str, Any]]) -> str:
    """A model's name, such that llama.cpp strips blanks after special tokens as the tokenizer does."""
    known = {entry["content"] for entry in added} >= _STRIPPING_TOKENS
    wanted = any(entry["rstrip"] and entry["special"] for entry in added)
    says = strips(name)
    if says and not known:  # it would refuse the file
        return re.sub("phi-?3", "phi 3", name, flags=re.IGNORECASE)
    return f"{name} ({_STRIPPING[0]})" if wanted and known and not says else name


def _table(folder: Path, definition: dict[str, Any], settings: Settings, rows: int) -> Keys:
    model = definition["model"]
    if model.get("type") == "BPE" and model.get("byte_fallback"):
        _same_blanks(folder, definition)
        asked = frozenset(token.id for token in settings.added) | set(settings.plain.values())
        return tokens.by_score(definition, folder / "tokenizer.model", asked, rows)
    if model.get("type") == "BPE" and "ByteLevel" in json.dumps(definition.get("decoder")):
        return tokens.by_merges(definition, rows)
    raise Unsupported(
        f"{folder}: llama.cpp has no tokenizer like this one, of the kind {model.get('type')!r:.40}",
        fix="convert to another target, or give --tokenizer the folder of a BPE tokenizer",
    )


def _same_blanks(folder: Path, definition: Mapping[str, Any]) -> None:
    """llama.cpp writes blanks as U+2581, puts one in front, and after each special token; no more."""
    apart = bool(definition["model"].get("ignore_merges"))  # symbols: llama.cpp's special tokens
    other = [step for step in _rules(definition) if not _plain(step, apart)]
    if other or (apart and tokens.prefixes(definition)):
        what = json.dumps(other[0])[:120] if other else "symbols between which no blank comes"
        raise Unsupported(
            f"{folder}: llama.cpp's tokenizer by scores has nothing like {what}",
            fix="convert to another target, such as onnx",
        )


def _rules(definition: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What is done to a text before it is cut, step by step."""
    for part in ("normalizer", "pre_tokenizer"):
        table = definition.get(part) or {}
        whole = table.get("type") == "Sequence"
        yield from (table.get(f"{part}s", table.get("pretokenizers", ())) if whole else [table])


def _plain(step: Mapping[str, Any], symbols: bool) -> bool:
    """Whether a step is one of llama.cpp's own, or changes nothing after those."""
    pattern = step.get("pattern") or {}
    return {
        None: True,
        "Prepend": step.get("prepend") == tokens.SPACE,
        "Replace": pattern.get("String") == " " and step.get("content") == tokens.SPACE,
        "Metaspace": step.get("replacement") == tokens.SPACE and not step.get("split", True),
        "Split": (symbols and "Regex" in pattern) or pattern.get("String") == " ",
    }.get(step.get("type"), False)


def _no_twins(table: Typed, folder: Path) -> None:
    """Two tokens of one text would end llama.cpp's process."""
    assert isinstance(table.value, list)
    seen: dict[object, int] = {}
    for index, word in enumerate(table.value):
        if seen.setdefault(word, index) != index:
            raise Unsupported(
                f"{folder}: tokens {seen[word]} and {index} are both {word!r:.60}, which llama.cpp cannot hold",
                fix="convert to another target, such as onnx",
            )


def _ids(definition: Mapping[str, Any]) -> dict[str, int]:
    """Every token's id, by its text."""
    added = {entry["content"]: entry["id"] for entry in definition["added_tokens"]}
    return {**definition["model"]["vocab"], **added}


def _special(settings: Settings, ids: Mapping[str, int]) -> dict[str, Typed]:
    """The ids of tokens that have a part: from their texts, else from the model's configs."""
    found = {_NAMED[role]: ids.get(word) for role, word in settings.named.items()}
    first = next(iter(sorted(settings.eos_ids)), None)
    configured = {"bos": settings.bos_id, "eos": first}
    found |= {part: value for part, value in configured.items() if found.get(part) is None}
    return {
        f"tokenizer.ggml.{part}_token_id": count(value)
        for part, value in found.items()
        if value is not None
    }


def _ends(stop: Iterable[int], settings: Settings, ids: Mapping[str, int]) -> dict[str, Typed]:
    """Further ids that end an answer and that llama.cpp does not know by their texts: it has room for
    two.
    """
    known = {ids.get(word) for word in (*ENDS, settings.named.get("eos_token", ""))}
    first = min(settings.eos_ids, default=None) if "eos_token" not in settings.named else None
    others = sorted(set(stop) - known - {first})
    roles = ("eot", "eom")
    return {
        f"tokenizer.ggml.{role}_token_id": count(token)
        for role, token in zip(roles, others, strict=False)
    }
