"""A server that points, without a model: it says what it is told to, and keeps what it was asked."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse

from edge.serve.answers import Json
from edge.serve.engine import Engine
from edge.serve.guard import Limits
from edge.serve.offers import CHAT
from edge.serve.pictures import BODY


@dataclass
class Pointer:
    """`text` and `regions`: of its answers; `boxes`: of a user's that it takes, None where it points at nothing."""

    text: str = "A dog and a cat."
    regions: list[Json] = field(default_factory=list)
    boxes: int | None = 3
    asked: list[Json] = field(default_factory=list)
    name = "pointer"
    paths = (CHAT,)
    body = BODY

    def entry(self) -> Json:
        points = {} if self.boxes is None else {"regions": {"boxes": self.boxes}}
        kinds = {"input_modalities": ["text", "image"], "output_modalities": ["text"]}
        return {**kinds, **points}

    def serve(self, app: FastAPI, engine: Engine, limits: Limits) -> None:
        @app.post(CHAT)
        async def chat(request: Request) -> Response:
            self.asked.append(await request.json())
            return StreamingResponse(self._events(), media_type="text/event-stream")

    async def _events(self) -> AsyncIterator[str]:
        half = len(self.text) // 2
        said: list[dict[str, Any]] = [
            {"delta": {"role": "assistant", "content": ""}},
            {"delta": {"content": self.text[:half]}},
            {"delta": {"content": self.text[half:]}},
            {"delta": {"regions": self.regions}, "finish_reason": "stop"},
        ]
        for choice in said:
            yield f"data: {json.dumps({'choices': [choice]})}\n\n"
        yield "data: [DONE]\n\n"
