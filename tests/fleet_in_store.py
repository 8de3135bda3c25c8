"""Hours of a simulated fleet with known faults, through worker and fleet stages, as rows of the store's tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pyarrow as pa

from detectors.fleet import Fleet, FleetOutput
from detectors.windows.hours import Hours
from detectors.windows.minute import MINUTE_NS
from detectors.windows.points import merged, merged_sightings
from dimwatch import records
from dimwatch.app.pipeline import Output, Pipeline
from dimwatch.clock import NS_PER_SECOND
from dimwatch.settings import Settings
from dimwatch.simulate.faults import DEFAULT_SHARES
from dimwatch.simulate.fleet import Fleet as Simulation
from dimwatch.simulate.options import scenario
from dimwatch.store.sink import TABLES
from ingest.normalize import Request

PAST_S: Final = 15_300
"""So long must a series be known, and something more, before it is watched."""
PAST_RATE: Final = 0.1
LIVE_S: Final = 3_300
LIVE_RATE: Final = 0.8
EFFECTS: Final = (
    "brownout:openai@600s+660s",
    "empty_tool:search_flights@1560s+600s",
    "model_change:claude-sonnet-4-5=claude-3-5-haiku-20241022@2400s+600s",
)
"""By seconds since LIVE_S before the end."""
PAST_BATCH_S: Final = 1_200
LIVE_BATCH_S: Final = 120

Rows = tuple[str, pa.Table]
"""A table and what to insert into it."""


def rows(end_ns: int) -> Iterator[Rows]:
    """What the tables hold at `end_ns` (cut to the minute). Spans are there of the last LIVE_S, windows of all."""
    end_ns -= end_ns % MINUTE_NS
    live_ns = end_ns - LIVE_S * NS_PER_SECOND
    past = Simulation(2, live_ns - PAST_S * NS_PER_SECOND, live_ns, PAST_RATE)
    live = Simulation(7, live_ns, end_ns, LIVE_RATE, dict(DEFAULT_SHARES), scenario(live_ns, EFFECTS))
    settings = Settings(data=Path("unused"))
    pipeline, stage = Pipeline(settings), _Stage(settings)
    for simulation, batch_s in ((past, PAST_BATCH_S), (live, LIVE_BATCH_S)):
        for output, judged_ns in _outputs(pipeline, simulation, batch_s * NS_PER_SECOND):
            if simulation is live:
                yield from _of_worker(output)
            yield from stage.add(output, judged_ns)
    last = pipeline.flush()
    yield from _of_worker(last)
    yield from stage.add(last, end_ns)


def _outputs(pipeline: Pipeline, simulation: Simulation, batch_ns: int) -> Iterator[tuple[Output, int]]:
    held: dict[str, list[Request]] = {"traces": [], "logs": []}
    begun_ns = now_ns = 0
    for export in simulation.requests():
        begun_ns = begun_ns or export.due_ns
        if export.due_ns - begun_ns > batch_ns:
            yield pipeline.add(held["traces"], held["logs"], now_ns=now_ns, record=0), now_ns
            held, begun_ns = {"traces": [], "logs": []}, export.due_ns
        held[export.signal].append(Request(export.body, export.due_ns))
        now_ns = export.due_ns
    yield pipeline.add(held["traces"], held["logs"], now_ns=now_ns, record=0), now_ns


def _of_worker(output: Output) -> Iterator[Rows]:
    for topic, tables in (
        (records.SPANS, output.spans),
        (records.TRACES, output.traces),
        (records.OBSERVATIONS, output.observations),
    ):
        if tables:
            yield TABLES[topic], pa.concat_tables(tables)


class _Stage:
    """The fleet stage, as `dimwatch.app.fleet` runs it."""

    def __init__(self, settings: Settings) -> None:
        self._fleet = Fleet(settings.detection)
        self._hours = Hours()

    def add(self, output: Output, judged_ns: int) -> Iterator[Rows]:
        points, sightings = merged(output.points), merged_sightings(output.sightings)
        yield from self._rows(self._fleet.add(points, sightings, source="worker", watermark_ns=judged_ns))

    def _rows(self, output: FleetOutput) -> Iterator[Rows]:
        for minute in output.minutes:
            for width_s, points in ((60, minute.points), (3600, self._hours.add(minute))):
                if points is not None and points.num_rows:
                    widths = pa.array([width_s] * points.num_rows, pa.uint32())
                    yield TABLES[records.WINDOWS], points.append_column(records.WINDOW.field("width_s"), widths)
            if minute.sightings.num_rows:
                yield TABLES[records.WINDOW_SIGHTINGS], minute.sightings
        for topic, schema, found in (
            (records.CHANGES, records.CHANGE, [change.row() for change in output.changes]),
            (records.INCIDENTS, records.INCIDENT, [incident.row() for incident in output.incidents]),
        ):
            if found:
                yield TABLES[topic], records.table_from_rows(schema, found)


def together(found: Iterable[Rows]) -> dict[str, pa.Table]:
    """One insert a table."""
    parts: dict[str, list[pa.Table]] = {}
    for table, part in found:
        parts.setdefault(table, []).append(part)
    return {table: pa.concat_tables(of) for table, of in parts.items()}


def time_of(ns: int) -> datetime:
    """As the tables show it."""
    return datetime.fromtimestamp(ns // NS_PER_SECOND, UTC)
