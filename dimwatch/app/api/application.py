"""The API as an ASGI application, and its description."""

from __future__ import annotations

from importlib import metadata
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute

from dimwatch.app.api import problems
from dimwatch.app.api.bounds import Bounds
from dimwatch.app.api.identity import Doorkeeper
from dimwatch.app.api.pace import Pace
from dimwatch.app.api.reads import Reads
from dimwatch.app.api.routes import Desk, router
from dimwatch.app.canary import Canary
from dimwatch.clock import Clock
from dimwatch.eventlog.base import EventLog
from dimwatch.settings import Settings

_ABOUT: Final = (
    "Incidents, and what people say of them. Orders are taken with 202 and obeyed within seconds; "
    "`GET /api/v1/orders/{id}` says what became of one. Refusals are `application/problem+json`."
)


def application(settings: Settings, eventlog: EventLog, clock: Clock, canary: Canary | None = None) -> FastAPI:
    """The API over this eventlog and the store of the settings. Raises PermanentError when it may not be served."""
    app = bare()
    app.state.desk = Desk(
        eventlog,
        Reads(settings),
        Doorkeeper(settings),
        clock,
        asking=Pace(settings.api.requests_per_minute, clock),
        ordering=Pace(settings.api.orders_per_minute, clock),
        canary=canary,
    )
    return app


def bare() -> FastAPI:
    """The routes with nothing behind them."""
    app = FastAPI(
        title="Dimwatch",
        summary="Incidents of a fleet of LLM agents.",
        description=_ABOUT,
        version=metadata.version("dimwatch"),
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        docs_url=None,  # they would load scripts from elsewhere
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        redirect_slashes=False,
        generate_unique_id_function=_name,
    )
    app.add_middleware(Bounds)
    app.add_api_route("/healthz", _alive, include_in_schema=False)
    app.include_router(router)
    problems.install(app, router.routes)
    app.openapi = lambda: described(app)  # type: ignore[method-assign]
    return app


def described(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with our own form of refusals instead of FastAPI's."""
    if app.openapi_schema is None:
        document = FastAPI.openapi(app)
        schemas = document["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        problem = problems.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(problem.pop("$defs"))
        schemas["Problem"] = problem
        app.openapi_schema = document
    return app.openapi_schema


def _alive() -> dict[str, bool]:
    """For those who start it: no more than that it answers."""
    return {"ok": True}


def _name(route: APIRoute) -> str:
    return route.name
