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
from edge.serve.spoken import form as spoken_form
from edge.serve.streams import NOBODY, begun, events, gone
from edge.serve.voices import Voices

DONE = "data: [DONE]\n\n"


class Texts:
    """What is offered of it, whatever name a client gives it."""

    paths = (CHATS, COMPLETIONS)

    def __init__(self, model: Model, voice: Voices | None = None) -> None:
        """`voice`: what says answers where a client wants to hear them."""
        self._model, self._voice = model, voice
        self.name = model.artifact.manifest.name

    @property
    def body(self) -> int:
        return BODY if self._sees else Limits().body

    @property
    def _sees(self) -> bool:
        return self._model.sight is not None or self._model.pointing is not None

    def entry(self) -> Json:
        sees, pointing = ["image"] if self._sees else [], self._model.pointing
        points = {} if pointing is None else {"regions": {"boxes": pointing.most}}
        speaks = [] if self._voice is None else ["audio"]
        kinds = {"input_modalities": ["text", *sees], "output_modalities": ["text", *speaks]}
        return {**kinds, **points}

    def serve(self, app: FastAPI, engine: Engine, limits: Limits) -> None:
        async def answer(request: Request, ask: Ask, reply: Reply, form: Form) -> Response:
            job = engine.start(reply, partial(gone, request))
            if not ask.stream:
                sound = b"".join([one async for one in job.pieces() if isinstance(one, bytes)])
                return NOBODY if job.left else JSONResponse(whole(reply, sound, form, self.name))
            texts = await begun(job)
            if job.left:
                return NOBODY
            options = ask.stream_options or StreamOptions()
            made = pieces(reply, texts, form, self.name, with_usage=options.include_usage)
            return events(job, made, DONE)

        @app.post(CHATS)
        async def chat(request: Request, ask: ChatAsk) -> Response:
            asked = partial(ask.asked, self._model, limits.tokens)
            audio = ask.sound(speaks=self._voice is not None)
            if audio is None or self._voice is None:
                return await answer(request, ask, Reply(self._model, asked), CHAT)
            reply = self._voice.over(self._model, asked, audio, whole=not ask.stream)
            return await answer(request, ask, reply, spoken_form())

        @app.post(COMPLETIONS)
        async def complete(request: Request, ask: CompletionAsk) -> Response:
            reply = Reply(self._model, partial(ask.asked, self._model, limits.tokens))
            return await answer(request, ask, reply, TEXT)
