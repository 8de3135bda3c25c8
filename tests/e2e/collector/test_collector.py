"""The collector as a process of its own: real exporters, a real disk, bombs, and a clean end."""

from __future__ import annotations

import gzip
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from benchmarks.ports import free_ports
from dimwatch import records
from dimwatch.eventlog import open_eventlog
from dimwatch.settings import Settings
from ingest.otlp.framing import encode_varint

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

PATIENCE_S = 180.0

PROTOBUF = {"content-type": "application/x-protobuf"}
GZIPPED = PROTOBUF | {"content-encoding": "gzip"}
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
MIB = 1 << 20


@dataclass
class Process:
    """A running `dimwatch collector`."""

    process: subprocess.Popen[bytes]
    data: Path
    grpc_port: int
    http_port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}/v1/traces"

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=PATIENCE_S)

    def peak_mib(self) -> int:
        """The most memory that the process ever held."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) // 1024

    def stored(self, topic: str = records.OTLP_SPANS) -> list[bytes]:
        """What is in the eventlog, read by another process than the one that wrote it."""
        eventlog = open_eventlog(Settings(data=self.data))
        try:
            consumer = eventlog.consumer(f"test-{os.urandom(4).hex()}", [topic])
            found = []
            while batch := consumer.poll(max_records=1_000, max_bytes=64 * MIB, timeout_s=0):
                found += [record.value for record in batch]
            consumer.close()
            return found
        finally:
            eventlog.close()


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Process]:
    environment = os.environ | {
        "DIMWATCH_RECEIVER__GRPC_PORT": str(free_ports(1)[0]),
        "DIMWATCH_RECEIVER__HTTP_PORT": str(free_ports(1)[0]),
        "DIMWATCH_RECEIVER__REQUEST_TIMEOUT_S": str(PATIENCE_S),
    }
    command = [sys.executable, "-P", "-m", "dimwatch", "collector", "--data", str(tmp_path)]
    process = subprocess.Popen(command, env=environment)
    started = Process(
        process,
        tmp_path,
        int(environment["DIMWATCH_RECEIVER__GRPC_PORT"]),
        int(environment["DIMWATCH_RECEIVER__HTTP_PORT"]),
    )
    try:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", started.http_port), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "the collector did not start"
                assert process.poll() is None
                time.sleep(0.05)
        yield started
    finally:
        process.kill()
        process.wait()


def request_of(spans: int, text: str = "x") -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    now = time.time_ns()  # noqa: TID251 - stands for a sender
    for _ in range(spans):
        span = scope.spans.add(trace_id=os.urandom(16), span_id=os.urandom(8), name="chat")
        span.start_time_unix_nano = span.end_time_unix_nano = now
        span.attributes.add(key="content").value.string_value = text
    return request


def exporter(collector: Process, kind: str) -> SpanExporter:
    transport, _, coding = kind.partition(" ")
    if transport == "http":
        compression = {"": Compression.NoCompression, "gzip": Compression.Gzip, "deflate": Compression.Deflate}[coding]
        return HttpSpanExporter(endpoint=collector.url, compression=compression, timeout=PATIENCE_S)
    return GrpcSpanExporter(
        endpoint=f"127.0.0.1:{collector.grpc_port}",
        insecure=True,
        compression=grpc.Compression.Gzip if coding else grpc.Compression.NoCompression,
        timeout=PATIENCE_S,
    )


@pytest.mark.parametrize("kind", ["http", "http gzip", "http deflate", "grpc", "grpc gzip"])
def test_the_sdk_exporters(collector: Process, kind: str) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter(collector, kind)))
    tracer = provider.get_tracer("agent")
    ids = set()
    for number in range(600):
        with tracer.start_as_current_span(
            "chat", attributes={"gen_ai.prompt": f"{number} sk-abcdef0123456789abcd"}
        ) as span:
            ids.add(span.get_span_context().span_id.to_bytes(8, "big"))
    assert provider.force_flush(int(PATIENCE_S * 1000))
    provider.shutdown()
    stored = collector.stored()
    spans = [
        span
        for value in stored
        for resource in ExportTraceServiceRequest.FromString(value).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert {span.span_id for span in spans} == ids
    assert not any(b"sk-abcdef" in value for value in stored)


def test_metrics_of_the_sdk(collector: Process) -> None:
    reader = PeriodicExportingMetricReader(
        GrpcMetricExporter(endpoint=f"127.0.0.1:{collector.grpc_port}", insecure=True, timeout=PATIENCE_S),
        export_interval_millis=600_000,
        export_timeout_millis=PATIENCE_S * 1000,
    )
    provider = MeterProvider([reader], shutdown_on_exit=False)
    provider.get_meter("agent").create_counter("tokens").add(5)
    provider.shutdown()
    [value] = collector.stored(records.OTLP_METRICS)
    assert (
        ExportMetricsServiceRequest.FromString(value).resource_metrics[0].scope_metrics[0].metrics[0].name == "tokens"
    )


def test_sigterm_finishes_what_is_in_flight_and_loses_nothing_acknowledged(collector: Process) -> None:
    acknowledged: list[bytes] = []
    lock = threading.Lock()

    def send() -> None:
        with httpx.Client(timeout=PATIENCE_S) as client:
            while True:
                request = request_of(20)
                try:
                    if (
                        client.post(collector.url, content=request.SerializeToString(), headers=PROTOBUF).status_code
                        != 200
                    ):
                        return
                except httpx.TransportError:
                    return
                with lock:
                    acknowledged.append(request.resource_spans[0].scope_spans[0].spans[0].span_id)

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + PATIENCE_S
    while len(acknowledged) < 50 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert collector.stop() == 0
    for thread in threads:
        thread.join(timeout=PATIENCE_S)
    stored = b"".join(collector.stored())
    assert len(acknowledged) >= 50
    assert all(span_id in stored for span_id in acknowledged)


def test_it_refuses_to_be_open_to_a_network_without_a_token(tmp_path: Path) -> None:
    environment = os.environ | {"DIMWATCH_RECEIVER__HOST": "0.0.0.0"}
    command = [sys.executable, "-P", "-m", "dimwatch", "collector", "--data", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode != 0
    assert "receiver.token" in done.stderr


def bomb_of_zeros(size: int) -> bytes:
    """`size` zeros as one gzip file of many members."""
    return gzip.compress(bytes(64 * MIB)) * (size // (64 * MIB))


def field(number: int, payload: bytes) -> bytes:
    return encode_varint(number << 3 | 2) + encode_varint(len(payload)) + payload


def nested(number: int) -> bytes:
    value = b"\x0a\x01x"
    for _ in range(number):
        value = field(5, field(1, value))
    return field(1, field(2, field(2, field(9, field(1, b"k") + field(2, value)))))


def one_span(fields: bytes) -> bytes:
    now = time.time_ns().to_bytes(8, "little")  # noqa: TID251 - stands for a sender
    ids = field(1, os.urandom(16)) + field(2, os.urandom(8))
    return field(1, field(2, field(2, ids + b"\x39" + now + b"\x41" + now + fields)))


def bombs() -> dict[str, tuple[bytes, dict[str, str], int]]:
    """Name, body, headers, and the status that is right."""
    attributes = b"".join(field(9, field(1, b"k%d" % n) + field(2, b"\x18\x01")) for n in range(100_000))
    empty = one_span(b"\x4a\x00" * (30 * MIB))
    return {
        "10 GB in 10 MB": (bomb_of_zeros(10 << 30), GZIPPED, 413),
        "empty spans": (gzip.compress(field(1, field(2, b"\x12\x00" * (20 * MIB)))), GZIPPED, 413),
        "empty attributes": (gzip.compress(empty), GZIPPED, 413),
        "empty events": (gzip.compress(one_span(b"\x5a\x00" * (30 * MIB))), GZIPPED, 413),
        "100,000 attributes": (one_span(attributes), PROTOBUF, 200),
        "a huge string": (gzip.compress(one_span(field(5, b"x" * (60 * MIB)))), GZIPPED, 200),
        "an incompressible body": (one_span(field(5, os.urandom(7 * MIB).hex().encode())), PROTOBUF, 200),
        "deep nesting": (nested(10_000), PROTOBUF, 400),
        "too long": (b"\x0a" * (17 * MIB), PROTOBUF, 413),
        "json lists": (
            gzip.compress(b'{"resourceSpans":[' + b"[]," * (5 * MIB) + b"[]]}"),
            GZIPPED | {"content-type": "application/json"},
            413,
        ),
        "deep json": (b'{"resourceSpans":' * 100_000, PROTOBUF | {"content-type": "application/json"}, 400),
    }


def test_twenty_connections_of_bombs_at_once_stay_under_a_gigabyte(collector: Process) -> None:
    prepared = bombs()
    work = [(name, *prepared[name]) for name in prepared for _ in range(4)]

    def send(item: tuple[str, bytes, dict[str, str], int]) -> tuple[str, int, int]:
        name, body, headers, right = item
        while True:
            response = httpx.post(collector.url, content=body, headers=headers, timeout=PATIENCE_S)
            if response.status_code != 429:
                return name, response.status_code, right
            time.sleep(float(response.headers["retry-after"]))

    def send_grpc(body: bytes) -> Any:
        options = [("grpc.max_send_message_length", -1)]
        with grpc.insecure_channel(f"127.0.0.1:{collector.grpc_port}", options) as channel:
            export: Any = channel.unary_unary(EXPORT)
            try:
                export(body, timeout=PATIENCE_S)
            except grpc.RpcError as error:
                code: Any = error
                return code.code()
            return grpc.StatusCode.OK

    gzipped = [body for body, headers, _ in prepared.values() if headers == GZIPPED and len(body) < 16 * MIB]
    with ThreadPoolExecutor(20) as pool:
        statuses = list(pool.map(send, work))
        codes = list(pool.map(send_grpc, gzipped * 3))
    assert [(name, status) for name, status, right in statuses if status != right] == []
    allowed = {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.OK}
    assert set(codes) <= allowed
    assert httpx.post(collector.url, content=request_of(5).SerializeToString(), headers=PROTOBUF).status_code == 200
    peak = collector.peak_mib()
    print(f"peak resident memory under bombs: {peak} MiB")
    assert peak < 1_000
    assert collector.stop() == 0
