"""Listen, until told to stop: answers in progress are finished first."""

import socket
import sys
from contextlib import suppress

import uvicorn
from fastapi import FastAPI

from edge.errors import EdgeError
from edge.serve.app import create
from edge.serve.guard import LOOPBACK
from edge.serve.offers import Offer

CONNECTIONS = 256  # at once, those that only wait included; past it nothing is read
IDLE = 120  # seconds: longer than any usual client keeps a connection (90), lest it writes into a closed one
GRACE = 30  # seconds that an answer in progress may take after Ctrl-C


def run(*offers: Offer, host: str, port: int, key: str | None, names: tuple[str, ...]) -> None:
    """Serve models on an address; anything but loopback needs a key."""
    if host not in LOOPBACK and not key:
        raise EdgeError(
            f"{host} can be reached by others, so clients must give a key",
            fix="give --key or set EDGE_API_KEY, or listen on 127.0.0.1",
        )
    app = create(*offers, hosts=(host, *names), key=key)
    until_told(app, host, port, what=f"serving {' and '.join(one.name for one in offers)}")


def until_told(app: FastAPI, host: str, port: int, *, what: str) -> None:
    """Listen, and say what is where."""
    with listening(host, port) as open_socket:
        shown = f"[{host}]" if ":" in host else host
        at = f"http://{shown}:{open_socket.getsockname()[1]}"
        print(f"edge: {what} at {at}", file=sys.stderr, flush=True)
        with suppress(KeyboardInterrupt):  # by then all is closed
            uvicorn.Server(config(app)).run(sockets=[open_socket])


def config(app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_level="warning",
        timeout_graceful_shutdown=GRACE,
        timeout_keep_alive=IDLE,
        limit_concurrency=CONNECTIONS,
        server_header=False,
    )


def listening(host: str, port: int) -> socket.socket:
    """An open socket. It says TCP by number: only then asyncio sends each piece of text at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform != "win32":  # where it would let two servers share a port
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, port))
        opened.listen()
    except OSError as error:
        opened.close()
        raise EdgeError(
            f"{host}:{port} cannot be listened on: {error.strerror or error}",
            fix="give another --port, or 0 for a free one, and a --host of this machine",
        ) from None
    return opened
