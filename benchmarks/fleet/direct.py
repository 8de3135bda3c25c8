"""Closed minutes into engine, ledger and incidents: what `dimwatch replay` would print of incidents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.fleet.faults import Timetable
from benchmarks.fleet.points import minutes
from detectors.changes.ledger import Ledger
from detectors.engine import Engine
from detectors.incidents.incidents import Incidents
from dimwatch.settings import Detection


def run(seed: int, end_s: float, table: Timetable) -> Iterator[dict[str, Any]]:
    """The lines of all incidents, as they open and in their final state."""
    settings = Detection()
    engine, ledger, incidents = Engine(settings), Ledger(), Incidents()
    for minute in minutes(seed, end_s, table):
        alerts = engine.step(minute)
        ledger.step(minute, engine)
        for incident in incidents.step(minute, alerts, engine, ledger):
            yield incident.line()
    for incident in incidents.finish():
        yield incident.line()
