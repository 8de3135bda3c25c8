"""What must be true after everything was drained: nothing lost, nothing twice, and the same findings as undisturbed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.as_sent import Finding, Page, as_sent, begun, is_page
from benchmarks.oracle import Oracle, SpanKey
from benchmarks.running import Running, until
from detectors.fleet import Fleet, FleetOutput
from detectors.windows.points import merged, merged_sightings
from dimwatch import records
from dimwatch.app.fleet import decode
from dimwatch.app.pipeline import Output, Pipeline
from dimwatch.clock import NS_PER_SECOND
from dimwatch.eventlog import open_eventlog
from dimwatch.eventlog.base import EventLog, Record, TopicPartition
from dimwatch.eventlog.newest import newest
from dimwatch.settings import MIB, Settings
from dimwatch.store.sink import GROUP as SINK
from ingest.normalize import Request
from ingest.otlp.topic_door import TopicDoor

Row = tuple[Any, ...]
Item = TypeVar("Item")
SOURCES: Final = (records.OTLP_SPANS, records.OTLP_LOGS)
SOME_WINDOWS: Final = 50
"""Points of closed minutes without which there would be nothing to compare."""
_BATCH: Final = 64
_WINDOW: Final = (
    "tenant", "time", "subject", "agent", "provider", "model", "tool", "release", "region", "signal", "n", "total",
    "squares",
)  # fmt: skip
_INCIDENT: Final = (
    "id", "kind", "provider", "model", "agent", "tool", "severity", "opened_at", "started_at", "status", "version",
    "runs", "signals", "summary",
)  # fmt: skip
_TIMES: Final = ("time", "opened_at", "started_at")
_PATIENCE_S: Final = 180.0
_TRACE: Final = ("trace_id", "outcome", "complete", "spans", "steps", "tool_calls", "failed_tool_calls", "input_tokens")


@dataclass(slots=True)
class Proof:
    """Everything empty and zero, but for the counts."""

    spans: int = 0
    findings: int = 0
    found: set[Finding] = field(default_factory=set)
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
    told: set[Row] = field(default_factory=set)
    """The incidents."""
    pages: set[Page] = field(default_factory=set)
    """What somebody is woken for."""
    pages_as_sent: set[Page] = field(default_factory=set)
    """The same if every request had come when it was due."""
    not_in_replay: set[Finding] = field(default_factory=set)
    only_in_replay: set[Finding] = field(default_factory=set)
    split: set[str] = field(default_factory=set)
    """Traces of which something came after they had been judged, by arrival or by event time: live and in `replay`
    it may not be the same part."""

    @property
    def unexplained(self) -> set[Finding]:
        """Differences between the live run and `replay` in traces that arrived whole."""
        return {finding for finding in self.not_in_replay | self.only_in_replay if finding[1] not in self.split}

    @property
    def other_pages(self) -> set[tuple[str, ...]]:
        """Parts of the fleet that somebody is woken for here and not as sent, or the other way round. What came late
        by minutes is of later minutes, so that an outage may look like a brownout."""
        return {page[1:] for page in self.pages} ^ {page[1:] for page in self.pages_as_sent}


class Store(Protocol):
    """Whom to ask for rows, and how to bring everything else to an end."""

    def rows(self, sql: str) -> list[list[Any]]:
        """The rows of a query."""
        ...

    def settings(self) -> Settings:
        """The settings that stages run with."""
        ...

    def stop(self) -> object:
        """End everything that may still write."""
        ...


def prove(running: Running, oracle: Oracle, sent: set[SpanKey] | None = None) -> Proof:
    """Compare the store with what was acknowledged, an undisturbed run and `dimwatch replay`. Stops Dimwatch."""
    proof = compare(running, oracle.acknowledged, sent)
    replayed = replay(running, oracle.folder)
    proof.split |= paused(oracle.folder, running.settings().assembly.idle_s)
    proof.not_in_replay = proof.found - replayed
    proof.only_in_replay = replayed - proof.found
    return proof


def compare_as_sent(proof: Proof, settings: Settings, oracle: Oracle) -> None:
    """Compare with what there is to find if every request had arrived when it was due."""
    found, proof.pages_as_sent = as_sent(settings, oracle.folder)
    proof.split |= paused(oracle.folder, settings.assembly.idle_s)
    proof.not_in_replay, proof.only_in_replay = proof.found - found, found - proof.found
    told = (dict(zip(_INCIDENT, row, strict=True)) for row in proof.told)
    proof.pages = {
        (of["kind"], of["provider"], of["model"], of["agent"], of["tool"])
        for of in told
        if is_page(of["kind"], of["severity"])
    }


def compare(store: Store, acknowledged: set[SpanKey], sent: set[SpanKey] | None = None) -> Proof:
    """Compare the store with what was acknowledged and with an undisturbed run over the same eventlog."""
    visible = {(row[0], row[1]) for row in store.rows("SELECT trace_id, span_id FROM spans")}
    rows, distinct = store.rows("SELECT count(), uniqExact((trace_id, span_id)) FROM spans")[0]
    found: set[Finding] = {
        (row[0], row[1], row[2], row[3]) for row in store.rows("SELECT rule, trace_id, span_id, tool FROM observations")
    }
    traces = {tuple(row) for row in store.rows(f"SELECT {', '.join(_TRACE)} FROM traces")}
    settings = store.settings()
    closed_ns, windows, incidents = _of_fleet(store)
    store.stop()
    partitions = recorded(settings)
    expected, expected_traces, split = undisturbed(settings, partitions)
    expected_windows, expected_incidents = undisturbed_fleet(settings, partitions, closed_ns)
    return Proof(
        spans=rows,
        findings=len(found),
        found=found,
        traces=len(traces),
        lost=acknowledged - visible,
        doubles=rows - distinct,
        strange=len(visible - sent) if sent is not None else 0,
        missing=expected - found,
        surplus=found - expected,
        other_traces=set(traces ^ expected_traces),
        windows=len(windows),
        other_windows=windows ^ expected_windows,
        incidents=len(incidents),
        told=incidents,
        other_incidents=incidents ^ expected_incidents,
        split=split,
    )


def wait_for_minutes(store: Store, *, incident: bool) -> None:
    """Wait until there is something of the fleet to compare: points, and an `incident` where there has to be one.

    Minutes close by the clock: a short run may be over before the first of them.
    """
    until(
        lambda: _count(store, "windows WHERE width_s = 60") > SOME_WINDOWS, 240.0, "no minute of the fleet was closed"
    )
    if incident:
        until(lambda: _count(store, "incidents") > 0, 300.0, "no incident was opened")


def _count(store: Store, of: str) -> int:
    return int(store.rows(f"SELECT count() FROM {of}")[0][0])


def _of_fleet(store: Store) -> tuple[int, set[Row], set[Row]]:
    """What the fleet stage has told until now: the end of the last minute that it closed, points and incidents."""

    settings = store.settings()
    deadline = time.monotonic() + _PATIENCE_S
    with closing(open_eventlog(settings)) as eventlog:
        sink = eventlog.consumer(SINK, [records.WINDOWS, records.INCIDENTS])
        while True:
            closed_ns = closed(settings)
            until(lambda: not any(of.records for of in sink.lag().values()), _PATIENCE_S, "the store has not all of it")
            windows = store.rows(f"SELECT {_columns(_WINDOW)} FROM windows WHERE width_s = 60")
            incidents = store.rows(f"SELECT {_columns(_INCIDENT)} FROM incidents")
            if closed(settings) == closed_ns:  # else a minute has been closed meanwhile
                return closed_ns, {tuple(row) for row in windows}, {tuple(row) for row in incidents}
            assert time.monotonic() < deadline, "minutes are closed faster than they can be looked at"


def _columns(names: Sequence[str]) -> str:
    return ", ".join(f"toUnixTimestamp64Nano({name})" if name in _TIMES else name for name in names)


def closed(settings: Settings) -> int:
    """Up to where the fleet stage has closed minutes, event time in nanoseconds; 0 where it has not yet begun."""
    eventlog = open_eventlog(settings)
    try:
        found = newest(eventlog, records.FLEET_CHECKPOINTS, 1, max_bytes=16 * MIB)
    finally:
        eventlog.close()
    fleet = Fleet(settings.detection)
    if found:
        fleet.restore(decode(found[-1].value)[0])
    return fleet.windower.next_ns


def recorded(settings: Settings) -> list[list[Record]]:
    """What the receivers have put into the eventlog, by partition, in its order of arrival."""
    eventlog = open_eventlog(settings)
    try:
        return [_partition(eventlog, number) for number in range(eventlog.partitions(records.OTLP_SPANS))]
    finally:
        eventlog.close()


def _partition(eventlog: EventLog, number: int) -> list[Record]:
    reader = eventlog.reader([TopicPartition(topic, number) for topic in SOURCES])
    found: list[Record] = []
    while batch := reader.poll(max_records=1024, max_bytes=16 * MIB, timeout_s=0.0):
        found += batch
    reader.close()
    return sorted(found, key=lambda record: record.timestamp_ns)


def undisturbed(
    settings: Settings, partitions: Sequence[Sequence[Record]]
) -> tuple[set[Finding], set[tuple[Any, ...]], set[str]]:
    """What one process that is never killed makes of the records in the eventlog, in their order of arrival.

    Findings, trace rows, and the traces of which something came too late.
    """
    found, traces = set[Finding](), dict[str, tuple[Any, ...]]()
    heard: dict[str, list[tuple[int, bool]]] = defaultdict(list)

    def take(output: Output) -> None:
        for table in output.observations:
            columns = table.select(["rule", "trace_id", "span_id", "tool"]).to_pydict().values()
            found.update(zip(*columns, strict=True))
        for table in output.traces:
            for row in zip(*table.select(_TRACE).to_pydict().values(), strict=True):
                traces[row[0]] = row  # later versions come later

    door = TopicDoor(settings)
    for partition in partitions:
        pipeline = Pipeline(settings)
        for number, batch in enumerate(_batches(partition)):
            for record in batch:
                for trace_id, root in _told_of(record.topic, record.value):
                    heard[trace_id].append((record.timestamp_ns, root))
            take(pipeline.add(*_requests(batch, door), now_ns=batch[-1].timestamp_ns, record=number))
        take(pipeline.flush())
    linger_ns = int(settings.assembly.linger_s * NS_PER_SECOND)
    idle_ns = int(settings.assembly.idle_s * NS_PER_SECOND)
    late = {trace_id for trace_id, arrivals in heard.items() if _is_late(sorted(arrivals), linger_ns, idle_ns)}
    return found, set(traces.values()), late


def undisturbed_fleet(
    settings: Settings, partitions: Sequence[Sequence[Record]], closed_ns: int
) -> tuple[set[Row], set[Row]]:
    """What a pipeline for each partition and one fleet stage that are never killed make of the records in the eventlog,
    until `closed_ns`: points of closed minutes, and incidents."""
    fleet = begun(settings)
    pipelines = [Pipeline(settings) for _ in partitions]
    door = TopicDoor(settings)
    windows: set[Row] = set()
    incidents: dict[str, Row] = {}

    def move(batch: Sequence[tuple[int, Record]], now_ns: int, number: int) -> None:
        """All partitions come as far as `now_ns`, and the fleet after them."""
        for index, pipeline in enumerate(pipelines):
            own = [record for at, record in batch if at == index]
            output = pipeline.add(*_requests(own, door), now_ns=now_ns, record=number)
            points, sightings = merged(output.points), merged_sightings(output.sightings)
            fleet.windower.add(points, sightings, f"worker-{index}", now_ns)
        for minute in fleet.windower.closed():
            if minute.end_ns <= closed_ns:
                take(fleet.step([minute]))

    def take(output: FleetOutput) -> None:
        for minute in output.minutes:
            points = minute.points.select(_WINDOW)
            times = pc.cast(points["time"], pa.int64())
            columns = points.set_column(1, "time", times).to_pydict().values()
            windows.update(zip(*columns, strict=True))
        for incident in output.incidents:
            row = incident.row() | {"opened_at": incident.opened_ns, "started_at": incident.started_ns}
            incidents[incident.id] = tuple(row[name] for name in _INCIDENT)

    arrived = [(index, record) for index, partition in enumerate(partitions) for record in partition]
    arrived.sort(key=lambda item: item[1].timestamp_ns)
    number = now_ns = 0
    for number, batch in enumerate(_batches(arrived)):
        now_ns = batch[-1][1].timestamp_ns
        move(batch, now_ns, number)
    # The clock moves on, as it did live: until every trace is over, and the last minute.
    idle_ns = 2 * int(settings.assembly.max_idle_s * NS_PER_SECOND)
    late_ns = int(settings.detection.lateness_s * NS_PER_SECOND)
    move((), max(now_ns + idle_ns, closed_ns + late_ns) + NS_PER_SECOND, number + 1)
    return windows, set(incidents.values())


def _batches(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    return (items[start : start + _BATCH] for start in range(0, len(items), _BATCH))


def _requests(batch: Sequence[Record], door: TopicDoor) -> list[list[Request]]:
    return [list(door.requests(record for record in batch if record.topic == topic)) for topic in SOURCES]


def _told_of(topic: str, body: bytes) -> set[tuple[str, bool]]:
    """The traces that a request tells of, and whether it holds their root; none of what is no request."""
    try:
        return _told(topic, body)
    except DecodeError:
        return set()


def _told(topic: str, body: bytes) -> set[tuple[str, bool]]:
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
