"""What the API refuses, as `application/problem+json` (RFC 9457)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match, Route

from dimwatch.errors import BackpressureError, RetryableError

MEDIA_TYPE: Final = "application/problem+json"
_RETRY_S: Final = 2.0

_log = structlog.get_logger()


class Wrong(BaseModel):
    """One thing that is wrong with a request."""

    where: str = Field(examples=["body.duration_s"])
    what: str = Field(examples=["Input should be greater than or equal to 60"])


class Problem(BaseModel):
    """Why a request was refused."""

    type: str = Field("about:blank", examples=["about:blank"])
    title: str = Field(examples=["Conflict"])
    status: int = Field(examples=[409])
    detail: str = Field(examples=["the incident is over: it can only be labelled, or marked as false"])
    errors: list[Wrong] = Field(default_factory=list)


class Refusal(Exception):
    """Raised to refuse a request."""

    def __init__(self, status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, dict(headers or {})


def slow_down(what: str, wait_s: float) -> Refusal:
    """Too many requests."""
    return Refusal(HTTPStatus.TOO_MANY_REQUESTS, what, {"Retry-After": str(max(1, math.ceil(wait_s)))})


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route may refuse with, for its description."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {int(status): {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def install(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Make every refusal of the application, which has these routes, a problem document."""

    async def refused(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, Refusal)
        return answer(error.status, error.detail, headers=error.headers)

    async def invalid(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        wrong = [Wrong(where=".".join(map(str, one["loc"])), what=str(one["msg"])) for one in error.errors()]
        return answer(HTTPStatus.UNPROCESSABLE_ENTITY, "the request is not as the description says", wrong)

    async def other(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = ", ".join(sorted(_methods(request, routes)))
        return answer(HTTPStatus(error.status_code), str(error.detail), headers=headers)

    async def later(_request: Request, error: Exception) -> JSONResponse:
        wait_s = error.retry_after_s if isinstance(error, BackpressureError) else _RETRY_S
        headers = {"Retry-After": str(max(1, math.ceil(wait_s)))}
        _log.warning("answered 503", error=str(error))
        return answer(HTTPStatus.SERVICE_UNAVAILABLE, "what this needs does not answer now; try again", headers=headers)

    async def fault(request: Request, error: Exception) -> JSONResponse:
        _log.error("request failed", path=request.url.path, exc_info=error)
        return answer(HTTPStatus.INTERNAL_SERVER_ERROR, "the request failed; the log says why")

    app.add_exception_handler(Refusal, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, other)
    app.add_exception_handler(RetryableError, later)
    app.add_exception_handler(Exception, fault)


def _methods(request: Request, routes: Sequence[BaseRoute]) -> set[str]:
    """Those that any route of this path takes: the router names those of the first only."""
    found: set[str] = set()
    for route in routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            found |= route.methods or set()
    return found


def answer(
    status: HTTPStatus, detail: str, errors: list[Wrong] | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """A refusal."""
    problem = Problem(title=status.phrase, status=int(status), detail=detail, errors=errors or [])
    return JSONResponse(problem.model_dump(mode="json"), int(status), dict(headers or {}), MEDIA_TYPE)
