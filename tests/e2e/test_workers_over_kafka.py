"""Two worker processes over a real broker: one is killed, one joins, and what comes out is as from one in memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.ports import free_ports
from dimwatch import records
from dimwatch.app.fleet import FleetStage
from dimwatch.app.worker import GROUP, Worker
from dimwatch.clock import NS_PER_SECOND, ManualClock, SystemClock
from dimwatch.eventlog import open_eventlog
from dimwatch.eventlog.base import EventLog, NewRecord, TopicPartition
from dimwatch.eventlog.memory import MemoryEventLog
from dimwatch.settings import EventLogSettings, Kafka, Settings
from ingest.otlp.admission import Piece
from ingest.otlp.signals import TRACES
from ingest.otlp.spread import spread
from tests.kafka_broker import Broker
from tests.scenario.test_fleet_of_traces import requests
from tests.told_outage import DETECTION

pytestmark = [pytest.mark.kafka, pytest.mark.e2e, pytest.mark.timeout(900)]

PARTITIONS = 4
MINUTE_NS = 60 * NS_PER_SECOND
Rows = dict[tuple[Any, ...], dict[str, Any]]
KEYS = {records.SPANS: ("trace_id", "span_id"), records.TRACES: ("trace_id",), records.OBSERVATIONS: ("id",)}


def recorded(until_ns: int) -> list[NewRecord]:
    """Five hours of a fleet with a tool that breaks, ending now, as the receiver puts them into the log."""
    shift = (until_ns - requests()[-1][0]) // MINUTE_NS * MINUTE_NS
    found = []
    for time_ns, body in requests():
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    span.start_time_unix_nano += shift
                    span.end_time_unix_nano += shift
        for piece in spread([Piece(request.SerializeToString(), b"")], TRACES, PARTITIONS):
            found.append(NewRecord(piece.body, time_ns + shift, piece.key, {records.HEADER_TENANT: ""}))
    return found


def read(log: EventLog, topic: str) -> list[dict[str, Any]]:
    reader = log.reader([TopicPartition(topic, number) for number in range(log.partitions(topic))])
    rows: list[dict[str, Any]] = []
    while batch := reader.poll(max_records=1_000, max_bytes=1 << 30, timeout_s=0.5):
        rows += [row for record in batch for row in records.decode(record.value).to_pylist()]
    reader.close()
    return rows


def shown(log: EventLog, topic: str) -> Rows:
    """What the store would show: of each row the highest version."""
    found: Rows = {}
    for row in read(log, topic):
        key = tuple(row[name] for name in KEYS[topic])
        if key not in found or found[key]["version"] <= row["version"]:
            found[key] = row
    return found


def told_ns(log: EventLog) -> int:
    """Up to where all partitions have told the fleet stage, in what readers can see: a worker that died in a
    transaction hides what comes after it until the broker has ended that."""
    reader = log.reader([TopicPartition(records.POINTS, number) for number in range(log.partitions(records.POINTS))])
    marks: dict[str, int] = {}
    while batch := reader.poll(max_records=1_000, max_bytes=1 << 30, timeout_s=0.5):
        for record in batch:
            source = record.headers[records.HEADER_SOURCE]
            marks[source] = max(marks.get(source, 0), record.timestamp_ns)
    reader.close()
    return min(marks.values()) if len(marks) == PARTITIONS else 0


def opened(log: EventLog, now_ns: int, before_ns: int) -> list[tuple[Any, ...]]:
    """The incidents that the fleet stage opens by what the workers told, read at once: it does not wait for partitions
    that are hours behind others, as they may be while workers catch up with hours of history."""
    told = MemoryEventLog()
    for topic in (records.POINTS, records.SIGHTINGS):
        reader = log.reader([TopicPartition(topic, number) for number in range(log.partitions(topic))])
        while batch := reader.poll(max_records=1_000, max_bytes=1 << 30, timeout_s=0.5):
            told.append({topic: [NewRecord(one.value, one.timestamp_ns, headers=one.headers) for one in batch]})
        reader.close()
    stage = FleetStage(Settings(detection=DETECTION), told, ManualClock(now_ns))
    while stage.step(0.0):
        pass
    stage.close()
    rows = sorted(read(told, records.INCIDENTS), key=lambda row: row["version"])
    return sorted(
        (row["id"], row["kind"], row["agent"], row["tool"], row["opened_at"].value, row["started_at"].value)
        for row in rows
        if row["version"] == 1 and row["opened_at"].value <= before_ns
    )


@contextmanager
def worker(folder: Path, settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    (port,) = free_ports(1)
    environment = os.environ | {
        "DIMWATCH_DATA": str(folder),
        "DIMWATCH_EVENTLOG__BACKEND": "kafka",
        "DIMWATCH_EVENTLOG__KAFKA__BOOTSTRAP_SERVERS": ",".join(settings.eventlog.kafka.bootstrap_servers),
        "DIMWATCH_EVENTLOG__KAFKA__TOPIC_PREFIX": settings.eventlog.kafka.topic_prefix,
        "DIMWATCH_EVENTLOG__KAFKA__PARTITIONS": str(PARTITIONS),
        "DIMWATCH_EVENTLOG__KAFKA__SESSION_TIMEOUT_S": "3",
        "DIMWATCH_EVENTLOG__KAFKA__SPOOL": "0",  # nothing of the past can come yet: nobody waits for it
    }
    command = [sys.executable, "-P", "-m", "dimwatch", "worker", "--health-port", str(port)]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until(happened: Callable[[], bool], seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.1)


def test_a_worker_that_dies_and_one_that_joins_change_nothing(
    kafka_broker: Broker, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    kafka = Kafka(
        bootstrap_servers=[kafka_broker.address], topic_prefix="workers-", partitions=PARTITIONS, compression="lz4"
    )
    settings = Settings(data=tmp_path, eventlog=EventLogSettings(backend="kafka", kafka=kafka), detection=DETECTION)
    clock = SystemClock()
    # It ends a minute ago: workers that leap to now go on for as long as such a leap is in doubt.
    sent = recorded(clock.now_ns() - MINUTE_NS)
    last_ns = sent[-1].timestamp_ns
    log = open_eventlog(settings)
    group = log.consumer(GROUP, [records.OTLP_SPANS, records.OTLP_LOGS])
    request.addfinalizer(log.close)

    def behind() -> int:
        return sum(lag.records for lag in group.lag().values())

    memory, calm = MemoryEventLog(partitions=PARTITIONS), ManualClock(last_ns)
    memory.append({records.OTLP_SPANS: sent})
    alone = Worker(Settings(detection=DETECTION), memory, calm)
    for _ in range(60):
        calm.advance_to(calm.now_ns() + 2 * NS_PER_SECOND)
        while alone.step(0.0):
            pass
    alone.close()

    # All of it before the workers: where nothing is left to read, the clock moves a partition's time on to now.
    log.append({records.OTLP_SPANS: sent})
    with worker(tmp_path / "one", settings) as one, worker(tmp_path / "two", settings) as two:
        until(lambda: behind() < len(sent))
        one.send_signal(signal.SIGKILL)
        with worker(tmp_path / "three", settings) as three:
            until(lambda: behind() == 0 and len(shown(log, records.TRACES)) >= len(shown(memory, records.TRACES)))
            until(lambda: told_ns(log) > last_ns)
            assert two.poll() is None, (tmp_path / "two" / "log").read_text()[-2000:]
            assert three.poll() is None, (tmp_path / "three" / "log").read_text()[-2000:]

    for topic in KEYS:
        found, expected = shown(log, topic), shown(memory, topic)
        assert found.keys() == expected.keys()
        assert found == expected
    assert len(expected) > 100
    incidents = opened(log, clock.now_ns(), last_ns - 5 * MINUTE_NS)
    assert incidents == opened(memory, calm.now_ns(), last_ns - 5 * MINUTE_NS)
    assert {kind for _, kind, *_ in incidents} == {"tool_degradation"}
