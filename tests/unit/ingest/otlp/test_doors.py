"""OTLP/HTTP and OTLP/gRPC as senders meet them: statuses, bodies, hints, limits."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import socket
import subprocess
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import zstandard
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from pydantic import ByteSize

from dimwatch import records
from dimwatch.app.collector import Doors, check_exposure
from dimwatch.clock import SystemClock
from dimwatch.errors import BackpressureError, PermanentError, RetryableError
from dimwatch.eventlog.base import Batch
from dimwatch.eventlog.memory import MemoryEventLog
from dimwatch.eventlog.sqlite import SqliteEventLog
from dimwatch.settings import EventLogSettings, Receiver, Settings
from ingest.otlp.intake import Intake
from ingest.otlp.signals import METRICS, TRACES
from tests.unit.ingest.otlp.conftest import Collector

PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json"}
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
MIB = 1 << 20


def post(
    collector: Any, content: bytes, headers: dict[str, str] = PROTOBUF, path: str = "/v1/traces"
) -> httpx.Response:
    return httpx.post(collector.url + path, content=content, headers=headers, timeout=30)


def failure(response: httpx.Response) -> Status:
    assert response.headers["content-type"] == "application/x-protobuf"
    return Status.FromString(response.content)


def call(collector: Any, body: bytes, **options: Any) -> bytes:
    with grpc.insecure_channel(collector.grpc, [("grpc.max_send_message_length", -1)]) as channel:
        export: Any = channel.unary_unary(EXPORT)
        answer: bytes = export(body, timeout=30, **options)
        return answer


def call_error(collector: Any, body: bytes, **options: Any) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        call(collector, body, **options)
    return caught.value


def details(error: Any) -> Status:
    return Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])


CODERS: dict[str, Callable[[bytes], bytes]] = {
    "identity": bytes,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.compress,
}


@pytest.mark.parametrize("coding", CODERS)
def test_http_takes_every_coding(collector: Any, make_request: Any, coding: str) -> None:
    request = make_request(3)
    response = post(collector, CODERS[coding](request.SerializeToString()), PROTOBUF | {"content-encoding": coding})
    assert (response.status_code, response.headers["content-type"]) == (200, "application/x-protobuf")
    assert response.content == b""  # full success: partial_success unset
    [record] = collector.stored()
    assert ExportTraceServiceRequest.FromString(record.value) == request
    assert record.key == request.resource_spans[0].scope_spans[0].spans[0].trace_id.hex().encode()
    assert record.headers == {"tenant": "", "dimwatch-admitted": "1"}


@pytest.mark.parametrize(
    "compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip, grpc.Compression.Deflate]
)
def test_grpc_takes_every_coding(collector: Any, make_request: Any, compression: grpc.Compression) -> None:
    request = make_request(3, "x" * 2_000)
    assert call(collector, request.SerializeToString(), compression=compression) == b""
    assert [ExportTraceServiceRequest.FromString(record.value) for record in collector.stored()] == [request]


def test_json_is_stored_as_protobuf_and_answered_as_json(collector: Any) -> None:
    now = str(time.time_ns())  # noqa: TID251 - stands for a sender
    span = {"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "chat"}
    span |= {"startTimeUnixNano": now, "endTimeUnixNano": now}
    tree = {"resourceSpans": [{"scopeSpans": [{"spans": [span, span | {"spanId": "00"}]}]}]}
    response = post(collector, json.dumps(tree).encode(), {"content-type": "application/json; charset=utf-8"})
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert response.json() == {"partialSuccess": {"rejectedSpans": "1", "errorMessage": "1 spans: invalid span id"}}
    [record] = collector.stored()
    [stored] = ExportTraceServiceRequest.FromString(record.value).resource_spans[0].scope_spans[0].spans
    assert (stored.span_id.hex(), stored.name) == ("eee19b7ec3c1b174", "chat")


def test_curl(collector: Any, tmp_path: Path) -> None:
    now = str(time.time_ns())  # noqa: TID251 - stands for a sender
    record = {"timeUnixNano": now, "body": {"stringValue": "mail bob@example.com"}}
    body = tmp_path / "logs.json"
    body.write_text(json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}))
    url = f"{collector.url}/v1/logs"
    command = ["curl", "-sS", "-m", "20", "-H", "Content-Type: application/json", "--data-binary", f"@{body}", url]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"{}"
    [stored] = collector.stored(records.OTLP_LOGS)
    assert b"mail " + b"*" * 15 in stored.value


def test_an_empty_request_is_a_success_and_stores_nothing(collector: Any) -> None:
    assert post(collector, b"").status_code == 200
    assert post(collector, b"{}", JSON).content == b"{}"
    assert call(collector, b"") == b""
    assert collector.stored() == []


def test_partial_success_counts_exactly_at_both_doors(collector: Any, make_request: Any) -> None:
    request = make_request(10)
    spans = request.resource_spans[0].scope_spans[0].spans
    spans[2].trace_id, spans[5].span_id, spans[7].span_id = b"short", b"", bytes(8)
    body = request.SerializeToString()
    for answer in (post(collector, body).content, call(collector, body)):
        partial = ExportTraceServiceResponse.FromString(answer).partial_success
        assert partial.rejected_spans == 3
        assert partial.error_message == "1 spans: invalid trace id; 2 spans: invalid span id"
    for record in collector.stored():
        assert len(ExportTraceServiceRequest.FromString(record.value).resource_spans[0].scope_spans[0].spans) == 7
    assert collector.drops() == {("spans", "invalid_trace_id"): 2, ("spans", "invalid_span_id"): 4}
    ids = {row["id"] for r in collector.stored(records.DROPS) for row in records.decode(r.value).to_pylist()}
    assert len(ids) == 2  # the same request sent again is the same drop


def test_cut_content_is_a_warning_in_a_full_success(serve: Any, make_request: Any) -> None:
    with serve(max_attribute_value=10) as collector:
        answer = ExportTraceServiceResponse.FromString(
            post(collector, make_request(1, "x" * 11).SerializeToString()).content
        )
        assert (answer.partial_success.rejected_spans, answer.partial_success.error_message) == (
            0,
            "1 attributes: too long",
        )


@pytest.mark.parametrize(
    ("content", "headers", "status", "words"),
    [
        (b"\xff" * 40, PROTOBUF, 400, "malformed protobuf"),
        (gzip.compress(b"\x0a\x00", mtime=0)[:-5], PROTOBUF | {"content-encoding": "gzip"}, 400, "truncated"),
        (b"no gzip", PROTOBUF | {"content-encoding": "gzip"}, 400, "not valid gzip"),
        (b"", PROTOBUF | {"content-encoding": "br"}, 415, "gzip, deflate, zstd, identity"),
        (b"", {"content-type": "text/plain"}, 415, "application/x-protobuf or application/json"),
        (b"", {}, 415, "application/x-protobuf or application/json"),
    ],
)
def test_bad_requests_over_http(
    collector: Any, content: bytes, headers: dict[str, str], status: int, words: str
) -> None:
    response = post(collector, content, headers)
    assert response.status_code == status
    assert words in failure(response).message
    assert "retry-after" not in response.headers
    assert collector.stored() == []


def test_bad_data_carries_the_details_of_the_specification(collector: Any) -> None:
    response = post(collector, b'{"resourceSpans": [}', JSON)
    assert (response.status_code, response.headers["content-type"]) == (400, "application/json")
    answer = response.json()
    assert answer["code"] == 3
    assert "line 1 column 20" in answer["message"]
    assert answer["details"][0]["@type"] == "type.googleapis.com/google.rpc.BadRequest"
    violation = BadRequest()
    assert failure(post(collector, b"\xff")).details[0].Unpack(violation)
    error = call_error(collector, b"\xff" * 40)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details(error).details[0].Unpack(violation)


def test_unknown_paths_and_methods(collector: Any) -> None:
    assert failure(post(collector, b"", path="/v1/trace")).message.startswith("Not Found")
    response = httpx.get(f"{collector.url}/v1/traces", timeout=30)
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert "POST on /v1/traces" in failure(response).message


def test_bodies_over_the_limits_are_refused(serve: Any) -> None:
    with serve(max_body=MIB, max_decompressed=4 * MIB) as collector:
        plain = post(collector, bytes(MIB + 1))
        bomb = post(collector, gzip.compress(bytes(64 * MIB)), PROTOBUF | {"content-encoding": "gzip"})
        assert (plain.status_code, bomb.status_code) == (413, 413)
        assert "receiver.max_body" in failure(plain).message
        assert "receiver.max_decompressed" in failure(bomb).message

        def chunks() -> Any:
            for _ in range(40):
                yield bytes(65_536)

        streamed = httpx.post(f"{collector.url}/v1/traces", content=chunks(), headers=PROTOBUF, timeout=30)
        assert streamed.status_code == 413
        for body, options in (
            (bytes(2 * MIB), {}),
            (bytes(64 * MIB), {"compression": grpc.Compression.Gzip}),
        ):
            assert call_error(collector, body, **options).code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_tokens(serve: Any, make_request: Any) -> None:
    body = make_request().SerializeToString()
    with serve(token="s3cret") as collector:
        for wrong in ({}, {"authorization": "Bearer s3creT"}, {"authorization": "Basic s3cret"}):
            response = post(collector, body, PROTOBUF | wrong)
            assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
            assert "receiver.token" in failure(response).message
            error = call_error(collector, body, metadata=tuple(wrong.items()))
            assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        right = {"authorization": "Bearer s3cret"}
        assert post(collector, body, PROTOBUF | right).status_code == 200
        assert call(collector, body, metadata=tuple(right.items())) == b""
        assert len(collector.stored()) == 2


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "collector.internal"])
def test_open_to_a_network_needs_a_token(host: str) -> None:
    with pytest.raises(PermanentError, match=r"receiver\.token .*127\.0\.0\.1"):
        check_exposure(Receiver(host=host))
    check_exposure(Receiver.model_validate({"host": host, "token": "x"}))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_loopback_needs_none(host: str) -> None:
    check_exposure(Receiver(host=host))


class Refusing(MemoryEventLog):
    """An eventlog that refuses appends with an error."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def append(self, batch: Batch) -> None:
        raise self.error


