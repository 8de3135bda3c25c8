"""Closed minutes into the fleet stage: what `dimwatch replay` would print of incidents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.fleet.faults import Timetable
from benchmarks.fleet.points import minutes
from detectors.fleet import Fleet
from dimwatch.settings import Detection


def run(seed: int, end_s: float, table: Timetable) -> Iterator[dict[str, Any]]:
    """The lines of all incidents, as they open and change and in their final state."""
    fleet = Fleet(Detection())
    for minute in minutes(seed, end_s, table):
        for incident in fleet.step([minute]).incidents:
            yield incident.line()
    for incident in fleet.finish().incidents:
        yield incident.line()
