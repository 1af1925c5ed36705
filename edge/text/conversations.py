"""Conversations as InternVL names them in config.json, for its checkpoints have no template: who speaks, and
what ends a turn. A system message lies in the checkpoint's conversation.py, which is read and not run.
"""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.errors import Damaged, EdgeError, Unsupported
from edge.text.chat import Message

LIMIT = 1 << 20  # bytes of a conversation.py
FILE = "conversation.py"


@dataclass(frozen=True, slots=True)
class Form:
    """`{}` in each stands for what is said; the last one begins an answer."""

    system: str
    user: str
    assistant: str
    answer: str
    stop: str


_CHATML = Form(
    "<|im_start|>system\n{}<|im_end|>",
    "<|im_start|>user\n{}<|im_end|>",
    "<|im_start|>assistant\n{}<|im_end|>",
    "<|im_start|>assistant\n",
    "<|im_end|>",
)
FORMS: Mapping[str, Form] = {
    "internlm2-chat": _CHATML,
    "Hermes-2": _CHATML,
    "phi3-chat": Form(
        "<|system|>\n{}<|end|>",
        "<|user|>\n{}<|end|>",
        "<|assistant|>\n{}<|end|>",
        "<|assistant|>\n",
        "<|end|>",
    ),
}


def form_of(name: str) -> Form:
    if name not in FORMS:
        raise Unsupported(
            f"config.json names the conversation {name!r:.60}",
            fix=f"use a checkpoint of one of these: {', '.join(FORMS)}",
        )
    return FORMS[name]


@dataclass(frozen=True, slots=True)
class FormTemplate:
    """`edge.text.chat.Template` of a form; `system`: what is said first where a conversation does not."""

    form: Form
    system: str | None

    def render(self, messages: Sequence[Message], *, generate: bool) -> str:
        parts = {
            "system": self.form.system,
            "user": self.form.user,
            "assistant": self.form.assistant,
        }
        unknown = sorted({message.role for message in messages} - parts.keys())
        if unknown:
            raise EdgeError(
                f"this model's conversations have no role {unknown[0]!r:.60}",
                fix=f"use {', '.join(parts)}",
            )
        told = any(message.role == "system" for message in messages)
        first = [] if told or not self.system else [Message("system", self.system)]
        # No message to say: an empty one takes away the model's own.
        said = [m for m in (*first, *messages) if m.role != "system" or m.content]
        text = "".join(parts[m.role].replace("{}", m.content) for m in said)
        return text + self.form.answer if generate else text

    def get_ready(self) -> None:
        """It is."""


def system_message(folder: Path, name: str) -> str | None:
    """The message that a checkpoint's conversation.py gives the form of this name; None without such a file.
    Its code is parsed, and only texts that stand there are taken.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    content = file.read_bytes()
    if len(content) > LIMIT:
        raise Damaged(f"{file} is larger than {LIMIT >> 20} MiB", fix="get the file again")
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise Damaged(f"{file} is no Python", fix="get the file again") from None
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            fields = {k.arg: k.value for k in node.keywords}
            texts = {arg: _text(value) for arg, value in fields.items()}
            if texts.get("name") == name and texts.get("system_message") is not None:
                return texts["system_message"]
    return None


def _text(node: ast.expr) -> str | None:
    """A text as it stands there, also in several pieces."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
