"""Tokenizers that are not ours: made by a source's own library from the source's own files.

An oracle that shared the reader it checks would agree with its mistakes. So nothing here comes from
`edge.text.tokenizer` or from what that reads with: plain JSON, and the library.
"""

import base64
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import tokenizers

from edge.errors import Damaged, Unsupported
from edge.files.config import read_json
from edge.text import bounds
from edge.text.vocabulary import LIMIT

_NAMES = (
    "bos_token",
    "eos_token",
    "unk_token",
    "pad_token",
    "sep_token",
    "cls_token",
    "mask_token",
)
_BLANK = "\u2581"
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


class Judge(Protocol):
    """What the source's own library makes of a text."""

    @property
    def library(self) -> str: ...

    @property
    def special(self) -> Sequence[str]:
        """Texts of tokens that are found in a text before it is cut."""
        ...

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Ids; `special`: with BOS and EOS around them, as the source's settings say."""
        ...

    def decode(self, ids: Sequence[int]) -> str | None:
        """Text of ids, special tokens shown; None where the library shows some in a way of its own."""
        ...


@dataclass(frozen=True, slots=True)
class Said:
    """What the small files beside a vocabulary say, as they say it."""

    config: Mapping[str, Any]  # tokenizer_config.json
    names: Mapping[str, str]  # bos_token and the like: their texts
    added: Mapping[str, int]
    flags: Mapping[str, Mapping[str, bool]]  # of added tokens

    @classmethod
    def of(cls, folder: Path) -> "Said":
        config, special, plain = (
            _json(folder / f"{name}.json")
            for name in ("tokenizer_config", "special_tokens_map", "added_tokens")
        )
        with _well_formed(folder):
            entries = config.get("added_tokens_decoder") or {}
            ids = {entry["content"]: int(key) for key, entry in entries.items()}
            named = [(k, t[k]) for t in (special, config) for k in _NAMES if t.get(k) is not None]
            return cls(
                config=config,
                names={key: v["content"] if isinstance(v, dict) else v for key, v in named},
                added={**plain, **ids},
                flags={e["content"]: {f: bool(e.get(f)) for f in _FLAGS} for e in entries.values()},
            )

    def asks(self, key: str, default: bool = False) -> bool:
        """Whether a flag is set; one that is null says nothing."""
        value = self.config.get(key)
        return default if value is None else bool(value)

    @property
    def prefix(self) -> bool | None:
        """Whether a text gets a blank in front, if that is said, and the class listens to it."""
        listens = re.search("LlamaTokenizer(Fast)?$", str(self.config.get("tokenizer_class")))
        return self.config.get("add_prefix_space") if listens else None


def template(folder: Path) -> str | None:
    """The text of a source's chat template, as its file has it: of several the default."""
    file = folder / "chat_template.jinja"
    with _well_formed(folder):
        if file.is_file():
            return file.read_bytes().decode()
        found = _json(folder / "tokenizer_config.json").get("chat_template")
        if isinstance(found, list):
            named = {entry["name"]: entry["template"] for entry in found}
            return named.get("default", next(iter(named.values()), None))
        return found


