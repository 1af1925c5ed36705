"""Conversations to learn from, and pairs of which one is liked better, as files of this world have them.

`{"messages": [{"role", "content"}, …]}`, or ShareGPT's `{"conversations": [{"from", "value"}, …]}`. A pair has `chosen`
and `rejected`, each a text or messages; before them a `prompt`, a text or messages, or `messages`; without either it is
what both begin with. Whatever is wrong with one is a ValueError.
"""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

from edge.text.assistant import ASSISTANT, Conversation
from edge.text.chat import Message

ROLES = ("system", "developer", "user", ASSISTANT, "tool")
_SHARE_GPT = {"human": "user", "gpt": ASSISTANT}  # others say what they are
_CALLS = ("tool_calls", "function_call")


class Said(NamedTuple):
    """A message, and whether its file wants it to be learned, if it is the assistant's."""

    message: Message
    learned: bool


def conversation(value: Mapping[str, Any]) -> tuple[Conversation]:
    """Of which training counts what the assistant says."""
    given = [key for key in ("messages", "conversations") if key in value]
    if len(given) != 1:
        raise ValueError(f"it has {' and '.join(given) or 'no messages, but ' + _fields(value)}")
    return (_counted(_messages(value.get("messages", value.get("conversations"))), after=0),)


def pair(value: Mapping[str, Any]) -> tuple[Conversation, Conversation]:
    """The chosen and the rejected one, of which training counts what the assistant says after what was asked."""
    missing = [key for key in ("chosen", "rejected") if key not in value]
    if missing:
        raise ValueError(f"it has no {missing[0]}, but {_fields(value)}")
    if "prompt" in value and "messages" in value:
        raise ValueError("it has both a prompt and messages")
    asked = value.get("prompt", value.get("messages"))
    before = [] if asked is None else _said(asked, "user")
    chosen, rejected = (
        _whole(before, _said(value[key], ASSISTANT)) for key in ("chosen", "rejected")
    )
    if chosen == rejected:
        raise ValueError("chosen and rejected are the same")
    alike = takewhile(lambda both: both[0] == both[1], zip(chosen, rejected, strict=False))
    shared = sum(1 for _ in alike) if len(before) < 2 else len(before)
    if before and before[-1] not in chosen[:shared]:
        raise ValueError("chosen and rejected do not both go on from what was asked")
    return _counted(chosen, after=shared), _counted(rejected, after=shared)


def _fields(value: Mapping[str, Any]) -> str:
    return ", ".join(sorted(value))[:200] or "nothing"


def _whole(before: Sequence[Said], answer: Sequence[Said]) -> list[Said]:
    """What was asked, and then an answer; in some files the answer has both."""
    asks = any(said.message.role != ASSISTANT for said in answer)
    return list(answer) if asks else [*before, *answer]


def _said(value: object, role: str) -> list[Said]:
    """Messages; a text is one of this role, a single message one of its own."""
    if isinstance(value, str):
        return [Said(Message(role, value), learned=True)]
    return _messages([value] if isinstance(value, dict) else value)


def _messages(value: object) -> list[Said]:
    if not isinstance(value, list) or not value:
        raise ValueError("its messages are no list, or an empty one")
    return [_message(one, number) for number, one in enumerate(value, 1)]


def _message(value: object, number: int) -> Said:
    if not isinstance(value, dict):
        raise ValueError(f"message {number} is no object")
    role, content = value.get("role", value.get("from")), value.get("content", value.get("value"))
    role = _SHARE_GPT.get(role, role) if isinstance(role, str) else role
    if role not in ROLES:
        raise ValueError(f"message {number} is by {role!r:.40}, none of {', '.join(ROLES)}")
    if called := [key for key in _CALLS if value.get(key)]:
        raise ValueError(f"message {number} has {called[0]}, which is not learned yet")
    if not isinstance(content, str):
        raise ValueError(f"message {number} has no text: its content is {content!r:.40}")
    if role == ASSISTANT and not content.strip():
        raise ValueError(f"message {number}, the assistant's, is empty")
    weight = value.get("weight")
    if weight not in (None, 0, 1):
        raise ValueError(f"message {number} has the weight {weight!r:.20}, neither 0 nor 1")
    return Said(Message(role, content), weight != 0)


def _counted(said: Sequence[Said], *, after: int) -> Conversation:
    """Counts what the assistant says after so many messages."""
    messages = tuple(one.message for one in said)
    if not after and not any(m.role == ASSISTANT for m in messages):
        raise ValueError("the assistant says nothing in it")
    first = next((m.role for m in messages if m.role not in ("system", "developer")), None)
    if first == ASSISTANT:
        raise ValueError("the assistant speaks first: there is nothing that it answers")
    counted = frozenset(
        number
        for number, (message, learned) in enumerate(said)
        if number >= after and message.role == ASSISTANT and learned
    )
    if not counted:
        raise ValueError("no message of the assistant's in it is to be learned")
    return Conversation(messages, counted)
