"""Any bytes at all: an answer or a refusal that has a status, never a crash, and nothing uncounted."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Callable
from typing import Any

import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from dimwatch import records
from dimwatch.clock import ManualClock
from dimwatch.errors import DimwatchError
from dimwatch.eventlog.memory import MemoryEventLog
from dimwatch.settings import Receiver, Settings
from ingest.otlp.compression import decompress
from ingest.otlp.failures import failure_of
from ingest.otlp.intake import Answer, Intake
from ingest.otlp.signals import SIGNALS, TRACES, Signal

UNHURRIED = settings(deadline=None)  # the machine may be busy
NOW = 1_795_000_000_000_000_000
SETTINGS = Settings(receiver=Receiver(max_decompressed=4 << 20, max_spans=200, max_attributes=8))
CODERS: dict[str, Callable[[bytes], bytes]] = {
    "identity": bytes,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.compress,
}


def base_request() -> bytes:
    """A request with something of everything."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "bob@example.com"
    for _ in range(3):
        span = resource.scope_spans.add().spans.add(
            trace_id=os.urandom(16), span_id=os.urandom(8), name="sk-" + "a1" * 10
        )
        span.start_time_unix_nano = span.end_time_unix_nano = NOW
        span.attributes.add(key="l").value.array_value.values.add().kvlist_value.values.add(
            key="password"
        ).value.string_value = "x"
        span.events.add(name="e")
        span.links.add(trace_id=os.urandom(16))
    return request.SerializeToString()


BASE = base_request()


@st.composite
def damaged(draw: Any) -> bytes:
    """A real request with a few bytes changed, cut out or put in."""
    body = bytearray(BASE)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(body) - 1))
        length = draw(st.integers(0, 4))
        body[at : at + length] = draw(st.binary(max_size=4))
    return bytes(body)


def take(body: bytes, signal: Signal, coding: str = "identity", as_json: bool = False) -> Answer | None:
    """Put a request in; return its answer, or None after a refusal with a proper status."""
    log = MemoryEventLog()
    intake = Intake(log, SETTINGS, ManualClock(NOW))
    try:
        answer = intake.store(decompress(body, coding, 4 << 20), signal, json=as_json)
    except DimwatchError as error:
        failure = failure_of(error)
        if failure.http not in (400, 413, 415) or not failure.status().message:
            raise
        return None
    stored = log.consumer("g", [signal.topic, records.DROPS]).poll(max_records=99, max_bytes=1 << 30, timeout_s=0)
    for record in stored:
        if record.topic == signal.topic:
            signal.parse(record.value)
    rejected = sum(
        row["count"]
        for record in stored
        if record.topic == records.DROPS
        for row in records.decode(record.value).to_pylist()
        if row["signal"] == signal.name
    )
    assert rejected == answer.rejected
    return answer


@UNHURRIED
@given(st.binary(max_size=300), st.sampled_from(SIGNALS), st.booleans())
def test_any_bytes(body: bytes, signal: Signal, as_json: bool) -> None:
    take(body, signal, as_json=as_json)


@UNHURRIED
@given(damaged(), st.sampled_from(SIGNALS))
def test_damaged_requests(body: bytes, signal: Signal) -> None:
    take(body, signal)


@UNHURRIED
@given(st.sampled_from(sorted(CODERS)), st.integers(0, 200), st.binary(min_size=1, max_size=4))
def test_damaged_compression(coding: str, at: int, junk: bytes) -> None:
    body = bytearray(CODERS[coding](BASE))
    body[at : at + len(junk)] = junk
    take(bytes(body), TRACES, coding=coding)


numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
leaves = st.none() | st.booleans() | numbers | st.text(max_size=8)
keys = st.sampled_from(
    ["resourceSpans", "scopeSpans", "spans", "traceId", "spanId", "attributes", "key", "value", "arrayValue", "values",
     "intValue", "doubleValue", "bytesValue", "kvlistValue", "startTimeUnixNano", "kind", "status", "code", "x"]
)  # fmt: skip
trees = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4))


@UNHURRIED
@given(trees)
def test_any_json(tree: Any) -> None:
    take(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [tree]}]}]}).encode(), TRACES, as_json=True)
    take(json.dumps(tree).encode(), TRACES, as_json=True)


@UNHURRIED
@given(st.integers(0, 30), st.integers(0, 30))
def test_what_comes_in_is_stored_or_counted(good: int, bad: int) -> None:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for number in range(good + bad):
        span = scope.spans.add(trace_id=os.urandom(16), span_id=os.urandom(8 if number < good else 7))
        span.start_time_unix_nano = span.end_time_unix_nano = NOW
    answer = take(request.SerializeToString(), TRACES)
    assert answer is not None
    assert answer.rejected == bad
