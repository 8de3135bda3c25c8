"""What must be true after everything was drained: nothing lost, nothing twice, and the same findings as undisturbed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.oracle import Oracle
from benchmarks.running import Running
from detectors.fleet import Fleet, FleetOutput
from detectors.windows.points import merged, merged_sightings
from dimwatch import records
from dimwatch.app.pipeline import Output, Pipeline
from dimwatch.clock import NS_PER_SECOND
from dimwatch.eventlog import open_eventlog
from dimwatch.settings import MIB
from ingest.normalize import Request

Finding = tuple[str, str, str, str]
"""Rule, trace id, span id, tool."""
Row = tuple[Any, ...]
_WINDOW: Final = (
    "tenant", "time", "subject", "agent", "provider", "model", "tool", "release", "region", "signal", "n", "total",
    "squares",
)  # fmt: skip
_INCIDENT: Final = ("id", "kind", "status", "version", "summary")
_TRACE: Final = ("trace_id", "outcome", "complete", "spans", "steps", "tool_calls", "failed_tool_calls", "input_tokens")


@dataclass(slots=True)
class Proof:
    """Everything empty and zero, but for the counts."""

    spans: int = 0
    findings: int = 0
    traces: int = 0
    lost: set[tuple[str, str]] = field(default_factory=set)
    doubles: int = 0
    strange: int = 0
    """Visible, but never sent."""
    missing: set[Finding] = field(default_factory=set)
    """Found by an undisturbed run over the same eventlog, but not in the store."""
    surplus: set[Finding] = field(default_factory=set)
    other_traces: set[tuple[Any, ...]] = field(default_factory=set)
    """Trace rows that differ from those of the undisturbed run."""
    windows: int = 0
    other_windows: set[Row] = field(default_factory=set)
    """Points of closed minutes that differ from those of the undisturbed run."""
    incidents: int = 0
    other_incidents: set[Row] = field(default_factory=set)
    not_in_replay: set[Finding] = field(default_factory=set)
    only_in_replay: set[Finding] = field(default_factory=set)
    split: set[str] = field(default_factory=set)
    """Traces of which something came after they had been judged, by arrival or by event time: live and in `replay`
    it may not be the same part."""

    @property
    def unexplained(self) -> set[Finding]:
        """Differences between the live run and `replay` in traces that arrived whole."""
        return {finding for finding in self.not_in_replay | self.only_in_replay if finding[1] not in self.split}


def prove(running: Running, oracle: Oracle, sent: set[tuple[str, str]] | None = None) -> Proof:
    """Compare the store with what was acknowledged and with an undisturbed run. Stops Dimwatch."""
    visible = {(row[0], row[1]) for row in running.rows("SELECT trace_id, span_id FROM spans")}
    rows, distinct = running.rows("SELECT count(), uniqExact((trace_id, span_id)) FROM spans")[0]
    found = {tuple(row) for row in running.rows("SELECT rule, trace_id, span_id, tool FROM observations")}
    traces = {tuple(row) for row in running.rows(f"SELECT {', '.join(_TRACE)} FROM traces")}
    columns = ", ".join(_WINDOW).replace("time", "toUnixTimestamp64Nano(time)")
    windows = {tuple(row) for row in running.rows(f"SELECT {columns} FROM windows WHERE width_s = 60")}
    closed_ns = max((row[1] for row in windows), default=0)
    incidents = {tuple(row) for row in running.rows(f"SELECT {', '.join(_INCIDENT)} FROM incidents")}
    running.stop()
    expected, expected_traces, split = undisturbed(running)
    expected_windows, expected_incidents = undisturbed_fleet(running, closed_ns)
    replayed = replay(running, oracle.folder)
    split |= paused(oracle.folder, running.settings().assembly.idle_s)
    return Proof(
        spans=rows,
        findings=len(found),
        traces=len(traces),
        lost=oracle.acknowledged - visible,
        doubles=rows - distinct,
        strange=len(visible - sent) if sent is not None else 0,
        missing=expected - found,
        surplus=found - expected,
        other_traces=set(traces ^ expected_traces),
        windows=len(windows),
        other_windows=windows ^ expected_windows,
        incidents=len(incidents),
        other_incidents=incidents ^ expected_incidents,
        not_in_replay=found - replayed,
        only_in_replay=replayed - found,
        split=split,
    )


def undisturbed(running: Running) -> tuple[set[Finding], set[tuple[Any, ...]], set[str]]:
    """What one process that is never killed makes of the records in the eventlog, in their order of arrival.

    Findings, trace rows, and the traces of which something came too late.
    """
    settings = running.settings()
    pipeline, found, traces = Pipeline(settings), set[Finding](), dict[str, tuple[Any, ...]]()
    heard: dict[str, list[tuple[int, bool]]] = defaultdict(list)

    def take(output: Output) -> None:
        for table in output.observations:
            columns = table.select(["rule", "trace_id", "span_id", "tool"]).to_pydict().values()
            found.update(zip(*columns, strict=True))
        for table in output.traces:
            for row in zip(*table.select(_TRACE).to_pydict().values(), strict=True):
                traces[row[0]] = row  # later versions come later

    eventlog = open_eventlog(settings)
    try:
        consumer = eventlog.consumer("proof", [records.OTLP_SPANS, records.OTLP_LOGS])
        number = 0
        while batch := consumer.poll(max_records=64, max_bytes=16 * MIB, timeout_s=0.0):
            requests: dict[str, list[Request]] = {records.OTLP_SPANS: [], records.OTLP_LOGS: []}
            for record in batch:
                requests[record.topic].append(Request(record.value, record.timestamp_ns))
                for trace_id, root in _told_of(record.topic, record.value):
                    heard[trace_id].append((record.timestamp_ns, root))
            now_ns = max(record.timestamp_ns for record in batch)
            take(pipeline.add(*requests.values(), now_ns=now_ns, record=number))
            number += 1
        consumer.close()
    finally:
        eventlog.close()
    take(pipeline.flush())
    linger_ns = int(settings.assembly.linger_s * NS_PER_SECOND)
    idle_ns = int(settings.assembly.idle_s * NS_PER_SECOND)
    late = {trace_id for trace_id, arrivals in heard.items() if _is_late(sorted(arrivals), linger_ns, idle_ns)}
    return found, set(traces.values()), late


def undisturbed_fleet(running: Running, closed_ns: int) -> tuple[set[Row], set[Row]]:
    """What one pipeline and one fleet stage that are never killed make of the records in the eventlog, as far as the
    minute that begins at `closed_ns`: points of closed minutes, and incidents."""
    settings = running.settings()
    pipeline, fleet = Pipeline(settings), Fleet(settings.detection)
    windows: set[Row] = set()
    incidents: dict[str, Row] = {}

    def take(output: FleetOutput) -> None:
        for minute in output.minutes:
            if minute.start_ns <= closed_ns:
                points = minute.points.select(_WINDOW)
                times = pc.cast(points["time"], pa.int64())
                columns = points.set_column(1, "time", times).to_pydict().values()
                windows.update(zip(*columns, strict=True))
        for incident in output.incidents:
            row = incident.row()
            incidents[incident.id] = tuple(row[name] for name in _INCIDENT)

    eventlog = open_eventlog(settings)
    try:
        consumer = eventlog.consumer("proof", [records.OTLP_SPANS, records.OTLP_LOGS])
        number = now_ns = 0
        while batch := consumer.poll(max_records=64, max_bytes=16 * MIB, timeout_s=0.0):
            requests: dict[str, list[Request]] = {records.OTLP_SPANS: [], records.OTLP_LOGS: []}
            for record in batch:
                requests[record.topic].append(Request(record.value, record.timestamp_ns))
            now_ns = max(record.timestamp_ns for record in batch)
            output = pipeline.add(*requests.values(), now_ns=now_ns, record=number)
            take(fleet.add(merged(output.points), merged_sightings(output.sightings), source="", watermark_ns=now_ns))
            number += 1
        consumer.close()
    finally:
        eventlog.close()
    # The clock moves on, as it did live.
    now_ns = max(now_ns, closed_ns) + 2 * int(settings.assembly.max_idle_s * NS_PER_SECOND)
    output = pipeline.add((), (), now_ns=now_ns, record=number)
    fleet.windower.add(merged(output.points), merged_sightings(output.sightings), "", now_ns)
    for minute in fleet.windower.closed():
        if minute.start_ns <= closed_ns:
            take(fleet.step([minute]))
    return windows, set(incidents.values())


def _told_of(topic: str, body: bytes) -> set[tuple[str, bool]]:
    """The traces that a request tells of, and whether it holds their root."""
    if topic == records.OTLP_SPANS:
        spans = [
            span
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        return {(span.trace_id.hex(), not span.parent_span_id) for span in spans}
    return {
        (log_record.trace_id.hex(), False)
        for resource in ExportLogsServiceRequest.FromString(body).resource_logs
        for scope in resource.scope_logs
        for log_record in scope.log_records
    }


def _is_late(arrivals: list[tuple[int, bool]], linger_ns: int, idle_ns: int) -> bool:
    rooted = False
    for (earlier, root), (later, _) in pairwise(arrivals):
        rooted |= root
        if later - earlier > (linger_ns if rooted else idle_ns):
            return True
    return False


def paused(requests: Path, seconds: float) -> set[str]:
    """Traces with a longer pause between the requests that tell of them, by event time."""
    heard: dict[str, list[int]] = defaultdict(list)
    for path in requests.glob("*[0-9].pb"):
        request = ExportTraceServiceRequest.FromString(path.read_bytes())
        spans = [span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]
        last_ns = max(span.end_time_unix_nano for span in spans)
        for trace_id in {span.trace_id for span in spans}:
            heard[trace_id.hex()].append(last_ns)
    return {
        trace_id
        for trace_id, times in heard.items()
        if any(later - earlier > seconds * NS_PER_SECOND for earlier, later in pairwise(sorted(times)))
    }


def replay(running: Running, requests: Path) -> set[Finding]:
    """What `dimwatch replay` finds in recorded requests, in their order of event time."""
    command = [sys.executable, "-P", "-m", "dimwatch", "replay", str(requests)]
    done = subprocess.run(command, capture_output=True, env=running.environment(), timeout=600)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {
        (line["rule"], line["trace_id"], line["span_id"], line["tool"])
        for line in lines
        if line["type"] == "observation"
    }
