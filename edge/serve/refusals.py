"""Errors as OpenAI's API writes them, so that its clients raise what they should."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from edge.errors import EdgeError, readable
from edge.serve.engine import Busy
from edge.serve.fields import FieldError

_JSON = "send a JSON object, with Content-Type: application/json"
_PLAIN = {  # what a validator says -> what is said here
    "extra_forbidden": "this server knows no such field: leave it out",
    "missing": "it is needed",
    "model_type": _JSON,
    "model_attributes_type": _JSON,
}
_CODES = {404: "unknown_url", 405: "method_not_supported"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no answer. `param`: the field at fault; `code`: a word that programs know."""

    status: int
    message: str
    param: str | None = None
    code: str | None = None
    retry_after: int | None = None  # seconds

    def body(self) -> dict[str, Any]:
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        said = {"message": readable(self.message), "type": kind}
        return {"error": {**said, "param": self.param and readable(self.param), "code": self.code}}

    def response(self, headers: Mapping[str, str] | None = None) -> JSONResponse:
        wait = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return JSONResponse(self.body(), self.status, {**(headers or {}), **wait})


def no_model(name: str) -> Refusal:
    return Refusal(404, f"there is no model {name!r} here", "model", "model_not_found")


def refusal_of(error: Exception) -> Refusal:
    """What a client is told of an error; of one that is ours, only that it is."""
    match error:
        case RequestValidationError():
            return _invalid(error)
        case FieldError():
            return Refusal(400, str(error), error.field, error.reason)
        case EdgeError():
            return Refusal(400, str(error))
        case Busy(seconds=seconds):
            return Refusal(
                503,
                f"too many requests wait: try again in {seconds} s",
                code="queue_full",
                retry_after=seconds,
            )
    return Refusal(500, "the server failed: see what it printed")


def shape_errors(app: FastAPI) -> None:
    """Have an application answer every error in this form."""

    async def answer(_: Request, error: Exception) -> Response:
        return refusal_of(error).response()

    async def route(request: Request, error: Exception) -> Response:
        """There is no such path, or it takes another method."""
        assert isinstance(error, HTTPException)
        said = f"{request.method} {request.url.path}: {error.detail.lower()}"
        refusal = Refusal(error.status_code, said, code=_CODES.get(error.status_code))
        return refusal.response(error.headers)

    for kind in (RequestValidationError, EdgeError, Busy, Exception):
        app.exception_handler(kind)(answer)
    app.exception_handler(HTTPException)(route)


def _invalid(error: RequestValidationError) -> Refusal:
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return Refusal(400, f"the body is no JSON: {first['ctx']['error']}")
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    said = _PLAIN.get(first["type"], first["msg"].removeprefix("Value error, "))
    said = said.replace("Input should be", "it should be")
    return Refusal(400, f"{where or 'body'}: {said}", where or None)
