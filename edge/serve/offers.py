"""What a server has: for each model the routes that it answers, and what is said on those that none does."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from fastapi import FastAPI, Request
from fastapi.responses import Response

from edge.serve.answers import Json
from edge.serve.engine import Engine
from edge.serve.guard import Limits
from edge.serve.refusals import Refusal

CHAT, TEXT, SPEECH = "/v1/chat/completions", "/v1/completions", "/v1/audio/speech"
_DOES: Mapping[str, str] = {CHAT: "chats", TEXT: "continues texts", SPEECH: "speaks"}


class Offer(Protocol):
    """One model. `body`: bytes that a request to it may have; `paths`: of `CHAT`, `TEXT` and `SPEECH`."""

    @property
    def name(self) -> str: ...

    @property
    def paths(self) -> Sequence[str]: ...

    @property
    def body(self) -> int: ...

    def entry(self) -> Json:
        """What `/v1/models` says of it beside its name."""
        ...

    def serve(self, app: FastAPI, engine: Engine, limits: Limits) -> None:
        """Add its routes."""
        ...


def refuse_others(app: FastAPI, offers: Sequence[Offer]) -> None:
    """A route of OpenAI's that no model here answers says which ones there are."""
    there = [path for offer in offers for path in offer.paths]
    names = " and ".join(offer.name for offer in offers)
    for path, does in _DOES.items():
        if path not in there:
            said = f"POST {path}: no model here {does}: there is {names}"
            refusal = Refusal(
                404, f"{said}\n  fix: send it to {' or '.join(there)}", code="unknown_url"
            )
            _refuse(app, path, refusal)


def _refuse(app: FastAPI, path: str, refusal: Refusal) -> None:
    @app.post(path)
    async def refused(_: Request) -> Response:
        return refusal.response()
