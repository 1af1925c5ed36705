"""A model that speaks: texts become sound."""

from collections.abc import Callable
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response

from edge.audio.encoding import ENCODINGS, encodings
from edge.serve.answers import Json
from edge.serve.engine import Engine
from edge.serve.guard import Limits
from edge.serve.offers import SPEECH
from edge.serve.recordings import URL, Recordings, Speaker
from edge.serve.replies import Asked, Replies
from edge.serve.requests import AudioAsk
from edge.serve.speeches import Speech, SpeechAsk, deltas
from edge.serve.spoken import SpokenReply
from edge.serve.streams import NOBODY, begun, events, gone, sound


class Voices:
    """What is offered of it, whatever name a client gives it."""

    paths = (SPEECH,)
    body = URL + (1 << 18)

    def __init__(self, name: str, speaker: Speaker, known: Recordings) -> None:
        self.name, self._speaker, self._known = name, speaker, known

    def entry(self) -> Json:
        return {
            "input_modalities": ["text", "audio"],
            "output_modalities": ["audio"],
            "voices": list(self._known.voices),
            "response_formats": list(encodings()),
        }

    def over(
        self, model: Replies, ask: Callable[[], Asked], audio: AudioAsk, *, whole: bool
    ) -> SpokenReply:
        """A chat's answer, said by this voice."""
        return SpokenReply(model, ask, audio, self._speaker, self._known, whole=whole)

    def serve(self, app: FastAPI, engine: Engine, _: Limits) -> None:
        voices = [{"id": name, "name": name} for name in self._known.voices]

        @app.get("/v1/audio/voices")
        async def listed() -> dict[str, Any]:
            return {"voices": voices}

        @app.post(SPEECH)
        async def speech(request: Request, ask: SpeechAsk) -> Response:
            made = Speech(self._speaker, self._known, ask)
            job = engine.start(made, partial(gone, request))
            pieces = await begun(job)
            if job.left:
                return NOBODY
            headers = {"Edge-Voice": made.voice}
            if ask.stream_format == "sse":
                return events(job, deltas(made, pieces), headers=headers)
            kind = ENCODINGS[ask.response_format].media
            if ask.stream:
                return sound(job, pieces, kind, headers)
            whole = b"".join([piece async for piece in pieces])
            return NOBODY if job.left else Response(whole, media_type=kind, headers=headers)