@contextmanager
def _well_formed(folder: Path) -> Iterator[None]:
    """What has the wrong shape is one error."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise Damaged(
            f"the tokenizer's files in {folder} are no such files: {error!r:.200}",
            fix="get them again, all from the same revision",
        ) from None


@dataclass(frozen=True, slots=True)
class Definition:
    """`tokenizers` with a tokenizer.json."""

    made: tokenizers.Tokenizer
    around: tuple[tuple[int, ...], tuple[int, ...]]  # what the settings put around a text
    special: Sequence[str]
    library: str = "tokenizers"

    @classmethod
    def of(cls, file: Path, said: Said) -> "Definition":
        made = tokenizers.Tokenizer.from_file(str(file))
        bounds.check(made)
        if said.prefix is not None:
            _prefix(made, said.prefix)
        made.no_truncation()
        made.no_padding()
        plain = dict.fromkeys(_FLAGS, False) | {"special": True}
        for text, _ in sorted(said.added.items(), key=lambda item: item[1]):
            if text in said.flags or made.token_to_id(text) is None:
                made.add_tokens([tokenizers.AddedToken(text, **said.flags.get(text, plain))])
        added = made.get_added_tokens_decoder().values()
        return cls(made, _around(made, said), [entry.content for entry in added])

    def encode(self, text: str, *, special: bool) -> list[int]:
        lead, tail = self.around if special else ((), ())
        return [*lead, *bounds.encode(self.made, text, special=special), *tail]

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.made.decode(list(ids), skip_special_tokens=False))


def _prefix(made: tokenizers.Tokenizer, wanted: bool) -> None:
    """With or without a blank in front, as transformers builds Llama's class from the same pieces."""
    from tokenizers import decoders, normalizers

    first = made.encode("\n", add_special_tokens=False).tokens[0]
    if made.token_to_id("<0x0A>") is None or first.startswith(_BLANK) == wanted:
        return
    before = [normalizers.Prepend(_BLANK)] if wanted else []
    after = [decoders.Strip(" ", 1, 0)] if wanted else []
    made.normalizer = normalizers.Sequence([*before, normalizers.Replace(" ", _BLANK)])
    made.pre_tokenizer = None
    made.decoder = decoders.Sequence(
        [decoders.Replace(_BLANK, " "), decoders.ByteFallback(), decoders.Fuse(), *after]
    )


def _around(made: tokenizers.Tokenizer, said: Said) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """BOS and EOS that the settings ask for, and that the definition does not put there itself."""
    bare, whole = (bounds.encode(made, "a", special=special) for special in (False, True))
    ends = {"bos": whole[: len(bare)] == bare, "eos": whole[-len(bare) :] == bare}
    ids = {
        end: made.token_to_id(said.names.get(f"{end}_token", ""))
        for end, bare_there in ends.items()
        if bare_there and said.asks(f"add_{end}_token")
    }
    lead, tail = (tuple(i for i in (ids.get(end),) if i is not None) for end in ends)
    return lead, tail


@dataclass(frozen=True, slots=True)
class Model:
    """`sentencepiece` with a tokenizer.model. What stands between special tokens is a text of its own:
    the library knows none.
    """

    made: Any
    ids: Mapping[str, int]  # of special tokens
    flags: Mapping[str, Mapping[str, bool]]
    around: tuple[tuple[int, ...], tuple[int, ...]]
    library: str = "sentencepiece"

    @classmethod
    def of(cls, file: Path, said: Said) -> "Model":
        import sentencepiece

        # Of a field that comes twice the library takes the last: normalizer_spec.add_dummy_prefix.
        last = b"" if said.prefix is None else bytes((3 << 3 | 2, 2, 3 << 3, said.prefix))
        made = sentencepiece.SentencePieceProcessor(model_proto=file.read_bytes() + last)
        known = range(made.vocab_size())
        hidden = (i for i in known if made.is_control(i) or made.is_unknown(i))
        names = {made.id_to_piece(i): i for i in hidden}
        own = {text: i for text, i in names.items() if i not in said.added.values()}
        ends = {"bos": said.asks("add_bos_token", True), "eos": said.asks("add_eos_token")}
        ids = {"bos": made.bos_id(), "eos": made.eos_id()}
        lead, tail = ((ids[end],) if asked and ids[end] >= 0 else () for end, asked in ends.items())
        return cls(made, own | dict(said.added), said.flags, (lead, tail))

    @property
    def special(self) -> Sequence[str]:
        return list(self.ids)

    def encode(self, text: str, *, special: bool) -> list[int]:
        lead, tail = self.around if special else ((), ())
        return [*lead, *self._inside(text), *tail]

    def _inside(self, text: str) -> list[int]:
        longest = sorted(map(re.escape, self.ids), key=len, reverse=True)
        parts = re.split(f"({'|'.join(longest)})", text) if longest else [text]
        found: list[int] = []
        for at, part in enumerate(parts):
            if at % 2:
                found.append(self.ids[part])
            else:
                found += self.made.encode(self._stripped(part, parts[at - 1 : at], parts[at + 1 :]))
        return found

    def _stripped(self, part: str, before: Sequence[str], after: Sequence[str]) -> str:
        """Without the blanks that the tokens beside it swallow."""
        if before and self.flags.get(before[0], {}).get("rstrip"):
            part = part.lstrip()
        return part.rstrip() if after and self.flags.get(after[0], {}).get("lstrip") else part

    def decode(self, ids: Sequence[int]) -> str | None:
        own = {self.made.unk_id(), *self.ids.values()}
        return None if own.intersection(ids) else str(self.made.decode(list(ids)))


