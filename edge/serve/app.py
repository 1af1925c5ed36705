"""HTTP: the routes of OpenAI's API that local models can honour, and a page."""

from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, JSONResponse, Response

from edge.serve import page
from edge.serve.engine import Engine
from edge.serve.guard import Guard, Limits
from edge.serve.offers import Offer, refuse_others
from edge.serve.refusals import no_model, shape_errors


def create(
    *offers: Offer, hosts: tuple[str, ...], key: str | None, limits: Limits | None = None
) -> FastAPI:
    """The application. `hosts`: names that Host may have, apart from loopback's; `limits`: those that the models
    want, if none are given.
    """
    limits = limits or Limits(body=max(offer.body for offer in offers))
    app = FastAPI(title="edge", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, hosts=hosts, key=key, limits=limits)
    shape_errors(app)
    _reading(app, {offer.name: offer.entry() for offer in offers})
    engine = Engine(queue=limits.queue, seconds=limits.seconds)
    for offer in offers:
        offer.serve(app, engine, limits)
    refuse_others(app, offers)
    return app


def _reading(app: FastAPI, models: dict[str, dict[str, Any]]) -> None:
    """Routes that ask nothing of a model."""

    html = page.html()
    headers = dict(page.headers(html))
    entries = {
        name: {"id": name, "object": "model", "created": 0, "owned_by": "edge", **entry}
        for name, entry in models.items()
    }

    @app.get("/")
    async def chat_page() -> Response:
        return HTMLResponse(html, headers=headers)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/models")
    async def listed() -> dict[str, Any]:
        return {"object": "list", "data": list(entries.values())}

    @app.get("/v1/models/{wanted:path}")
    async def one_model(wanted: str) -> Response:
        found = entries.get(wanted)
        return no_model(wanted).response() if found is None else JSONResponse(found)
