"""Sending over real sockets: HTTP with gzip and retries, gRPC, and what a receiver may answer."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from dimwatch.errors import PermanentError
from dimwatch.simulate.export import Export
from dimwatch.simulate.fleet import Fleet
from dimwatch.simulate.models import NS
from dimwatch.simulate.send import Delivery, GrpcSender, HttpSender

START = 1_770_000_000 * NS


class Receiver(ThreadingHTTPServer):
    """Answers each request with the next planned (status, headers), then with 200."""

    plan: list[tuple[int, dict[str, str]]]
    bodies: list[tuple[str, bytes]]
    answer: bytes = b""


class _Handler(BaseHTTPRequestHandler):
    server: Receiver
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = gzip.decompress(self.rfile.read(int(self.headers["content-length"])))
        status, headers = self.server.plan.pop(0) if self.server.plan else (200, {})
        if status == 200:
            self.server.bodies.append((self.path, body))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(self.server.answer)))
        self.end_headers()
        self.wfile.write(self.server.answer)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(("127.0.0.1", 0), _Handler) as server:
        server.plan, server.bodies = [], []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _exports() -> list[Export]:
    return list(Fleet(1, START, START + 30 * NS, 5.0).requests())


def _address(server: Receiver) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def test_http_delivers_every_request_once(receiver: Receiver) -> None:
    delivery = Delivery(HttpSender(_address(receiver)))
    for export in _exports():
        delivery.submit(export)
    delivery.close(drain=True)
    sent = {(f"/v1/{export.signal}", export.body) for export in _exports()}
    assert set(receiver.bodies) == sent
    assert len(receiver.bodies) == len(sent) == delivery.tally.requests
    spans = sum(export.items for export in _exports() if export.signal == "traces")
    assert (delivery.tally.spans, delivery.tally.lost, delivery.tally.rejected) == (spans, 0, 0)


def test_http_waits_and_tries_again_when_told_to(receiver: Receiver) -> None:
    receiver.plan = [(503, {"retry-after": "0"}), (429, {"retry-after": "0"}), (502, {})]
    delivery = Delivery(HttpSender(_address(receiver)), connections=1)
    delivery.submit(_exports()[0])
    delivery.close(drain=True)
    assert delivery.tally.retries == 3
    assert len(receiver.bodies) == 1


def test_http_counts_what_is_refused(receiver: Receiver) -> None:
    receiver.plan = [(400, {})]
    receiver.answer = ExportTraceServiceResponse(
        partial_success=ExportTracePartialSuccess(rejected_spans=2)
    ).SerializeToString()
    export = next(export for export in _exports() if export.signal == "traces" and export.items > 2)
    delivery = Delivery(HttpSender(_address(receiver)), connections=1)
    delivery.submit(export)
    delivery.submit(export)
    delivery.close(drain=True)
    assert delivery.tally.lost == export.items
    assert delivery.tally.rejected == 2
    assert delivery.tally.spans == export.items - 2


def test_http_stops_when_the_token_is_wrong(receiver: Receiver) -> None:
    receiver.plan = [(401, {})]
    delivery = Delivery(HttpSender(_address(receiver), "wrong"), connections=1)
    delivery.submit(_exports()[0])
    with pytest.raises(PermanentError, match="--token"):
        delivery.close(drain=True)


def test_nobody_there_is_lost_and_said(receiver: Receiver) -> None:
    address = _address(receiver)
    receiver.shutdown()
    receiver.server_close()
    delivery = Delivery(HttpSender(address), connections=1)
    delivery.submit(_exports()[0])
    delivery.close(drain=False)
    assert delivery.tally.lost == _exports()[0].items
    assert address in delivery.tally.trouble


class _TraceService(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.fail = 2

    def Export(self, request: ExportTraceServiceRequest, context: Any) -> ExportTraceServiceResponse:
        if self.fail:
            self.fail -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "busy")
        self.bodies.append(request.SerializeToString())
        return ExportTraceServiceResponse()


def test_grpc_delivers_every_request_once() -> None:
    service = _TraceService()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(service, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    exports = [export for export in _exports() if export.signal == "traces"]
    delivery = Delivery(GrpcSender(f"http://127.0.0.1:{port}"))
    for export in exports:
        delivery.submit(export)
    delivery.close(drain=True)
    server.stop(None).wait()
    # A byte string parsed and serialised again is the same: the hand-written bytes are canonical.
    assert sorted(service.bodies) == sorted(export.body for export in exports)
    assert delivery.tally.retries == 2
