"""Traces of Dimwatch itself: sent when asked for, and not even loaded otherwise."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_WORK = """
import sys
from dimwatch.settings import Settings
from dimwatch.tracing import configure_tracing, span
configure_tracing(Settings(), "worker")
try:
    with span("outer", records=3):
        with span("inner"):
            raise ValueError("oh")
except ValueError:
    print("opentelemetry.sdk" in sys.modules)
"""


def test_spans_arrive_with_their_attributes_and_errors() -> None:
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        environment = os.environ | {"DIMWATCH_TELEMETRY__OTLP_ENDPOINT": endpoint}
        done = subprocess.run([sys.executable, "-c", _WORK], env=environment, capture_output=True, timeout=120)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert (done.stdout, done.returncode) == (b"True\n", 0), done.stderr
    (resource,) = ExportTraceServiceRequest.FromString(bodies[0]).resource_spans
    spans = {span.name: span for span in resource.scope_spans[0].spans}
    assert spans["inner"].parent_span_id == spans["outer"].span_id
    assert spans["outer"].attributes[0].value.int_value == 3
    assert spans["inner"].events[0].name == "exception"
    assert any(one.value.string_value == "dimwatch-worker" for one in resource.resource.attributes)


def test_nothing_is_loaded_when_nobody_asked() -> None:
    done = subprocess.run([sys.executable, "-c", _WORK], capture_output=True, check=True)
    assert done.stdout == b"False\n"
