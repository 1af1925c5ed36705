"""Conversations as InternVL names them in config.json, for its checkpoints have no template: who speaks, and
what ends a turn. A system message lies in the checkpoint's conversation.py, which is read and not run.
"""

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.errors import Damaged, Unsupported
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
FORMS = {
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


def rendered(form: Form, messages: Sequence[Message]) -> str:
    """The text of a conversation, up to where an answer begins."""
    parts = {"system": form.system, "user": form.user, "assistant": form.assistant}
    said = [parts[m.role].replace("{}", m.content) for m in messages]
    return "".join(said) + form.answer


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
