"""Who may ask, and how much: looked at before a byte of the body is read.

Loopback by default. A request must name this server in Host, so that a page elsewhere cannot reach
it through a name it controls (DNS rebinding), and come from this server's own page if it has an
Origin. Elsewhere than on loopback a key is needed.
"""

import hmac
import re
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from edge.serve import page
from edge.serve.refusals import Refusal

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_OPEN = ("/", "/health")  # without a key
_HEADERS = [(name.lower().encode(), value.encode()) for name, value in page.ALWAYS.items()]


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one client can take."""

    body: int = 4 << 20  # bytes
    queue: int = 32
    requests: int = 64  # under way at once, those that are only read included
    tokens: int = 4096
    seconds: float = 600.0


class Guard:
    """An application that passes on what may be asked. `hosts`: its names, apart from loopback's."""

    def __init__(
        self, app: ASGIApp, *, hosts: tuple[str, ...], key: str | None, limits: Limits
    ) -> None:
        self._app = app
        self._names = {_plain(name) for name in (*LOOPBACK, *hosts)} - {""}
        self._key = key
        self._limits = limits
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)

        async def sent(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        refusal = self._refusal(Request(scope))
        self._under_way += 1
        try:
            await (refusal.response() if refusal else self._app)(scope, receive, sent)
        finally:
            self._under_way -= 1

    def _refusal(self, request: Request) -> Refusal | None:
        checks = (self._elsewhere, self._too_much, self._keyless)
        return next((found for check in checks if (found := check(request))), None)

    def _elsewhere(self, request: Request) -> Refusal | None:
        host = request.headers.get("host", "")
        name = _name(host)
        if name not in self._names:
            return Refusal(
                403,
                f"this server is not {host[:80]!r}\n"
                f"  fix: if it is, start it with --name {name or 'HOST'}",
                code="unknown_host",
            )
        origin = request.headers.get("origin")
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            return Refusal(403, "requests from other pages are not answered", code="other_origin")
        return None

    def _too_much(self, request: Request) -> Refusal | None:
        if request.method == "POST" and "transfer-encoding" in request.headers:
            return Refusal(411, "send a Content-Length")
        length, most = request.headers.get("content-length", "0"), self._limits.body
        if not length.isdigit() or int(length) > most:
            return Refusal(413, f"the body is larger than {most} bytes")
        if self._under_way >= self._limits.requests:
            problem = "too many requests at once: try again in 1 s"
            return Refusal(503, problem, code="queue_full", retry_after=1)
        return None

    def _keyless(self, request: Request) -> Refusal | None:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        known = self._key is None or (
            scheme.lower() == "bearer" and hmac.compare_digest(given.encode(), self._key.encode())
        )
        if known or request.url.path in _OPEN:
            return None
        return Refusal(401, "give the key as a bearer token", code="invalid_api_key")


def _name(host: str) -> str:
    """A Host header without its port; nothing where it is not one name."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:]+)\]|([A-Za-z0-9_.-]+))(?::[0-9]{1,5})?", host)
    return _plain(match[1] or match[2]) if match else ""


def _plain(name: str) -> str:
    """A host's name as all of its spellings: without case, without the dot of the root."""
    return name.lower().removesuffix(".")
