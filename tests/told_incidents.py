"""Incidents as the fleet stage writes them, for tests of what is told to people."""

from __future__ import annotations

from typing import Any

from detectors.alerts import Node
from detectors.incidents.incident import Cause, Incident, Kind, Measure, Recent, Severity, Status
from detectors.notify.page import Told, incidents_of
from dimwatch import records
from dimwatch.clock import NS_PER_SECOND
from dimwatch.eventlog.base import NewRecord

MINUTE_NS = 60 * NS_PER_SECOND
START_NS = 1_767_225_600 * NS_PER_SECOND
"""2026-01-01, a Thursday."""


def incident(id_: str = "i1", at_ns: int = START_NS, **values: Any) -> Incident:
    """An incident that opened at `at_ns`."""
    given: dict[str, Any] = {
        "tenant": "acme",
        "kind": Kind.BROWNOUT,
        "severity": Severity.WARNING,
        "status": Status.OPEN,
        "scope": Node.make(provider="openai", model="gpt-x"),
        "opened_ns": at_ns,
        "started_ns": at_ns - 3 * MINUTE_NS,
        "measures": {"model_error": Measure("model_error", 0.31, 0.004, 40.0, at_ns - 3 * MINUTE_NS, 512)},
        "causes": [Cause("provider", "provider openai", 0.9)],
        "runs": 87.0,
        "cost_usd": 1.25,
        "recent": Recent("model_error", at_ns - 6 * MINUTE_NS, 60, (0.0, None, 0.01, 0.16, 0.3, 0.32), (0.004,) * 6),
        "summary": "openai / gpt-x: failing calls rose from 0.4% to 31%.",
        "version": 1,
    }
    return Incident(id_, **(given | values))


def record(*incidents: Incident, at_ns: int = START_NS) -> NewRecord:
    """A record of the topic `incidents`."""
    table = records.table_from_rows(records.INCIDENT, (one.row() for one in incidents))
    return NewRecord(records.encode(table), at_ns)


def told(id_: str = "i1", at_ns: int = START_NS, **values: Any) -> Told:
    """The same as the notifier reads it."""
    (one,) = incidents_of(records.decode(record(incident(id_, at_ns, **values)).value))
    return one
