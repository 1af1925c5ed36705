"""What the files beside `tokenizer.json` say: special tokens, their flags, BOS and EOS, stop ids.

The files overlap and disagree in real checkpoints. What is set in `tokenizer_config.json` wins, as
it does in transformers.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edge.errors import Damaged
from edge.files.config import Config

_MOST = 1 << 24  # ids
NAMED = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")


@dataclass(frozen=True, kw_only=True, slots=True)
class Added:
    """A token outside the learned vocabulary. The strips swallow blanks beside it in the text."""

    id: int
    text: str
    special: bool = True
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False
    single_word: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The parts of a checkpoint's small files that concern text."""

    kind: str | None  # the name of the class that transformers would make
    named: Mapping[str, str]  # such as bos_token: its text
    add_bos: bool | None  # None: `tokenizer.json` decides
    add_eos: bool | None
    prefix: bool | None  # whether a text gets a blank in front; None: as its vocabulary says
    added: tuple[Added, ...]  # by id, with their flags
    plain: Mapping[str, int]  # text and id of added tokens whose flags no file gives
    eos_ids: frozenset[int]
    bos_id: int | None  # from the model's own configs; the tokenizer's bos_token comes first

    @classmethod
    def load(cls, folder: Path) -> "Settings":
        """Read what is there; every file is optional, and a broken one is an error."""
        tokenizer = _optional(folder / "tokenizer_config.json")
        special = _optional(folder / "special_tokens_map.json")
        models = [_optional(folder / f"{name}.json") for name in ("generation_config", "config")]
        plain = _optional(folder / "added_tokens.json")
        begin = (found for model in models for found in _ids(model, "bos_token_id"))
        kind = tokenizer.text("tokenizer_class") if tokenizer.has("tokenizer_class") else None
        # Other classes leave it to the vocabulary, or mean something else by it.
        own_prefix = (kind or "").removesuffix("Fast").endswith("LlamaTokenizer")
        return cls(
            kind=kind,
            named=dict(_named(special)) | dict(_named(tokenizer)),
            add_bos=_flag(tokenizer, "add_bos_token"),
            add_eos=_flag(tokenizer, "add_eos_token"),
            prefix=_flag(tokenizer, "add_prefix_space") if own_prefix else None,
            added=tuple(sorted(_added(tokenizer), key=lambda token: token.id)),
            plain={text: plain.integer(text, low=0) for text in plain.data},
            eos_ids=frozenset(found for model in models for found in _ids(model, "eos_token_id")),
            bos_id=next(begin, None),
        )


def _optional(file: Path) -> Config:
    return Config.load(file) if file.exists() else Config({}, file.name)


def _flag(config: Config, key: str) -> bool | None:
    return config.flag(key) if config.has(key) else None


def _named(config: Config) -> Iterator[tuple[str, str]]:
    """Special tokens are written as a text or as an object that holds one."""
    for key in NAMED:
        if isinstance(config.data.get(key), dict):
            table = config.table(key)
            assert table is not None
            yield key, table.text("content")
        elif config.has(key):
            yield key, config.text(key)


def _ids(config: Config, key: str) -> list[int]:
    value = config.data.get(key)
    values = value if isinstance(value, list) else [value]
    found = [item for item in values if item is not None]
    if any(isinstance(i, bool) or not isinstance(i, int) or i >= _MOST for i in found):
        raise Damaged(f"{config.where}: {key} is {value!r}, not token ids", fix="correct the field")
    return [item for item in found if item >= 0]  # -1 is how some configs write "none"


def _added(config: Config) -> Iterator[Added]:
    table = config.table("added_tokens_decoder")
    for key in table.data if table else ():
        entry = table.table(key) if table else None
        if entry is None or not (key.isascii() and key.isdigit() and len(key) < 9):
            raise Damaged(
                f"{config.where}: added_tokens_decoder[{key!r}] is not a token under its id",
                fix="get the file again",
            )
        yield Added(
            id=int(key),
            text=entry.text("content"),
            special=entry.flag("special", False),
            lstrip=entry.flag("lstrip", False),
            rstrip=entry.flag("rstrip", False),
            normalized=entry.flag("normalized", False),
            single_word=entry.flag("single_word", False),
        )