def test_a_full_eventlog_asks_senders_to_wait(serve: Any, make_request: Any) -> None:
    body = make_request().SerializeToString()
    with serve(Refusing(BackpressureError("the log is full", 2.5))) as collector:
        response = post(collector, body)
        assert (response.status_code, response.headers["retry-after"]) == (429, "3")
        error = call_error(collector, body)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        for status in (failure(response), details(error)):
            delay = RetryInfo()
            assert status.details[0].Unpack(delay)
            assert (delay.retry_delay.seconds, delay.retry_delay.nanos) == (2, 500_000_000)


def test_a_locked_eventlog_is_a_503(serve: Any, make_request: Any) -> None:
    body = make_request().SerializeToString()
    with serve(Refusing(RetryableError("locked"))) as collector:
        response = post(collector, body)
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        assert call_error(collector, body).code() is grpc.StatusCode.UNAVAILABLE


def test_refused_requests_are_on_the_drops_topic_once_it_closes(serve: Any) -> None:
    log = MemoryEventLog()
    with serve(log) as collector:
        post(collector, b"\xff" * 40)
        call_error(collector, b"\xff" * 40)
        post(collector, b"", {"content-type": "text/plain"})
    assert collector.drops() == {("requests", "malformed"): 2, ("requests", "unsupported"): 1}


