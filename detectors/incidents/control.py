"""What people say of incidents: records of the topic `control`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import orjson

from detectors.incidents.incident import Incident, Status, rfc3339
from dimwatch.clock import NS_PER_SECOND
from dimwatch.errors import InvalidError

TOPIC: Final = "control"


class Action(StrEnum):
    """What may be said."""

    ACKNOWLEDGE = "acknowledge"
    """Somebody is at it; what it is like now counts as normal from here on."""
    SILENCE = "silence"
    """Nothing more is sent about it until a time."""
    RESOLVE = "resolve"
    """It is over."""
    FALSE = "false"
    """It never was one: what it is like now counts as normal."""


@dataclass(frozen=True, slots=True)
class Order:
    """One thing that somebody said of one incident."""

    action: Action
    incident: str
    """Its id."""
    at_ns: int
    by: str = ""
    note: str = ""
    until_ns: int | None = None
    """Of a silence."""

    def encode(self) -> bytes:
        """As a record's value: JSON."""
        told: dict[str, Any] = {"action": self.action.value, "incident": self.incident, "at": rfc3339(self.at_ns)}
        told.update({name: value for name in ("by", "note") if (value := getattr(self, name))})
        if self.until_ns is not None:
            told["until"] = rfc3339(self.until_ns)
        return orjson.dumps(told)


def read(value: bytes) -> Order:
    """Undo `Order.encode`. Raises InvalidError for anything else, and for a silence without an end."""
    try:
        told = orjson.loads(value)
        action = Action(told["action"])
        until = _ns(told["until"]) if "until" in told else None
        order = Order(
            action, str(told["incident"]), _ns(told["at"]), str(told.get("by", "")), str(told.get("note", "")), until
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise InvalidError(f"not an order about an incident: {error!r}") from error
    if order.action is Action.SILENCE and order.until_ns is None:
        raise InvalidError("a silence needs `until`, the RFC 3339 time at which it ends")
    return order


def status_after(incident: Incident, order: Order, now_ns: int) -> Status:
    """What an order makes of an incident's status; what is over stays over, except that it may turn out false."""
    if order.action is Action.FALSE:
        return Status.FALSE
    if incident.status in (Status.RESOLVED, Status.FALSE):
        return incident.status
    if order.action is Action.RESOLVE:
        return Status.RESOLVED
    if order.action is Action.SILENCE:
        return Status.SILENCED if order.until_ns is not None and order.until_ns > now_ns else incident.status
    return Status.ACKNOWLEDGED


def _ns(value: str) -> int:
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone")
    return int(moment.astimezone(UTC).timestamp()) * NS_PER_SECOND
