"""Text into token ids and back, exactly as the checkpoint's own files say.

`tokenizer.json` is the authority on splitting; the files beside it correct its added tokens and say
whether a text starts with BOS. So the blank that SentencePiece puts before a text is put after an
added token, too, if `tokenizer.json` says so, which is how llama.cpp and MLX serve Phi-3.
transformers 5 builds its `LlamaTokenizer` anew instead and, with `legacy: false`, leaves it out.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import tokenizers

from edge.errors import Damaged, EdgeError
from edge.system.memory import give_back
from edge.text import bounds
from edge.text.settings import Added, Settings
from edge.text.stream import Stream, pieces_of
from edge.text.vocabulary import definition_of

# What chat templates close a turn with. Where such a token exists, generating it ends the answer.
END_OF_TURN = (
    "<|end|>", "<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<end_of_turn>", "<|endoftext|>"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """A vocabulary with its rules. `load` makes one."""

    vocab_size: int  # the highest id + 1
    bos_id: int | None
    stop_ids: frozenset[int]  # generating any of these ends the answer
    adds_bos: bool  # whether a text encoded with special=True starts with BOS
    prefix_id: (
        int | None
    )  # what the first token of a text is judged after: its files' BOS, or else EOS
    _library: tokenizers.Tokenizer
    _lead: tuple[int, ...]
    _tail: tuple[int, ...]
    _hidden: frozenset[int]

    @classmethod
    def load(cls, folder: Path) -> "Tokenizer":
        """Read the tokenizer of a checkpoint or artifact folder."""
        settings = Settings.load(folder)
        return cls.of(definition_of(folder, settings), settings, folder / "tokenizer.json")

    @classmethod
    def of(cls, definition: str, settings: Settings, file: Path) -> "Tokenizer":
        """What a tokenizer.json and the settings beside it say; `file`: where they came from."""
        library = _read(definition, file)
        _add(library, settings, file)
        added = library.get_added_tokens_decoder()
        named, eos = (_id_of(library, settings.named.get(f"{end}os_token")) for end in "be")
        bos = settings.bos_id if named is None else named
        lead, tail = _around(library, settings, bos)
        bos = lead[0] if bos is None and len(lead) == 1 else bos
        made = cls(
            vocab_size=1 + max(library.get_vocab(with_added_tokens=True).values(), default=-1),
            bos_id=bos,
            stop_ids=_stop_ids(library, settings),
            adds_bos=bos is not None and lead[:1] == (bos,),
            prefix_id=next((token for token in (named, eos, bos) if token is not None), None),
            _library=library,
            _lead=lead,
            _tail=tail,
            _hidden=frozenset(token for token, entry in added.items() if entry.special),
        )
        give_back()  # what reading it took: several times what it keeps
        return made

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Ids of a text; `special` puts BOS (and EOS) around it as the checkpoint asks."""
        ids = self._encoded(text).ids
        return [*self._lead, *ids, *self._tail] if special else ids

    def places(self, text: str) -> list[tuple[int, tuple[int, int]]]:
        """Ids of a text, without BOS, each with the characters that it stands for: from where to where."""
        found = self._encoded(text)
        return list(zip(found.ids, found.offsets, strict=True))

    def _encoded(self, text: str) -> tokenizers.Encoding:
        try:
            return bounds.encoded(self._library, text, special=False)
        except (UnicodeError, TypeError):
            raise EdgeError(
                "the text is not valid Unicode: it holds half of a surrogate pair",
                fix="pass text that is encoded as UTF-8",
            ) from None

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """Text of ids. Bytes that are no UTF-8 become U+FFFD; unknown ids give nothing."""
        text: str = self._library.decode(list(ids), skip_special_tokens=skip_special)
        return text

    def stream(self, *, skip_special: bool = True, inside: bool = False) -> Stream:
        """Decode token by token; the pieces put together are `decode` of all the ids.

        `inside`: the ids go on in a text, so that a blank before their first word is part of it.
        """
        decoder = (
            json.loads(self._library.decoder.__getstate__()) if self._library.decoder else None
        )
        return Stream(partial(self._piece, skip_special), pieces_of(decoder, inside=inside)())

    def id_of(self, token: str) -> int | None:
        """The id of a whole token, special or not; None if there is none."""
        return _id_of(self._library, token)

    def is_special(self, token: int) -> bool:
        """Whether an id is no text of its own: what `skip_special` leaves out."""
        return token in self._hidden

    def definition(self) -> str:
        """The whole tokenizer as a tokenizer.json, added tokens and their flags included."""
        text: str = self._library.to_str()
        return text

    def check(self, rows: int) -> None:
        """Refuse a vocabulary with ids that a model of `rows` embedding rows does not have."""
        if self.vocab_size > rows:
            last = self._library.id_to_token(self.vocab_size - 1)
            raise EdgeError(
                f"the tokenizer has ids up to {self.vocab_size - 1} ({last!r}), "
                f"but the model has {rows} embedding rows",
                fix="use the tokenizer files that were published with the model",
            )

    def _piece(self, skip_special: bool, token: int) -> str | None:
        if skip_special and token in self._hidden:
            return None
        piece: str | None = self._library.id_to_token(token)
        return piece


