"""Answers as OpenAI's API writes them: whole, or as pieces in server-sent events."""

import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edge.serve.replies import Piece, Reply

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """What differs between the two kinds of answers."""

    id: str
    whole: str
    piece: str
    message: Callable[[str, bytes], Json]  # a whole answer's text, and its sound where it has one
    delta: Callable[[Piece], Json]  # a piece of it, or of nothing at the end
    opening: tuple[Json, ...] = ()  # what comes before the first piece
    regions: bool = True  # whether it has a place for them

    def head(self, kind: str, model: str) -> Json:
        return {
            "id": self.id + secrets.token_hex(12),
            "object": kind,
            "created": int(time.time()),
            "model": model,
        }


CHAT = Form(
    id="chatcmpl-",
    whole="chat.completion",
    piece="chat.completion.chunk",
    message=lambda text, _: {"message": {"role": "assistant", "content": text, "refusal": None}},
    delta=lambda text: {"delta": {"content": text} if text else {}},
    opening=({"delta": {"role": "assistant", "content": ""}},),
)
TEXT = Form(
    id="cmpl-",
    whole="text_completion",
    piece="text_completion",
    message=lambda text, _: {"text": text},
    delta=lambda text: {"text": text},
    regions=False,
)


def whole(reply: Reply, sound: bytes, form: Form, model: str) -> Json:
    assert reply.answer is not None
    said = form.message(reply.answer.text, sound)
    if reply.regions is not None and form.regions:
        said = {**said, "message": {**said["message"], "regions": reply.regions}}
    choice = _choice(said, reply.ending)
    return form.head(form.whole, model) | {"choices": [choice], "usage": usage(reply)}


async def pieces(
    reply: Reply, made: AsyncIterator[Piece], form: Form, model: str, *, with_usage: bool
) -> AsyncIterator[Json]:
    """Of a stream; only where the usage was asked for do pieces have that field."""
    head = form.head(form.piece, model) | ({"usage": None} if with_usage else {})
    for said in form.opening:
        yield head | {"choices": [_choice(said)]}
    async for piece in made:
        if piece:
            yield head | {"choices": [_choice(form.delta(piece))]}
    last = form.delta("")
    if reply.regions is not None and form.regions:
        last = {**last, "delta": {**last["delta"], "regions": reply.regions}}
    yield head | {"choices": [_choice(last, reply.ending)]}
    if with_usage:
        yield head | {"choices": [], "usage": usage(reply)}


def event(value: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(value)}\n\n"


def _choice(said: Json, ending: str | None = None) -> Json:
    return {"index": 0, **said, "finish_reason": ending, "logprobs": None}


def usage(reply: Reply) -> Json:
    assert reply.answer is not None
    generation = reply.answer.generation
    made, read = len(generation.tokens), len(generation.prompt)
    return {
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": made,
        "total_tokens": reply.prompt_tokens + made,
        "prompt_tokens_details": {"cached_tokens": reply.prompt_tokens - read},
    }
