"""The worker over a real eventlog: killed between any two steps, it leaves the same rows as one that was not."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from detectors.windows.points import merged, merged_sightings, times_of
from dimwatch import records
from dimwatch.app.partition import SOURCES
from dimwatch.app.worker import GROUP, Worker
from dimwatch.clock import NS_PER_SECOND, ManualClock
from dimwatch.eventlog.base import NewRecord, Record
from dimwatch.eventlog.memory import MemoryEventLog
from dimwatch.settings import Assembly, Settings
from dimwatch.simulate.export import Export
from dimwatch.simulate.faults import DEFAULT_SHARES
from dimwatch.simulate.fleet import Fleet

START = 1_760_000_000 * NS_PER_SECOND
SETTINGS = Settings(assembly=Assembly(linger_s=3.0, idle_s=20.0))
KEYS = {
    records.SPANS: ("trace_id", "span_id"),
    records.TRACES: ("trace_id",),
    records.OBSERVATIONS: ("id",),
    records.DROPS: ("id",),
}
Rows = dict[str, dict[tuple[Any, ...], dict[str, Any]]]


@cache
def exports() -> list[Export]:
    """A minute of the fleet, most traces of it with a fault; the last request is one that does not parse."""
    shares = {name: 0.7 / len(DEFAULT_SHARES) for name in DEFAULT_SHARES}
    fleet = Fleet(5, START, START + 60 * NS_PER_SECOND, 1.0, shares)
    found = list(fleet.requests())
    return [*found, Export(found[-1].due_ns + 1, "traces", "garbage", 0, b"\x0a\xff")]


def rows_of(log: MemoryEventLog) -> Rows:
    """What the store would show: of each row the highest version."""
    found: Rows = {}
    consumer = log.consumer("test", list(KEYS))
    while batch := consumer.poll(max_records=1_000, max_bytes=1 << 30, timeout_s=0.0):
        for record in batch:
            shown = found.setdefault(record.topic, {})
            for row in records.decode(record.value).to_pylist():
                key = tuple(row[name] for name in KEYS[record.topic])
                row |= {
                    name: dict(value) for name, value in row.items() if isinstance(value, list) and "attributes" in name
                }
                if key not in shown or shown[key]["version"] <= row["version"]:
                    shown[key] = row
    consumer.close()
    return found


class Site:
    """An eventlog, a clock, and one worker after the other."""

    def __init__(self) -> None:
        self.log = MemoryEventLog()
        self.clock = ManualClock(START)
        self.worker = Worker(SETTINGS, self.log, self.clock)

    def receive(self, export: Export) -> None:
        self.clock.advance_to(export.due_ns)
        topic = records.OTLP_SPANS if export.signal == "traces" else records.OTLP_LOGS
        self.log.append({topic: [NewRecord(export.body, export.due_ns, headers={records.HEADER_ADMITTED: "1"})]})

    def step(self) -> None:
        while self.worker.step(0.0):
            pass

    def kill(self) -> None:
        self.worker = Worker(SETTINGS, self.log, self.clock)

    def end(self) -> Rows:
        for _ in range(40):
            self.clock.advance_to(self.clock.now_ns() + 5 * NS_PER_SECOND)
            self.step()
        return rows_of(self.log)


@cache
def undisturbed_site() -> Site:
    site = Site()
    for export in exports():
        site.receive(export)
        site.step()
    site.end()
    return site


@cache
def undisturbed() -> Rows:
    return rows_of(undisturbed_site().log)


def read_all(log: MemoryEventLog, topic: str) -> list[Record]:
    consumer = log.consumer("test", [topic])
    found = []
    while batch := consumer.poll(max_records=1_000, max_bytes=1 << 30, timeout_s=0.0):
        found += batch
    consumer.close()
    return found


def windows_of(log: MemoryEventLog) -> tuple[pa.Table, pa.Table]:
    """All points and all sightings, added up."""
    points, sightings = (
        [records.decode(record.value) for record in read_all(log, topic)]
        for topic in (records.POINTS, records.SIGHTINGS)
    )
    return merged(points), merged_sightings(sightings)


@given(st.lists(st.sampled_from(["step", "step", "kill", "wait", "nothing"]), min_size=30, max_size=90))
@settings(max_examples=5, deadline=None)
@pytest.mark.timeout(600)
def test_kills_make_no_difference(fates: list[str]) -> None:
    site = Site()
    for number, (export, following) in enumerate(pairwise([*exports(), exports()[-1]])):
        site.receive(export)
        fate = fates[number % len(fates)]
        if fate in ("step", "wait"):
            site.step()
        if fate == "wait":  # nothing comes for a moment: what is over by the clock is closed
            site.clock.advance_to(following.due_ns)
            site.step()
        if fate == "kill":
            site.kill()
    found, expected = site.end(), undisturbed()
    for topic in (records.SPANS, records.TRACES, records.OBSERVATIONS):
        assert found[topic] == expected[topic]
    assert windows_of(site.log) == windows_of(undisturbed_site().log)
    assert_nothing_is_behind(site.log)
    assert dropped(found) == dropped(expected)


def dropped(rows: Rows) -> dict[tuple[str, str], int]:
    counts: dict[tuple[str, str], int] = {}
    for row in rows.get(records.DROPS, {}).values():
        key = row["signal"], row["reason"]
        counts[key] = counts.get(key, 0) + row["count"]
    return counts


def assert_nothing_is_behind(log: MemoryEventLog) -> None:
    """No record adds to a window that was complete by the watermarks before it."""
    lateness_ns = int(SETTINGS.detection.lateness_s * NS_PER_SECOND)
    for topic, width_ns in ((records.POINTS, records.POINT_WIDTH_NS), (records.SIGHTINGS, 60 * NS_PER_SECOND)):
        watermark_ns = 0
        for record in read_all(log, topic):
            times = times_of(records.decode(record.value))
            assert (times + width_ns > watermark_ns - lateness_ns).all()
            watermark_ns = max(watermark_ns, record.timestamp_ns)


def test_the_fleet_gives_something_to_compare() -> None:
    rows = undisturbed()
    assert len(rows[records.SPANS]) > 200
    assert len(rows[records.TRACES]) > 30
    assert len({row["rule"] for row in rows[records.OBSERVATIONS].values()}) >= 8
    assert dropped(rows)["requests", "malformed"] == 1


def test_an_eventlog_that_was_read_is_not_read_again() -> None:
    site = Site()
    for export in exports():
        site.receive(export)
    site.end()
    before = len(rows_of(site.log)[records.SPANS])
    site.kill()
    assert site.worker.step(0.0) == 0
    assert len(rows_of(site.log)[records.SPANS]) == before


def test_log_events_of_nobody_are_counted_and_do_not_hold_the_offsets_back() -> None:
    site = Site()
    logs = ExportLogsServiceRequest()
    record = logs.resource_logs.add().scope_logs.add().log_records.add(trace_id=b"t" * 16, span_id=b"s" * 8)
    record.event_name = "gen_ai.user.message"
    site.receive(Export(START, "logs", "nobody", 1, logs.SerializeToString()))
    assert dropped(site.end()) == {("logs", "content_without_span"): 1}
    assert all(lag.records == 0 for lag in site.log.consumer(GROUP, SOURCES).lag().values())


def test_a_kill_while_the_log_is_read_again_counts_no_drop_twice() -> None:
    site = Site()
    spans = ExportTraceServiceRequest()
    spans.resource_spans.add().scope_spans.add().spans.add(
        trace_id=b"t" * 16,
        span_id=b"s" * 8,
        parent_span_id=b"p" * 8,
        start_time_unix_nano=START,
        end_time_unix_nano=START,
    )
    site.receive(Export(START, "traces", "open", 1, spans.SerializeToString()))  # it holds the offsets back
    site.log.append({records.OTLP_SPANS: [NewRecord(b"\x0a\xff", START + 1) for _ in range(600)]})
    site.step()
    site.clock.advance_to(START + 3 * NS_PER_SECOND)
    site.step()
    for _ in range(2):
        site.kill()
        assert site.worker.step(0.0) < 600  # a part of it, and a checkpoint
    site.kill()
    assert dropped(site.end()) == {("requests", "malformed"): 600}


def test_points_count_every_run_and_call_once() -> None:
    points, sightings = windows_of(undisturbed_site().log)
    rows = undisturbed()
    traffic = points.filter(pc.equal(points["signal"], "run_traffic"))
    assert pc.sum(traffic["n"]).as_py() == len(rows[records.TRACES])
    failed = points.filter(pc.equal(points["signal"], "run_failed"))
    assert pc.sum(failed["total"]).as_py() == sum(row["outcome"] == "failed" for row in rows[records.TRACES].values())
    calls = points.filter(pc.equal(points["signal"], "tool_invalid"))
    assert pc.sum(calls["n"]).as_py() == sum(row["tool_calls"] for row in rows[records.TRACES].values())
    assert {"answered_model", "release", "tools"} <= set(sightings["attribute"].to_pylist())


def test_the_fleet_stage_is_told_how_far_the_worker_is_and_gets_nothing_for_what_is_behind() -> None:
    site = Site()
    for export in exports()[:40]:
        site.receive(export)
        site.step()
    for _ in range(600):  # nothing comes any more, but time goes on
        site.clock.advance_to(site.clock.now_ns() + NS_PER_SECOND)
        site.step()
    for topic in (records.POINTS, records.SIGHTINGS):
        found = read_all(site.log, topic)
        marks = [record.timestamp_ns for record in found]
        assert marks == sorted(marks)
        assert {record.headers[records.HEADER_SOURCE] for record in found} == {"worker-0"}
        assert all(later - earlier <= 11 * NS_PER_SECOND for earlier, later in pairwise(marks) if earlier)
        assert site.clock.now_ns() - marks[-1] <= 11 * NS_PER_SECOND
    assert_nothing_is_behind(site.log)
