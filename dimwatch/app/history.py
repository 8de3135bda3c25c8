"""Stored windows through the fleet's statistics once more: what would have paged with other settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import chain
from typing import Final

import pyarrow as pa

from detectors.fleet import Fleet, FleetOutput
from detectors.windows.minute import MINUTE_NS
from detectors.windows.stored import stored_minutes
from dimwatch import records
from dimwatch.app.replay import FORMAT, Progress, in_order, incident_lines, shadow_lines
from dimwatch.clock import rfc3339
from dimwatch.errors import InvalidError
from dimwatch.settings import Detection
from dimwatch.store.client import StoreClient
from dimwatch.store.sink import conform

_HALF_LIVES: Final = 4
"""So much more of history is read before, to learn what is normal: what is older counts for 6%."""
_LEAST_H: Final = 6.0
"""A series is watched when it has been known for four hours."""


@dataclass(slots=True)
class HistoryTally:
    """What went through: for the summary."""

    minutes: int = 0
    points: int = 0
    incidents: Counter[str] = field(default_factory=Counter)
    shadow: Counter[str] = field(default_factory=Counter)


class History:
    """One run over what the store keeps of the time from `since_ns` until before `until_ns`."""

    def __init__(self, settings: Detection, client: StoreClient, since_ns: int, until_ns: int) -> None:
        """Raises InvalidError for a time that is empty."""
        if until_ns - since_ns < MINUTE_NS:
            raise InvalidError(f"from {rfc3339(since_ns, 9)} to {rfc3339(until_ns, 9)} there is no whole minute")
        self._fleet = Fleet(settings)
        self._client = client
        self._since_ns = since_ns // MINUTE_NS * MINUTE_NS
        self._until_ns = until_ns // MINUTE_NS * MINUTE_NS
        warm_h = settings.guard_h + max(_HALF_LIVES * settings.half_life_h, _LEAST_H)
        self._start_ns = self._since_ns - int(warm_h * 60) * MINUTE_NS
        self.tally = HistoryTally()

    def run(self, progress: Progress | None = None) -> Iterator[dict[str, object]]:
        """Yield the lines of incidents that opened in that time, in order of time, and the summary last.

        Raises RetryableError or PermanentError when the store does not answer.
        """
        total = (self._until_ns - self._start_ns) // MINUTE_NS
        for minute in stored_minutes(self._read, self._start_ns, self._until_ns):
            if minute.start_ns >= self._since_ns:
                self.tally.minutes += 1
                self.tally.points += minute.points.num_rows
            yield from self._lines(self._fleet.step([minute]))
            if progress is not None:
                progress((minute.end_ns - self._start_ns) // MINUTE_NS, total)
        yield from self._lines(self._fleet.finish())
        yield {
            "type": "summary",
            "format": FORMAT,
            "since": rfc3339(self._since_ns, 9),
            "until": rfc3339(self._until_ns, 9),
            "minutes": self.tally.minutes,
            "points": self.tally.points,
            "incidents": dict(sorted(self.tally.incidents.items())),
            "shadow": dict(sorted(self.tally.shadow.items())),
        }

    def _lines(self, output: FleetOutput) -> Iterator[dict[str, object]]:
        incidents = (one for one in output.incidents if one.opened_ns >= self._since_ns)
        shadow = (one for one in output.shadow if one.opened_ns >= self._since_ns)
        return in_order(chain(incident_lines(incidents, self.tally.incidents), shadow_lines(shadow, self.tally.shadow)))

    def _read(self, start_ns: int, end_ns: int) -> tuple[pa.Table, pa.Table]:
        times = {"start": start_ns, "end": end_ns}
        points, sightings = (self._client.table(_sql(name), times) for name in ("stored_points", "stored_sightings"))
        return conform(points, records.POINT), conform(sightings, records.SIGHTING)


def _sql(name: str) -> str:
    return (files("dimwatch.app") / "sql" / f"{name}.sql").read_text(encoding="utf-8")
