"""One shape for every error::

    {"error": "run x is not in the lake. See /api/runs.", "type": "not-found", "status": 404,
     "facts": {"run_id": "x"}, "request_id": "3f9c…"}

``error`` is a sentence for people, ``type`` a word for programs. Clients never see a trace.
"""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from opendt.api.encode import encode
from opendt.errors import EngineError, InputError, OpenDTError, TransientError
from opendt.lake.connection import NoLakeError
from opendt.lake.people import StatementTimeoutError

log = logging.getLogger("opendt.api")


class ErrorBody(BaseModel):
    """Every error has this shape."""

    error: str = Field(description="What went wrong, where, and what to do about it.")
    type: str = Field(description="A word for programs, e.g. not-found.")
    status: int = Field(description="The HTTP status code.")
    facts: dict[str, Any] = Field(default_factory=dict, description="Names and numbers in the message.")
    request_id: str = Field("", description="Names this request in the server's log.")


class NotFoundError(InputError):
    """What a path names does not exist."""


class ConflictError(InputError):
    """A change contradicts the present state."""


class UnauthorizedError(InputError):
    """The token is missing or wrong."""


class TooManyRequestsError(TransientError):
    """A client asked too often. Facts: ``retry_after_s``."""


# First match wins.
_STATUS: tuple[tuple[type[OpenDTError], int, str], ...] = (
    (NotFoundError, 404, "not-found"),
    (NoLakeError, 404, "no-lake"),
    (ConflictError, 409, "conflict"),
    (UnauthorizedError, 401, "unauthorized"),
    (TooManyRequestsError, 429, "too-many-requests"),
    (StatementTimeoutError, 408, "timeout"),
    (InputError, 400, "bad-request"),
    (TransientError, 503, "try-again"),
    (EngineError, 422, "simulation-failed"),
    (OpenDTError, 500, "failed"),
)

# Statuses any route may answer with; routes list them in the OpenAPI document.
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": text}
    for status, text in (
        (400, "The request makes no sense."),
        (401, "A token is needed."),
        (403, "The request comes from where it may not."),
        (404, "There is no such thing, or no lake yet."),
        (413, "The body is too large."),
        (422, "A parameter or the body is not valid, or a simulation failed."),
        (429, "Too many requests."),
        (503, "Try again later."),
    )
}


def install(app: FastAPI) -> None:
    """Give every error of an app the one shape."""
    app.add_exception_handler(OpenDTError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)


def error_response(
    request: Request | None, status: int, kind: str, message: str, facts: dict[str, Any] | None = None
) -> Response:
    """An error as a response."""
    request_id = request.scope.get("opendt.request_id", "") if request else ""
    body = {"error": message, "type": kind, "status": status, "facts": facts or {}, "request_id": request_id}
    headers = {"Cache-Control": "no-store"}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="opendt"'
    if status in (429, 503):
        headers["Retry-After"] = str(int((facts or {}).get("retry_after_s", 1)))
    return Response(encode(body), status, headers, "application/json")


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, OpenDTError)
    status, kind = next((s, k) for cls, s, k in _STATUS if isinstance(error, cls))
    if status >= 500:
        log.warning("%s %s: %s", request.method, request.url.path, error.message)
    return error_response(request, status, kind, error.message, error.facts)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = [(".".join(str(part) for part in e["loc"]), e["msg"]) for e in error.errors()]
    field, message = problems[0]
    more = f" ({len(problems) - 1} more problems)" if len(problems) > 1 else ""
    facts = {"problems": [{"field": f, "message": m} for f, m in problems[:20]]}
    return error_response(request, 422, "not-valid", f"{field}: {message}{more}.", facts)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = {404: "not-found", 405: "method-not-allowed", 413: "too-large"}
    message = f"{request.method} {request.url.path}: {error.detail}. See /docs."
    response = error_response(request, error.status_code, words.get(error.status_code, "bad-request"), message)
    response.headers.update(error.headers or {})
    return response