def test_metrics_that_nobody_reads_do_not_keep_spans_out(tmp_path: Path, make_request: Any) -> None:
    settings = Settings(data=tmp_path, eventlog=EventLogSettings(max_bytes=ByteSize(4 * MIB)))
    log = SqliteEventLog(settings.eventlog_path, max_bytes=settings.eventlog.max_bytes)
    intake = Intake(log, settings, SystemClock())
    spans = make_request(1, os.urandom(64_000).hex()).SerializeToString()
    sent = 0
    with contextlib.suppress(BackpressureError):
        while sent < 1_000:
            request = ExportMetricsServiceRequest()
            metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="noise")
            metric.gauge.data_points.add(as_int=1)
            metric.description = os.urandom(32_000).hex()
            intake.store(request.SerializeToString(), METRICS, json=False)
            sent += 1
    with pytest.raises(BackpressureError):
        intake.store(spans, TRACES, json=False)
    intake.tidy()
    intake.store(spans, TRACES, json=False)
    collector = Collector(Doors(0, 0), log)
    assert collector.drops() == {("requests", "metrics_not_read"): sent - len(collector.stored(records.OTLP_METRICS))}
    intake.close()
    log.close()


def connect(collector: Any) -> socket.socket:
    return socket.create_connection(("127.0.0.1", collector.doors.http_port), timeout=60)


