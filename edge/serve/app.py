"""HTTP: the routes of OpenAI's API that a local model can honour, and a chat page."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse

from edge.errors import EdgeError
from edge.run.model import Model
from edge.serve import page
from edge.serve.answers import CHAT, TEXT, Form, Json, event, pieces, whole
from edge.serve.engine import Engine, Job
from edge.serve.guard import Guard, Limits
from edge.serve.refusals import no_model, refusal_of, shape_errors
from edge.serve.requests import Ask, ChatAsk, CompletionAsk, StreamOptions


def create(model: Model, *, hosts: tuple[str, ...], key: str | None, limits: Limits) -> FastAPI:
    """The application. `hosts`: names that Host may have, apart from loopback's."""
    app = FastAPI(title="edge", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, hosts=hosts, key=key, limits=limits)
    shape_errors(app)
    _reading(app, model.artifact.manifest.name, sees=model.sight is not None)
    _answering(app, model, limits)
    return app


def _reading(app: FastAPI, name: str, *, sees: bool) -> None:
    """Routes that ask nothing of the model."""

    html = page.html()
    headers = dict(page.headers(html))
    given = ["text", "image"] if sees else ["text"]
    entry = {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "edge",
        "input_modalities": given,
    }

    @app.get("/")
    async def chat_page() -> Response:
        return HTMLResponse(html, headers=headers)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [entry]}

    @app.get("/v1/models/{wanted:path}")
    async def one_model(wanted: str) -> Response:
        return JSONResponse(entry) if wanted == name else no_model(wanted).response()


def _answering(app: FastAPI, model: Model, limits: Limits) -> None:
    """Routes that the model answers, whatever name a client gives it."""
    engine = Engine(model, queue=limits.queue, seconds=limits.seconds)
    name = model.artifact.manifest.name

    async def answer(request: Request, ask: Ask, form: Form) -> Response:
        job = engine.start(partial(ask.asked, model, limits.tokens), partial(_gone, request))
        if ask.stream:
            return await _streamed(job, ask, form, name)
        async for _ in job.pieces():
            pass
        return _NOBODY if job.left else JSONResponse(whole(job, form, name))

    @app.post("/v1/chat/completions")
    async def chat(request: Request, ask: ChatAsk) -> Response:
        return await answer(request, ask, CHAT)

    @app.post("/v1/completions")
    async def complete(request: Request, ask: CompletionAsk) -> Response:
        return await answer(request, ask, TEXT)


_NOBODY = Response(status_code=499)  # nobody reads it


async def _gone(request: Request) -> None:
    """Until the client leaves, or has its answer."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _streamed(job: Job, ask: Ask, form: Form, name: str) -> Response:
    """Server-sent events. The first text is awaited here, so that an error is still a status."""
    texts = job.pieces()
    first = await anext(texts, "")
    if job.left:
        return _NOBODY
    options = ask.stream_options or StreamOptions()
    made = pieces(job, _after(first, texts), form, name, with_usage=options.include_usage)
    return StreamingResponse(_events(job, made), media_type="text/event-stream")


async def _after(first: str, texts: AsyncIterator[str]) -> AsyncIterator[str]:
    if first:
        yield first
    async for text in texts:
        yield text


async def _events(job: Job, made: AsyncIterator[Json]) -> AsyncIterator[str]:
    try:
        async for piece in made:
            yield event(piece)
        yield "data: [DONE]\n\n"
    except EdgeError as error:
        yield event(refusal_of(error).body())  # the status is sent: no other place is left
    finally:
        job.leave()  # also where the client went away