# How the files of this name split a text, in the words of those who use them with tiktoken, and the
# tokens that the classes of a checkpoint add to them.
_PATTERNS = {
    "cl100k_base": (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
        r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
    )
}
_BASE = {
    "<|endoftext|>": 100257, "<|fim_prefix|>": 100258, "<|fim_middle|>": 100259,
    "<|fim_suffix|>": 100260, "<|endofprompt|>": 100276,
}  # fmt: skip
_CLASSES = {
    "Phi3SmallTokenizer": {
        "<|system|>": 100261, "<|user|>": 100262, "<|assistant|>": 100263, "<|end|>": 100266,
        "<|dummy_id_0|>": 100264, "<|dummy_id_1|>": 100265, "<|dummy_id_2|>": 100256,
        **{f"<|dummy_id_{i}|>": 100264 + i for i in range(3, 12)},
        **{f"<|dummy_id_{i}|>": 100265 + i for i in range(12, 87)},
    }
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ranks:
    """`tiktoken` with a file of ranks."""

    made: Any
    special: Sequence[str]
    library: str = "tiktoken"

    @classmethod
    def of(cls, file: Path, said: Said) -> "Ranks":
        import tiktoken

        lines = (line.split() for line in file.read_bytes().splitlines())
        kind = said.config.get("tokenizer_class")
        special = {i: text for text, i in ({**_BASE, **_CLASSES.get(str(kind), {})}).items()}
        special |= {i: text for text, i in said.added.items()}
        made = tiktoken.Encoding(
            name=file.stem,
            pat_str=_PATTERNS[file.stem],
            mergeable_ranks={base64.b64decode(token): int(rank) for token, rank in lines},
            special_tokens={text: i for i, text in special.items()},
        )
        return cls(made, list(special.values()))

    def encode(
        self, text: str, *, special: bool
    ) -> list[int]:  # no class puts tokens around a text
        return list(self.made.encode(text, allowed_special="all"))

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.made.decode(list(ids)))


@dataclass(frozen=True, slots=True)
class Bench:
    """The judges that could be made, the authority's first, and why others could not."""

    judges: Sequence[tuple[Path, Judge]]
    absent: Mapping[str, str] = field(default_factory=dict)  # file -> reason


_KINDS: Mapping[str, tuple[str, Callable[[Path, Said], Judge]]] = {
    ".json": ("tokenizers", Definition.of),
    ".model": ("sentencepiece", Model.of),
    ".tiktoken": ("tiktoken", Ranks.of),
}


def of(files: Sequence[Path]) -> Bench:
    """Judges of a source's vocabularies, the authority first, which cannot be left out."""
    judges: list[tuple[Path, Judge]] = []
    absent: dict[str, str] = {}
    for file in files:
        try:
            judges.append((file, _judge(file)))
        except (Unsupported, Damaged) as error:
            if file == files[0]:
                raise
            absent[file.name] = f"{error}"
    return Bench(judges, absent)


def _judge(file: Path) -> Judge:
    library, made = _KINDS[file.suffix]
    if file.stat().st_size > LIMIT:
        raise Damaged(f"{file} is larger than {LIMIT >> 20} MiB", fix="get the file again")
    try:
        return made(file, Said.of(file.parent))
    except ModuleNotFoundError:
        raise Unsupported(
            f"{file} is judged by the package {library}, which is not installed: nothing is proved without it",
            fix=f"pip install 'edge-toolkit[{library}]'",
        ) from None
    except (Damaged, Unsupported, KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # whatever a library, or a panic inside it, says to a wrong file
        raise Damaged(
            f"{library} does not read {file}: {str(error)[:200]}", fix="get the file again"
        ) from None


def _json(file: Path) -> dict[str, Any]:
    return read_json(file) if file.is_file() else {}