def _read(definition: str, file: Path) -> tokenizers.Tokenizer:
    try:
        library = tokenizers.Tokenizer.from_str(definition)
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # a panic inside the library is no Exception
        raise Damaged(
            f"{file} is not a tokenizer: {str(error)[:200]}",
            fix="get the file again: it may be cut off",
        ) from None
    bounds.check(library)
    # Files saved during training may cut or pad every text that they encode.
    library.no_truncation()
    library.no_padding()
    return library


def _add(library: tokenizers.Tokenizer, settings: Settings, file: Path) -> None:
    """Give the library the added tokens and flags that the files beside tokenizer.json have."""
    known = {token.text for token in settings.added}
    plain = [
        Added(id=token, text=text)
        for text, token in sorted(settings.plain.items(), key=lambda item: item[1])
        if text not in known and library.token_to_id(text) is None
    ]
    library.add_tokens([_entry(token) for token in (*settings.added, *plain)])
    asked = {token.text: token.id for token in settings.added} | dict(settings.plain)
    for text, token in asked.items():
        if library.token_to_id(text) != token:
            raise Damaged(
                f"{file.parent}: {text!r} is {token} among the added tokens, "
                f"but {library.token_to_id(text)} in {file.name}",
                fix="get the tokenizer files again, all from the same revision",
            )


def _entry(token: Added) -> tokenizers.AddedToken:
    return tokenizers.AddedToken(
        token.text,
        single_word=token.single_word,
        lstrip=token.lstrip,
        rstrip=token.rstrip,
        normalized=token.normalized,
        special=token.special,
    )


def _id_of(library: tokenizers.Tokenizer, text: str | None) -> int | None:
    found: int | None = None if text is None else library.token_to_id(text)
    return found


def _around(
    library: tokenizers.Tokenizer, settings: Settings, bos: int | None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Ids before and after a text: the post-processor's, or else those that the settings ask for.

    Where the post-processor adds BOS and add_bos_token is false, transformers 5 adds it: so do we.
    """
    lead, tail = _post_processor(library)
    eos = _id_of(library, settings.named.get("eos_token"))
    if settings.add_bos and bos is not None:
        lead = lead or (bos,)
    if settings.add_eos and eos is not None:
        tail = tail or (eos,)
    return lead, tail


def _post_processor(library: tokenizers.Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What the library itself puts around a text, seen on one that has a token of its own."""
    inside = bounds.encode(library, "a", special=False)
    whole = bounds.encode(library, "a", special=True)
    extra = len(whole) - len(inside)
    start = next((i for i in range(extra + 1) if whole[i : i + len(inside)] == inside), 0)
    return tuple(whole[:start]), tuple(whole[start + len(inside) :])


def _stop_ids(library: tokenizers.Tokenizer, settings: Settings) -> frozenset[int]:
    eos = _id_of(library, settings.named.get("eos_token"))
    added = {entry.content: token for token, entry in library.get_added_tokens_decoder().items()}
    turns = {added[text] for text in END_OF_TURN if text in added}
    return settings.eos_ids | turns | ({eos} if eos is not None else set())
