"""A standard OpenTelemetry Collector's Kafka exporter in front of our workers, over a real broker."""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import httpx
import pyarrow as pa
import pytest
from kafka import KafkaProducer
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.ports import free_ports
from benchmarks.running import until
from dimwatch import records
from dimwatch.app.pipeline import Pipeline
from dimwatch.app.worker import Worker
from dimwatch.clock import NS_PER_SECOND, SystemClock
from dimwatch.eventlog import open_eventlog
from dimwatch.eventlog.base import EventLog, Record, TopicPartition
from dimwatch.eventlog.partitioning import partition_of
from dimwatch.settings import Settings
from dimwatch.simulate.fleet import Fleet
from ingest.normalize import Request
from tests import otel_exporter
from tests.docs.generated import ROOT
from tests.kafka_broker import Broker, kafka_broker

pytestmark = [pytest.mark.e2e, pytest.mark.kafka, pytest.mark.timeout(600)]
__all__ = ["kafka_broker"]

PARTITIONS = 3
BUILT = ROOT / "deploy" / "collector" / "build" / "dimwatch-otelcol"
BUILD = (
    "GOBIN=$PWD/deploy/collector/build go install go.opentelemetry.io/collector/cmd/builder@v0.155.0 && "
    "cd deploy/collector && build/builder --config builder.yaml"
)
SECRET = "sk-ant-api03-" + "a1B2" * 20


@pytest.fixture
def settings(kafka_broker: Broker, tmp_path: Path) -> Settings:
    kafka = {
        "bootstrap_servers": [kafka_broker.address],
        "partitions": PARTITIONS,
        "topic_prefix": f"{uuid.uuid4().hex[:8]}-",
    }
    assembly = {"linger_s": 1.0, "idle_s": 2.0, "max_idle_s": 2.0}
    return Settings.model_validate(
        {"data": tmp_path, "eventlog": {"backend": "kafka", "kafka": kafka}, "assembly": assembly}
    )


@pytest.fixture
def log(settings: Settings) -> Iterator[EventLog]:
    log = open_eventlog(settings)
    yield log
    log.close()


def topic(settings: Settings, name: str) -> str:
    return settings.eventlog.kafka.topic_prefix + name


def requests() -> list[tuple[str, bytes]]:
    """Topic and request of some seconds of a fleet, which does less at night; one of them with a secret in it."""
    start_ns = SystemClock().now_ns() - 20 * NS_PER_SECOND
    exports = Fleet(3, start_ns, start_ns + 15 * NS_PER_SECOND, 16.0).requests()
    found = [(f"otlp_{'spans' if export.signal == 'traces' else 'logs'}", export.body) for export in exports]
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(trace_id=b"\7" * 16, span_id=b"\7" * 8, name="ask")
    span.start_time_unix_nano = span.end_time_unix_nano = start_ns
    span.attributes.add(key="gen_ai.tool.call.result").value.string_value = f"the key is {SECRET}"
    return [*found, (records.OTLP_SPANS, request.SerializeToString())]


def wanted(sent: list[tuple[str, bytes]]) -> set[tuple[str, str, str, str]]:
    """What one pipeline makes of the requests as SDKs sent them."""
    now_ns = SystemClock().now_ns()
    pipeline = Pipeline(Settings())
    parts = [[Request(body, now_ns) for name, body in sent if name == of] for of in ("otlp_spans", "otlp_logs")]
    return rows(pipeline.add(*parts, now_ns=now_ns, record=0).spans)


def rows(tables: list[pa.Table]) -> set[tuple[str, str, str, str]]:
    columns = [table.select(["trace_id", "span_id", "kind", "tool"]).to_pydict().values() for table in tables]
    return {row for part in columns for row in zip(*part, strict=True)}


def read(log: EventLog, name: str) -> list[Record]:
    reader = log.reader([TopicPartition(name, number) for number in range(PARTITIONS)])
    found: list[Record] = []
    while batch := reader.poll(max_records=1000, max_bytes=1 << 24, timeout_s=0.0):
        found += batch
    reader.close()
    return found


def work(settings: Settings, log: EventLog, expected: set[tuple[str, str, str, str]]) -> list[Record]:
    """Let a worker run until the expected spans have come out, and their traces are judged; return the spans."""
    worker = Worker(settings, log, SystemClock())
    deadline = time.monotonic() + 240.0
    spans: list[Record] = []
    while rows([records.decode(record.value) for record in spans]) < expected:
        assert time.monotonic() < deadline, "not all spans came out"
        for _ in range(8):
            worker.step()
        spans = read(log, records.SPANS)
    while not read(log, records.OBSERVATIONS):
        assert time.monotonic() < deadline, "no observation came out"
        worker.step()
    worker.close()
    return spans


