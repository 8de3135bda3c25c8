"""The routes: reads come from ClickHouse, orders go to the control topic."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from importlib import metadata
from typing import Annotated, Any, Final

import structlog
import xxhash
from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import AwareDatetime

from detectors.incidents import control
from detectors.incidents.control import Action
from detectors.incidents.incident import Severity, Status
from dimwatch import telemetry
from dimwatch.app.api.identity import Doorkeeper, Identity, Role
from dimwatch.app.api.models import (
    ID,
    CanaryStatus,
    IncidentDetail,
    Incidents,
    Label,
    Me,
    Order,
    Said,
    SilenceIncident,
    Silences,
    SilenceScope,
    Status_,
)
from dimwatch.app.api.pace import Pace
from dimwatch.app.api.problems import Refusal, responses, slow_down
from dimwatch.app.api.reads import EVER_S, Reads
from dimwatch.app.canary import Canary
from dimwatch.clock import NS_PER_SECOND, Clock
from dimwatch.errors import RetryableError
from dimwatch.eventlog.base import EventLog, NewRecord

_OVER: Final = (Status.RESOLVED, Status.FALSE)
_BEARER: Final = HTTPBearer(auto_error=False, scheme_name="token", description="A viewer's or responder's token.")

_log = structlog.get_logger()


@dataclass
class Desk:
    """What routes work with."""

    eventlog: EventLog
    reads: Reads
    door: Doorkeeper
    clock: Clock
    asking: Pace
    ordering: Pace
    canary: Canary | None = None


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


AtDesk = Annotated[Desk, Depends(_desk)]


def _viewer(
    desk: AtDesk,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
    dimwatch_user: Annotated[
        str | None,
        Header(
            pattern=r"^[!-~]{1,200}$",
            description="On behalf of whom, as a mail address: only with the service token.",
            examples=["ann@example.com"],
        ),
    ] = None,
) -> Identity:
    who = desk.door.identify(credentials.credentials if credentials else None, dimwatch_user)
    if wait_s := desk.asking.wait_s(who.name):
        raise slow_down("too many requests", wait_s)
    return who


Viewer = Annotated[Identity, Depends(_viewer)]


def _responder(who: Viewer, desk: AtDesk) -> Identity:
    if who.role is not Role.RESPONDER:
        raise Refusal(HTTPStatus.FORBIDDEN, "this takes a responder's token")
    if wait_s := desk.ordering.wait_s(who.name):
        raise slow_down("too many orders", wait_s)
    return who


Responder = Annotated[Identity, Depends(_responder)]
IncidentId = Annotated[str, Path(pattern=ID, examples=["5f0c7d8e9a1b2c3d"])]
SilenceId = Annotated[str, Path(pattern=ID, examples=["9f2c4a7d1e8b3c6f5a0d7e4b2c9f1a68"])]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[!-~]{1,200}$",
        description="The same request with the same key is one order, however often it is sent.",
        examples=["5d0a3c1e"],
    ),
]
Text = Annotated[str, Query(max_length=256)]

_READ: Final = responses(401, 403, 408, 413, 422, 429, 500, 503)
_WRITE: Final = responses(400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 503)
router = APIRouter(prefix="/api/v1")


@router.get("/incidents", responses=_READ, tags=["incidents"])
def list_incidents(
    desk: AtDesk,
    _who: Viewer,
    status: Annotated[list[Status], Query(max_length=5, description="Any of these.")] = [],  # noqa: B006 - as FastAPI does
    severity: Annotated[list[Severity], Query(max_length=3, description="Any of these.")] = [],  # noqa: B006
    kind: Text = "",
    tenant: Text = "",
    provider: Text = "",
    model: Text = "",
    agent: Text = "",
    tool: Text = "",
    opened_since: AwareDatetime | None = None,
    opened_before: AwareDatetime | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[
        str, Query(pattern=r"^([0-9]{1,10}-[0-9a-f]{8,64})?$", description="`next` of the page before.")
    ] = "",
) -> Incidents:
    """List incidents, the newest first."""
    before, _, before_id = cursor.partition("-")
    filters = {
        **{"kind": kind, "tenant": tenant, "provider": provider, "model": model, "agent": agent, "tool": tool},
        "status": [one.value for one in status],
        "severity": [one.value for one in severity],
        "since": _seconds(opened_since, 0),
        "until": _seconds(opened_before, EVER_S),
        "before": int(before or 0),
        "before_id": before_id,
    }
    return desk.reads.incidents(filters, limit)


@router.get("/incidents/{id}", responses=_READ | responses(404), tags=["incidents"])
def show_incident(desk: AtDesk, _who: Viewer, id: IncidentId) -> IncidentDetail:
    """Show one incident: its signals, causes, labels, and what people said of it."""
    found = desk.reads.incident(id)
    if found is None:
        raise Refusal(HTTPStatus.NOT_FOUND, f"no incident {id}")
    return found


@router.post("/incidents/{id}/acknowledge", status_code=202, responses=_WRITE, tags=["incidents"])
def acknowledge(
    desk: AtDesk, who: Responder, response: Response, id: IncidentId, said: Said | None = None, key: Key = None
) -> Order:
    """Say that somebody is at it: escalation ends, and what it is like now counts as normal from here on."""
    return _about(desk, who, response, key, _order(Action.ACKNOWLEDGE, id, said))


@router.post("/incidents/{id}/silence", status_code=202, responses=_WRITE, tags=["incidents"])
def silence(
    desk: AtDesk, who: Responder, response: Response, id: IncidentId, said: SilenceIncident, key: Key = None
) -> Order:
    """Send nothing more about it for so long."""
    return _about(desk, who, response, key, _order(Action.SILENCE, id, said), said.duration_s)


@router.post("/incidents/{id}/resolve", status_code=202, responses=_WRITE, tags=["incidents"])
def resolve(
    desk: AtDesk, who: Responder, response: Response, id: IncidentId, said: Said | None = None, key: Key = None
) -> Order:
    """Say that it is over. It opens again if the signals still say otherwise."""
    return _about(desk, who, response, key, _order(Action.RESOLVE, id, said))


@router.post("/incidents/{id}/false", status_code=202, responses=_WRITE, tags=["incidents"])
def false(
    desk: AtDesk, who: Responder, response: Response, id: IncidentId, said: Said | None = None, key: Key = None
) -> Order:
    """Say that it never was one: what it is like now counts as normal from here on."""
    return _about(desk, who, response, key, _order(Action.FALSE, id, said))


@router.post("/incidents/{id}/label", status_code=202, responses=_WRITE, tags=["incidents"])
def label(desk: AtDesk, who: Responder, response: Response, id: IncidentId, said: Label, key: Key = None) -> Order:
    """Write down what people know of it. A name that is there already gets the new value."""
    order = replace(_order(Action.LABEL, id, said), labels=said.labels)
    return _about(desk, who, response, key, order)


@router.get("/silences", responses=_READ, tags=["silences"])
def list_silences(desk: AtDesk, _who: Viewer) -> Silences:
    """List the silences that last."""
    return Silences(silences=desk.reads.silences(desk.clock.now_ns() // NS_PER_SECOND))


@router.post("/silences", status_code=202, responses=_WRITE, tags=["silences"])
def create_silence(desk: AtDesk, who: Responder, response: Response, said: SilenceScope, key: Key = None) -> Order:
    """Send nothing about incidents of a scope for so long. Its id is that of the order."""
    order = replace(_order(Action.SILENCE, "", said), scope={str(name): value for name, value in said.scope.items()})
    return _append(desk, who, response, key, order, said.duration_s)


@router.delete("/silences/{id}", status_code=202, responses=_WRITE, tags=["silences"])
def end_silence(desk: AtDesk, who: Responder, response: Response, id: SilenceId, key: Key = None) -> Order:
    """End a silence before its time."""
    if not any(one.id == id for one in desk.reads.silences(desk.clock.now_ns() // NS_PER_SECOND)):
        raise Refusal(HTTPStatus.NOT_FOUND, f"no silence {id} lasts")
    return _append(desk, who, response, key, replace(_order(Action.END_SILENCE, "", None), silence=id))


@router.get("/orders/{id}", responses=_READ | responses(404), tags=["orders"])
def show_order(desk: AtDesk, _who: Viewer, id: SilenceId) -> Order:
    """Show what became of an order; 404 until it has been looked at, which takes seconds."""
    found = desk.reads.orders(id_=id)
    if not found:
        raise Refusal(HTTPStatus.NOT_FOUND, f"nothing is known of order {id} yet")
    return found[0]


@router.get("/me", responses=_READ, tags=["status"])
def show_me(who: Viewer) -> Me:
    """Say whose token it is."""
    return Me(name=who.name, role=who.role)


@router.get("/status", responses=_READ, tags=["status"])
def show_status(desk: AtDesk, _who: Viewer) -> Status_:
    """Say whether the store answers, what is open, and how long telemetry takes to be readable."""
    now_ns = desk.clock.now_ns()
    silences = open_ = None
    try:
        open_, silences = desk.reads.open(), len(desk.reads.silences(now_ns // NS_PER_SECOND))
    except RetryableError as error:
        _log.warning("store away", error=str(error))
    return Status_(
        version=metadata.version("dimwatch"),
        at=_time(now_ns),
        store="away" if open_ is None else "answers",
        open_incidents=open_,
        silences=silences,
        canary=_canary(desk.canary),
    )


def _canary(canary: Canary | None) -> CanaryStatus:
    if canary is None:
        return CanaryStatus(enabled=False, took_s=None, arrived_at=None, blind=False)
    seen = canary.seen
    arrived = None if seen.arrived_ns is None else _time(seen.arrived_ns)
    return CanaryStatus(enabled=True, took_s=seen.took_s, arrived_at=arrived, blind=seen.blind)


def _order(action: Action, incident: str, said: Any) -> control.Order:
    return control.Order(action, incident, 0, note=said.note if said else "")


def _about(
    desk: Desk, who: Identity, response: Response, key: str | None, order: control.Order, duration_s: int = 0
) -> Order:
    """Append an order about an incident, if there is one that it can be about. While the store is away nobody can
    look, and the order is taken: whoever was paged must be able to say so."""
    try:
        found = desk.reads.incident(order.incident)
    except RetryableError as error:
        _log.warning("store away, order taken unseen", incident=order.incident, error=str(error))
    else:
        if found is None:
            raise Refusal(HTTPStatus.NOT_FOUND, f"no incident {order.incident}")
        if found.status in _OVER and order.action not in (Action.FALSE, Action.LABEL):
            raise Refusal(HTTPStatus.CONFLICT, "the incident is over: it can only be labelled, or marked as false")
    return _append(desk, who, response, key, order, duration_s)


def _append(
    desk: Desk, who: Identity, response: Response, key: str | None, order: control.Order, duration_s: int = 0
) -> Order:
    now_ns = desk.clock.now_ns()
    if duration_s:
        until_ns = (now_ns // NS_PER_SECOND + duration_s) * NS_PER_SECOND
    # What is said twice with one key is one order: its id follows from what is said, the time left out.
    unique = f"{who.name}\x1f{key}\x1f{duration_s}\x1f".encode() + order.encode() if key else secrets.token_bytes(32)
    id_ = xxhash.xxh3_128_hexdigest(unique)
    order = replace(order, at_ns=now_ns, by=who.name, id=id_, until_ns=until_ns if duration_s else None)
    desk.eventlog.append({control.TOPIC: [NewRecord(order.encode(), now_ns)]})
    telemetry.ORDERS.labels(order.action.value).inc()
    _log.info("order", order=id_, action=order.action.value, incident=order.incident, by=who.name)
    response.headers["Location"] = f"/api/v1/orders/{id_}"
    return Order(
        id=id_,
        at=_time(now_ns),
        by=order.by,
        action=order.action,
        incident=order.incident,
        scope=dict(order.scope),
        until=_time(order.until_ns) if order.until_ns else None,
        silence=order.silence,
        labels=dict(order.labels),
        note=order.note,
        outcome="pending",
    )


def _time(ns: int) -> datetime:
    return datetime.fromtimestamp(ns // NS_PER_SECOND, UTC)


def _seconds(time: datetime | None, otherwise: int) -> int:
    return otherwise if time is None else min(max(int(time.timestamp()), 0), EVER_S)
