"""Systems side by side: what was refused is not taken for acknowledged, and the faulty runs are faulty."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.alternatives import faulty
from benchmarks.alternatives.trial import Disk, Target, measure
from dimwatch.app.pipeline import Pipeline
from dimwatch.settings import Settings
from dimwatch.simulate.load import LoadPool
from ingest.normalize import Request


class Server(ThreadingHTTPServer):
    """Keeps the spans of every request but the third, to which it says that it cannot be read."""

    spans = requests = 0
    last: ExportTraceServiceRequest


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        request = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests += 1
        if self.server.requests == 3:
            self.send_error(422)
            return
        self.server.last = request
        self.server.spans += sum(len(scope.spans) for part in request.resource_spans for scope in part.scope_spans)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_rate_at_which_it_refuses_is_not_sustained_and_nothing_is_lost(server: Server) -> None:
    target = Target(
        f"http://127.0.0.1:{server.server_port}",
        pids=[os.getpid()],
        spans=lambda: server.spans,
        kept=lambda: (server.spans, server.spans),
        told=len,
        disk=lambda: Disk(10 * server.spans),
    )
    outcome = measure(target, LoadPool(64), (50.0, 400.0, 1000.0), seconds=1.0)
    assert outcome.best is not None
    assert outcome.best.sent.wanted == 50.0
    assert outcome.beyond is not None
    assert (outcome.beyond.sent.wanted, len(outcome.beyond.refused)) == (400.0, 1)
    assert "422" in str(outcome.beyond)
    assert (outcome.lost, outcome.doubled, outcome.told) == (0, 0, faulty.RUNS)
    assert len({span.trace_id for span in server.last.resource_spans[0].scope_spans[0].spans}) == faulty.RUNS


def test_dimwatch_tells_of_every_faulty_run() -> None:
    now_ns = 1_800_000_000_000_000_000
    body, spans, trace_ids = faulty.request(now_ns)
    pipeline = Pipeline(Settings())
    outputs = [pipeline.add([Request(body, now_ns)], [], now_ns=now_ns, record=0), pipeline.flush()]
    assert sum(len(table) for output in outputs for table in output.spans) == spans
    told = {trace for output in outputs for table in output.observations for trace in table["trace_id"].to_pylist()}
    assert told == set(trace_ids)