def check(settings: Settings, log: EventLog, sent: list[tuple[str, bytes]]) -> None:
    expected = wanted(sent)
    assert len(expected) > 100
    spans = work(settings, log, expected)
    assert rows([records.decode(record.value) for record in spans]) == expected
    told = str([records.decode(record.value).to_pydict() for record in spans])
    assert "the key is " in told
    assert SECRET not in told, "masked, though it is not in the topic"
    by_partition: dict[str, set[int]] = {}
    for record in read(log, records.TRACES):
        for trace_id in records.decode(record.value)["trace_id"].to_pylist():
            by_partition.setdefault(trace_id, set()).add(record.partition)
    assert by_partition == {of: {partition_of(of.encode(), PARTITIONS)} for of in by_partition}, (
        "a trace is judged in one place, which our receiver would have chosen too"
    )
    assert by_partition
    assert len(set.union(*by_partition.values())) == PARTITIONS


def test_recorded_messages_are_those_of_the_generator() -> None:
    """So that the test below speaks of the real exporter where no Collector can be built."""
    recorded = json.loads(Path(__file__).with_name("recorded.json").read_text(encoding="utf-8"))
    sent = {name: b64decode(body) for name, body in recorded["requests"].items()}
    made = {
        "otlp_spans": list(otel_exporter.spans(ExportTraceServiceRequest.FromString(sent["otlp_spans"]))),
        "otlp_logs": list(otel_exporter.log_records(ExportLogsServiceRequest.FromString(sent["otlp_logs"]))),
    }
    for name, messages in made.items():
        wrote = [
            ((message["key"] or "").encode(), b64decode(message["value"]))
            for message in recorded["messages"]
            if message["topic"] == name
        ]
        assert sorted(messages) == sorted(wrote)


def test_messages_as_the_exporter_writes_them_are_judged(
    settings: Settings, log: EventLog, kafka_broker: Broker
) -> None:
    sent = requests()
    worker = Worker(settings, log, SystemClock())
    worker.step()
    worker.close()
    producer = KafkaProducer(bootstrap_servers=kafka_broker.address, acks="all")
    for name, body in sent:
        if name == "otlp_spans":
            messages = otel_exporter.spans(ExportTraceServiceRequest.FromString(body))
        else:
            messages = otel_exporter.log_records(ExportLogsServiceRequest.FromString(body))
        for key, value in messages:
            partition = partition_of(key, PARTITIONS) if key else None
            producer.send(topic(settings, name), value=value, key=key or None, partition=partition)
    producer.flush()
    producer.close()
    check(settings, log, sent)


def test_a_real_collector_feeds_our_workers(
    settings: Settings, log: EventLog, kafka_broker: Broker, tmp_path: Path
) -> None:
    binary = Path(os.environ.get("DIMWATCH_TEST_COLLECTOR") or BUILT)
    if not binary.is_file():
        # Five minutes on one core with cold caches: too long for every run of the tests, in CI as well.
        pytest.skip(f"no OpenTelemetry Collector: name one in DIMWATCH_TEST_COLLECTOR, or build it: {BUILD}")
    worker = Worker(settings, log, SystemClock())  # makes the topics, which the Collector may not
    worker.step()
    worker.close()
    config = (ROOT / "deploy" / "collector" / "config.yaml").read_text(encoding="utf-8")
    for name in ("otlp_spans", "otlp_logs"):
        config = config.replace(f"topic: {name}", f"topic: {topic(settings, name)}")
    own = tmp_path / "config.yaml"
    own.write_text(config, encoding="utf-8")
    names = ("OTELCOL_GRPC", "OTELCOL_HTTP", "OTELCOL_HEALTH")
    *ports, metrics_port = free_ports(4)
    environment = os.environ | {name: f"127.0.0.1:{port}" for name, port in zip(names, ports, strict=True)}
    environment |= {
        "OTELCOL_METRICS_PORT": str(metrics_port),
        "OTELCOL_QUEUE": str(tmp_path / "queue"),
        "KAFKA_BROKERS": kafka_broker.address,
    }
    with (tmp_path / "collector.log").open("wb") as log_file:
        process = subprocess.Popen(
            [str(binary), "--config", str(own)], env=environment, stdout=log_file, stderr=log_file
        )
    try:
        until(lambda: answers(environment["OTELCOL_HEALTH"]), 120.0, "the Collector did not start")
        sent = requests()
        headers = {"content-type": "application/x-protobuf"}
        for name, body in sent:
            path = "traces" if name == "otlp_spans" else "logs"
            url = f"http://{environment['OTELCOL_HTTP']}/v1/{path}"
            httpx.post(url, content=body, headers=headers).raise_for_status()
        check(settings, log, sent)
    finally:
        process.terminate()
        process.wait(90)


def answers(address: str) -> bool:
    try:
        return httpx.get(f"http://{address}/").is_success
    except httpx.HTTPError:
        return False
