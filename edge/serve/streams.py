"""Answers that are sent while they are made, and clients that do not wait for them."""

import sys
from collections.abc import AsyncIterator, Mapping, Sequence

from fastapi import Request
from fastapi.responses import Response, StreamingResponse
from starlette.types import Send

from edge.errors import EdgeError
from edge.serve.answers import Json, event
from edge.serve.engine import Job, Piece
from edge.serve.refusals import refusal_of

NOBODY = Response(status_code=499)  # nobody reads it


async def gone(request: Request) -> None:
    """Until the client leaves, or has its answer."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def begun(job: Job[Piece]) -> AsyncIterator[Piece]:
    """Its pieces, once the first is there or there is none: up to then an error is still a status."""
    pieces = job.pieces()
    first = [piece async for piece in _first(pieces)]
    return _joined(first, pieces)


def events(
    job: Job[Piece],
    made: AsyncIterator[Json],
    *ends: str,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Server-sent events; `ends`: what comes after the last of them."""
    sent = _events(job, made, ends)
    return StreamingResponse(sent, media_type="text/event-stream", headers=headers)


def sound(
    job: Job[bytes], made: AsyncIterator[bytes], kind: str, headers: Mapping[str, str]
) -> Response:
    """The bytes of a file."""
    return _Whole(_bytes(job, made), media_type=kind, headers=dict(headers))


class _Whole(StreamingResponse):
    """One that ends early is no whole one to its reader: the connection closes before its end is told."""

    async def stream_response(self, send: Send) -> None:
        try:
            await super().stream_response(send)
        except EdgeError as error:
            print(f"edge: an answer was cut off: {error}", file=sys.stderr, flush=True)


async def _first(pieces: AsyncIterator[Piece]) -> AsyncIterator[Piece]:
    async for piece in pieces:
        yield piece
        return


async def _joined(first: Sequence[Piece], pieces: AsyncIterator[Piece]) -> AsyncIterator[Piece]:
    for piece in first:
        yield piece
    async for piece in pieces:
        yield piece


async def _events(
    job: Job[Piece], made: AsyncIterator[Json], ends: Sequence[str]
) -> AsyncIterator[str]:
    try:
        async for piece in made:
            yield event(piece)
        for end in ends:
            yield end
    except EdgeError as error:
        yield event(refusal_of(error).body())  # the status is sent: no other place is left
    finally:
        job.leave()  # also where the client went away


async def _bytes(job: Job[bytes], made: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        async for piece in made:
            yield piece
    finally:
        job.leave()
