"""HTTP: the routes of OpenAI's API that a local model can honour, a chat page, and who may ask.

Loopback by default. A request must name this server in Host, so that a page elsewhere cannot reach
it through a name it controls (DNS rebinding), and come from this server's own page if it has an
Origin. Elsewhere than on loopback a key is needed.
"""

import asyncio
import hmac
import json
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse

from edge.errors import EdgeError
from edge.model import Answer, Model
from edge.serve import page
from edge.serve.engine import Busy, Engine, Job
from edge.serve.requests import Ask, ChatAsk, CompletionAsk

LOOPBACK = ("127.0.0.1", "localhost", "::1")
Next = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one client can take."""

    body: int = 4 << 20  # bytes
    queue: int = 16
    tokens: int = 4096
    seconds: float = 600.0


def create(model: Model, *, hosts: tuple[str, ...], key: str | None, limits: Limits) -> FastAPI:
    """The application. `hosts`: names that Host may have, apart from loopback's."""
    app = FastAPI(title="edge", docs_url=None, redoc_url=None, openapi_url=None)
    allowed = {*LOOPBACK, *hosts}

    @app.middleware("http")
    async def guard(request: Request, call: Next) -> Response:
        problem = _problem(request, allowed, key, limits)
        response = await call(request) if problem is None else _error(*problem)
        response.headers.update(page.ALWAYS)
        return response

    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(EdgeError)(_refused)
    app.exception_handler(Busy)(_busy)
    _reading(app, model.artifact.manifest.name)
    _answering(app, model, limits)
    return app


async def _invalid(_: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    return _error(400, f"{where or 'body'}: {first['msg']}")


async def _refused(_: Request, error: EdgeError) -> Response:
    return _error(400, str(error))


async def _busy(_: Request, __: Busy) -> Response:
    return _error(503, "too many requests wait: try again later")


def _reading(app: FastAPI, name: str) -> None:
    """Routes that ask nothing of the model."""

    html = page.html()
    headers = dict(page.headers(html))

    @app.get("/")
    async def chat_page() -> Response:
        return HTMLResponse(html, headers=headers)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        entry = {"id": name, "object": "model", "created": 0, "owned_by": "edge"}
        return {"object": "list", "data": [entry]}


def _answering(app: FastAPI, model: Model, limits: Limits) -> None:
    """Routes that the model answers."""
    engine = Engine(model, queue=limits.queue, seconds=limits.seconds)
    name = model.artifact.manifest.name

    @app.post("/v1/chat/completions")
    async def chat(ask: ChatAsk) -> Response:
        ids = await asyncio.to_thread(model.encode, [turn.message() for turn in ask.messages])
        return await _answer(engine, ask, ids, _Shape("chat.completion", name), limits)

    @app.post("/v1/completions")
    async def complete(ask: CompletionAsk) -> Response:
        ids = await asyncio.to_thread(model.tokenizer.encode, ask.prompt, special=True)
        return await _answer(engine, ask, ids, _Shape("text_completion", name), limits)


def _problem(
    request: Request, allowed: set[str], key: str | None, limits: Limits
) -> tuple[int, str] | None:
    """Why a request is refused before it is read."""
    host = request.headers.get("host", "")
    if _name(host) not in allowed:
        return 403, f"this server is not {host[:80]!r}"
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != host:
        return 403, "requests from other pages are not answered"
    length = request.headers.get("content-length", "0")
    if request.method == "POST" and "transfer-encoding" in request.headers:
        return 411, "send a Content-Length"
    if not length.isdigit() or int(length) > limits.body:
        return 413, f"the body is larger than {limits.body} bytes"
    open_paths = ("/", "/health")
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    wrong = key is not None and not hmac.compare_digest(given.encode(), key.encode())
    return (
        (401, "give the key as a bearer token")
        if wrong and request.url.path not in open_paths
        else None
    )


def _name(host: str) -> str:
    """A Host header without its port; nothing where it is not one name."""
    match = re.fullmatch(r"(?:\[([0-9a-f:]+)\]|([A-Za-z0-9_.-]+))(?::[0-9]{1,5})?", host)
    return (match[1] or match[2]) if match else ""


def _error(status: int, message: str) -> JSONResponse:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return JSONResponse({"error": {"message": message, "type": kind, "code": status}}, status)


@dataclass(frozen=True, slots=True)
class _Shape:
    """How OpenAI's API writes an answer of one kind."""

    kind: str  # chat.completion or text_completion
    model: str

    def head(self, chunk: bool) -> dict[str, Any]:
        chat = self.kind == "chat.completion"
        return {
            "id": ("chatcmpl-" if chat else "cmpl-") + secrets.token_hex(12),
            "object": self.kind + (".chunk" if chunk and chat else ""),
            "created": int(time.time()),
            "model": self.model,
        }

    def choice(self, text: str, end: str | None, *, chunk: bool) -> dict[str, Any]:
        out: dict[str, Any] = {"index": 0, "finish_reason": end, "logprobs": None}
        if self.kind == "text_completion":
            return out | {"text": text}
        content = {"role": "assistant", "content": text}
        return out | {"delta" if chunk else "message": content if text or not chunk else {}}


async def _answer(
    engine: Engine, ask: Ask, ids: list[int], shape: _Shape, limits: Limits
) -> Response:
    wish = await asyncio.to_thread(ask.wish, limits.tokens)  # which may have to try a grammar

    def begin() -> Answer:
        return engine.model.reply(ids, wish)

    job = engine.start(begin)
    if ask.stream:
        return await _streamed(job, ask, ids, shape)
    async for _ in job.pieces():
        pass
    assert job.answer is not None
    choice = shape.choice(job.answer.text, _end(job.answer), chunk=False)
    body = shape.head(chunk=False) | {"choices": [choice], "usage": _usage(ids, job.answer)}
    return JSONResponse(body)


async def _streamed(job: Job, ask: Ask, ids: list[int], shape: _Shape) -> Response:
    """Server-sent events. The first piece is awaited here, so that an error is still a status."""
    events = _events(job, ask, ids, shape)
    first = await anext(events)

    async def body() -> AsyncIterator[str]:
        try:
            yield first
            async for event in events:
                yield event
        finally:
            job.leave()  # also where the client went away

    return StreamingResponse(body(), media_type="text/event-stream")


async def _events(job: Job, ask: Ask, ids: list[int], shape: _Shape) -> AsyncIterator[str]:
    head = shape.head(chunk=True)
    async for text in job.pieces():
        yield _event(head | {"choices": [shape.choice(text, None, chunk=True)]})
    assert job.answer is not None
    yield _event(head | {"choices": [shape.choice("", _end(job.answer), chunk=True)]})
    if ask.stream_options is not None and ask.stream_options.include_usage:
        yield _event(head | {"choices": [], "usage": _usage(ids, job.answer)})
    yield "data: [DONE]\n\n"


def _end(answer: Answer) -> str:
    """Why it ended, in OpenAI's words; one that ran out of time was cut off, too."""
    return "stop" if answer.generation.ending == "stop" else "length"


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value)}\n\n"


def _usage(ids: list[int], answer: Answer) -> dict[str, Any]:
    made, read = len(answer.generation.tokens), len(answer.generation.prompt)
    return {
        "prompt_tokens": len(ids),
        "completion_tokens": made,
        "total_tokens": len(ids) + made,
        "prompt_tokens_details": {"cached_tokens": len(ids) - read},
    }
