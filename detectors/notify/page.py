"""What is told: incidents as the eventlog has them, and pages, which are messages about one or more of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

import orjson
import pyarrow as pa

from detectors.incidents.incident import SCOPE, Severity, Status
from dimwatch import records

MOST_SHOWN: Final = 20
"""Incidents that one page tells of; of more it gives the number."""
_TIMES: Final = ("opened_at", "started_at", "resolved_at")


class Event(StrEnum):
    """Why a message is sent."""

    TRIGGER = "trigger"
    """Something has begun, has come back, or has become worse."""
    UPDATE = "update"
    """There is more to know."""
    REPEAT = "repeat"
    """It still goes on and nobody has acknowledged it."""
    ESCALATE = "escalate"
    """Likewise, and somebody else is told."""
    ACKNOWLEDGE = "acknowledge"
    SILENCE = "silence"
    RESOLVE = "resolve"
    """It is over, or never was."""
    HEARTBEAT = "heartbeat"
    TEST = "test"

    @property
    def wakes(self) -> bool:
        """Whether it asks somebody to act."""
        return self in (Event.TRIGGER, Event.REPEAT, Event.ESCALATE, Event.TEST)


@dataclass(frozen=True, slots=True)
class Told:
    """An incident, as of one version."""

    id: str
    tenant: str
    kind: str
    severity: str
    status: str
    scope: Mapping[str, str]
    opened_ns: int
    started_ns: int
    resolved_ns: int | None
    signals: Sequence[Mapping[str, Any]]
    causes: Sequence[Mapping[str, Any]]
    runs: float
    cost_usd: float
    summary: str
    version: int

    @property
    def live(self) -> bool:
        """Whether it goes on, and nobody has silenced it."""
        return self.status in (Status.OPEN, Status.ACKNOWLEDGED)

    def json(self) -> dict[str, Any]:
        """For the state."""
        return asdict(self)


def incidents_of(table: pa.Table) -> Iterator[Told]:
    """The rows of a record of `incidents`."""
    for name in _TIMES:
        index = table.schema.get_field_index(name)
        table = table.set_column(index, name, table[name].cast(records.INCIDENT.field(name).type).cast(pa.int64()))
    for row in table.to_pylist():
        yield Told(
            id=row["id"],
            tenant=row["tenant"],
            kind=row["kind"],
            severity=row["severity"],
            status=row["status"],
            scope={name: row[name] for name in SCOPE if row[name]},
            opened_ns=row["opened_at"],
            started_ns=row["started_at"],
            resolved_ns=row["resolved_at"],
            signals=orjson.loads(row["signals"] or "[]"),
            causes=orjson.loads(row["causes"] or "[]"),
            runs=row["runs"],
            cost_usd=row["cost_usd"],
            summary=row["summary"],
            version=row["version"],
        )


def gravest(incidents: Sequence[Told]) -> str:
    """The worst severity among those that go on, else among all."""
    order = [severity.value for severity in Severity]
    relevant = [incident for incident in incidents if incident.live] or incidents
    return max((incident.severity for incident in relevant), key=order.index, default=Severity.TICKET.value)


def status_of(incidents: Sequence[Told]) -> str:
    """`open` while somebody should look at one of them, then `acknowledged`, `silenced`, `resolved` or `false`."""
    statuses = {incident.status for incident in incidents}
    for status in (Status.OPEN, Status.ACKNOWLEDGED, Status.SILENCED, Status.RESOLVED):
        if status in statuses:
            return status.value
    return Status.FALSE.value


@dataclass(frozen=True, slots=True)
class Page:
    """What one message tells. It never changes, so that every attempt tells the same."""

    event: Event
    key: str
    """What the target should know it by: the same for all messages about the same matter."""
    tenant: str
    status: str
    severity: str
    at_ns: int
    """When it was written."""
    incidents: tuple[Told, ...]
    """The gravest and newest."""
    more: int = 0
    """How many are not shown."""

    def json(self) -> dict[str, Any]:
        """For the state."""
        return {**asdict(self), "event": self.event.value}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Page:
        """Undo `json`."""
        told = tuple(Told(**incident) for incident in state["incidents"])
        return cls(**{**state, "event": Event(state["event"]), "incidents": told})


def page_of(event: Event, key: str, tenant: str, incidents: Sequence[Told], at_ns: int, most: int = MOST_SHOWN) -> Page:
    """The page that tells of these incidents, of `most` of them in full."""
    order = [severity.value for severity in Severity]
    ranked = sorted(incidents, key=lambda i: (not i.live, -order.index(i.severity), -i.opened_ns, i.id))
    shown = tuple(ranked[:most])
    return Page(event, key, tenant, status_of(incidents), gravest(incidents), at_ns, shown, len(ranked) - len(shown))
