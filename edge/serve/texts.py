"""A model of text: chats, and texts that go on."""

from functools import partial

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from edge.run.model import Model
from edge.serve.answers import CHAT, TEXT, Form, Json, pieces, whole
from edge.serve.engine import Engine
from edge.serve.guard import Limits
from edge.serve.offers import CHAT as CHATS
from edge.serve.offers import TEXT as COMPLETIONS
from edge.serve.pictures import BODY
from edge.serve.replies import Reply
from edge.serve.requests import Ask, ChatAsk, CompletionAsk, StreamOptions
from edge.serve.streams import NOBODY, begun, events, gone

DONE = "data: [DONE]\n\n"


class Texts:
    """What is offered of it, whatever name a client gives it."""

    paths = (CHATS, COMPLETIONS)

    def __init__(self, model: Model) -> None:
        self._model = model
        self.name = model.artifact.manifest.name

    @property
    def body(self) -> int:
        return Limits().body if self._model.sight is None else BODY

    def entry(self) -> Json:
        sees = [] if self._model.sight is None else ["image"]
        return {"input_modalities": ["text", *sees], "output_modalities": ["text"]}

    def serve(self, app: FastAPI, engine: Engine, limits: Limits) -> None:
        async def answer(request: Request, ask: Ask, form: Form) -> Response:
            reply = Reply(self._model, partial(ask.asked, self._model, limits.tokens))
            job = engine.start(reply, partial(gone, request))
            if not ask.stream:
                async for _ in job.pieces():
                    pass
                return NOBODY if job.left else JSONResponse(whole(reply, form, self.name))
            texts = await begun(job)
            if job.left:
                return NOBODY
            options = ask.stream_options or StreamOptions()
            made = pieces(reply, texts, form, self.name, with_usage=options.include_usage)
            return events(job, made, DONE)

        @app.post(CHATS)
        async def chat(request: Request, ask: ChatAsk) -> Response:
            return await answer(request, ask, CHAT)

        @app.post(COMPLETIONS)
        async def complete(request: Request, ask: CompletionAsk) -> Response:
            return await answer(request, ask, TEXT)