def read_until_closed(connection: socket.socket) -> bytes:
    received = b""
    while chunk := connection.recv(65_536):
        received += chunk
    return received


@pytest.mark.parametrize(
    "start",
    [b"", b"POST /v1/tra", b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nX-A: ", b"\r\n\r\n"],
    ids=["nothing", "request line", "headers", "empty lines"],
)
def test_slow_headers_are_cut_off(serve: Any, start: bytes) -> None:
    with serve(request_timeout_s=0.5) as collector, connect(collector) as connection:
        connection.sendall(start)
        started = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            assert read_until_closed(connection) == b""
        assert time.monotonic() - started < 20


def test_a_slow_body_is_answered_408_and_cut_off(serve: Any) -> None:
    with serve(request_timeout_s=0.5) as collector, connect(collector) as connection:
        connection.sendall(
            b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
            b"Content-Length: 1000\r\n\r\nabc"
        )
        answer = read_until_closed(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"receiver.request_timeout_s" in answer


def test_endless_headers_are_cut_off(collector: Any) -> None:
    endless = b"".join(b"X-%06d: %s\r\n" % (number, b"y" * 500) for number in range(20_000))
    with connect(collector) as connection, pytest.raises(ConnectionError):
        connection.sendall(b"POST /v1/traces HTTP/1.1\r\n" + endless)


def test_a_slow_grpc_sender_is_cut_off(serve: Any) -> None:
    over = threading.Event()

    def nothing() -> Any:
        over.wait(60)
        yield b""

    with serve(request_timeout_s=1.0) as collector, grpc.insecure_channel(collector.grpc) as channel:
        with pytest.raises(grpc.RpcError, match=r"receiver\.request_timeout_s") as caught:
            channel.stream_unary(EXPORT)(nothing(), timeout=30)
        over.set()
        error: Any = caught.value
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_connections_are_kept_alive(collector: Any, make_request: Any) -> None:
    with httpx.Client(base_url=collector.url, timeout=30) as client:
        for size in (1, 200, 1):
            response = client.post("/v1/traces", content=make_request(size).SerializeToString(), headers=PROTOBUF)
            assert response.status_code == 200
            assert response.headers.get("connection") != "close"
    assert len(collector.stored()) == 3


def test_many_at_once(collector: Any, make_request: Any) -> None:
    bodies = [make_request(5).SerializeToString() for _ in range(64)]
    with ThreadPoolExecutor(16) as pool, httpx.Client(headers=PROTOBUF, timeout=30) as client:
        url = f"{collector.url}/v1/traces"
        statuses = list(pool.map(lambda body: client.post(url, content=body).status_code, bodies))
    assert statuses == [200] * 64
    assert sorted(record.value for record in collector.stored()) == sorted(bodies)


def test_a_port_that_is_taken_is_named_with_the_remedy(serve: Any) -> None:
    with serve() as collector:
        with pytest.raises(PermanentError, match=r"receiver\.http_port"), serve(http_port=collector.doors.http_port):
            pass
        with pytest.raises(PermanentError, match=r"receiver\.grpc_port"), serve(grpc_port=collector.doors.grpc_port):
            pass


def test_unknown_grpc_methods_are_unimplemented(collector: Any) -> None:
    with grpc.insecure_channel(collector.grpc) as channel:
        method: Any = channel.unary_unary("/x.Y/Z")
        with pytest.raises(grpc.RpcError) as caught:
            method(os.urandom(4), timeout=10)
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
