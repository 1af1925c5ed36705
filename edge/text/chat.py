"""A conversation as the text, and as the tokens, that a model was trained on."""

import secrets
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeGuard

from edge.errors import Damaged, EdgeError
from edge.files.config import Config, read_json
from edge.system.confined import Limits, ask
from edge.text.rendering import SCRIPT, answered, compiled, failed
from edge.text.settings import Settings
from edge.text.tokenizer import Tokenizer

LIMIT = 256 << 10  # bytes of a template; the longest in use take about 20 KiB
SECONDS = 2  # of processor time to compile one, and to render it, which take milliseconds
PATIENCE = 8.0  # seconds by the clock: a busy machine is no hostile template
MEGABYTES = 512
CHARACTERS = 1 << 20  # of output, beside the conversations themselves
TOGETHER = 64  # conversations that share this room
_OTHER_FILE = "use a template of the model's publisher, or run with --raw"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn: who speaks (system, user, assistant, ...) and what is said."""

    role: str
    content: str


class Template(Protocol):
    """Conversations as one text."""

    def render(self, messages: Sequence[Message], *, generate: bool) -> str: ...

    def get_ready(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation as text; `told`: from where to where lies what a template marks as what a model is trained
    on, by `{% generation %}`.
    """

    text: str
    told: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """A checkpoint's Jinja template and the texts that it may refer to, such as bos_token."""

    source: str
    tokens: Mapping[str, str]

    @classmethod
    def load(cls, folder: Path) -> "ChatTemplate | None":
        """The template of a checkpoint folder; None where it has none, as base models do."""
        source = _source(folder)
        if source is None:
            return None
        if len(source.encode()) > LIMIT:
            raise Damaged(
                f"the chat template of {folder} is larger than {LIMIT >> 10} KiB", fix=_OTHER_FILE
            )
        return cls(source, Settings.load(folder).named)

    def render(self, messages: Sequence[Message], *, generate: bool) -> str:
        """The conversation as text; `generate` ends it where the assistant's next turn begins.

        A message that the template would leave out without a word is an error, as is a template
        that fails, or that takes more time, memory or text than any honest one.
        """
        marks = marked(messages)
        chats = [messages] if marks is None else [messages, marks]
        texts = [one.text for one in self.rendered(chats, generate=generate)]
        if marks is not None:
            refuse_left_out(messages, marks, texts[1])
        return texts[0]

    def get_ready(self) -> None:
        """Begin a first turn of nothing, so that what it has to start is there for the next one."""

        def first() -> None:
            with suppress(Exception):  # which the next one will say
                self.render([Message("user", "")], generate=True)

        threading.Thread(target=first, daemon=True).start()

    def rendered(self, chats: Sequence[Sequence[Message]], *, generate: bool) -> list[Rendered]:
        """Several conversations at once, with limits for all together; what is left out is not looked for."""
        said = sum(len(message.content) for chat in chats for message in chat)
        characters = CHARACTERS * -(-len(chats) // TOGETHER) + 4 * said
        limits = Limits(
            seconds=SECONDS,
            patience=PATIENCE,
            megabytes=MEGABYTES + (said * 32 >> 26 << 6),  # seldom another
            answer=12 * characters + 4096 * len(chats),  # JSON takes 12 bytes for some characters
        )
        request = {
            "chats": [[{"role": m.role, "content": m.content} for m in chat] for chat in chats],
            "variables": {
                **self.tokens, "add_generation_prompt": generate, "tools": None, "documents": None,
            },
            "characters": characters,
        }  # fmt: skip
        code = compiled(self.source, SECONDS, PATIENCE, MEGABYTES)
        answer = ask(SCRIPT, request, limits, stands=code)
        texts, told = answered(answer, "texts"), answered(answer, "told")
        if not _as_many(texts, chats) or not _as_many(told, chats):
            raise failed("it gave no answer")
        pairs = zip(texts, told, strict=True)
        return [Rendered(str(text), _spans(text, spans)) for text, spans in pairs]


def _as_many(answers: object, chats: Sequence[object]) -> TypeGuard[list[Any]]:
    return isinstance(answers, list) and len(answers) == len(chats)


def _spans(text: object, spans: object) -> tuple[tuple[int, int], ...]:
    """Places in a text, as a process says that may not be trusted."""
    try:
        found = tuple((int(start), int(stop)) for start, stop in spans)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise failed("it gave no answer") from None
    return tuple((max(0, start), stop) for start, stop in found if start < stop <= len(str(text)))


def marked(messages: Sequence[Message]) -> list[Message] | None:
    """The same with a mark in the place of each message that an old template might not know how to show; None where
    there is none.
    """
    rare = [m.role not in ("user", "assistant") and bool(m.content.strip()) for m in messages]
    if not any(rare):
        return None
    return [
        replace(message, content="mark" + secrets.token_hex(8)) if is_rare else message
        for message, is_rare in zip(messages, rare, strict=True)
    ]


def refuse_left_out(messages: Sequence[Message], marks: Sequence[Message], text: str) -> None:
    """Of a conversation with marks, as a text."""
    for message, mark in zip(messages, marks, strict=True):
        if message != mark and mark.content not in text:
            raise EdgeError(
                f"this model's chat template leaves out messages of the role {message.role!r}",
                fix=f"put the text of the {message.role} message into the first user message",
            )


def encode_chat(
    tokenizer: Tokenizer,
    template: Template,
    messages: Sequence[Message],
    *,
    generate: bool = True,
) -> list[int]:
    """Ids of a conversation, with one BOS where the checkpoint wants one: never two, never none."""
    ids = tokenizer.encode(template.render(messages, generate=generate), special=False)
    bos = tokenizer.bos_id
    if tokenizer.adds_bos and bos is not None and ids[:1] != [bos]:
        return [bos, *ids]
    return ids


def continuation(cached: Sequence[int], wanted: Sequence[int]) -> tuple[int, list[int]]:
    """How many cached tokens to keep, and the tokens to feed after them: at least one.

    An answer as sampled and the same answer encoded again may split differently; what follows the
    first difference is fed anew.
    """
    assert wanted, "a conversation has at least one token"
    most = min(len(cached), len(wanted) - 1)  # the last token is fed for its logits
    keep = next((i for i in range(most) if cached[i] != wanted[i]), most)
    return keep, list(wanted[keep:])


def _source(folder: Path) -> str | None:
    """The template's text: a file of its own comes before the tokenizer's config."""
    file, settings = folder / "chat_template.jinja", folder / "tokenizer_config.json"
    if file.is_file():
        if file.stat().st_size > LIMIT:
            raise Damaged(f"{file} is larger than {LIMIT >> 10} KiB", fix=_OTHER_FILE)
        try:
            return file.read_bytes().decode()
        except UnicodeDecodeError:
            raise Damaged(f"{file} is not UTF-8 text", fix="get the file again") from None
    if not settings.is_file():
        return None
    value = read_json(settings).get("chat_template")
    return _default(value, settings) if isinstance(value, list) else _text(value, settings)


def _default(entries: list[Any], file: Path) -> str | None:
    """Of several named templates the one called default, or the only one."""
    if not all(isinstance(entry, dict) for entry in entries):
        raise Damaged(f"{file}: chat_template is no list of templates", fix="get the file again")
    tables = [Config(entry, f"{file}: chat_template") for entry in entries]
    named = {table.text("name"): table.text("template") for table in tables}
    if len(named) == 1:
        return next(iter(named.values()))
    if "default" not in named:
        raise EdgeError(
            f"{file} has the chat templates {sorted(named)} and none is called default",
            fix="write the one to use into chat_template.jinja beside it",
        )
    return named["default"]


def _text(value: object, file: Path) -> str | None:
    if value is not None and not isinstance(value, str):
        raise Damaged(f"{file}: chat_template is neither text nor a list", fix="get the file again")
    return value
