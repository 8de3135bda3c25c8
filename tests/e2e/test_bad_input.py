"""Bad input against the running whole: the right answer or a counted drop, little memory, and the service goes on.

The tests are steps of one story over one Dimwatch; the last ones look at what is left of it.
"""

from __future__ import annotations

import gzip
import random
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from benchmarks.open_traces import rootless
from benchmarks.running import ROLES, Running, until
from dimwatch.clock import NS_PER_SECOND, SystemClock
from ingest.otlp.framing import encode_varint

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json"}
GZIP = {"content-encoding": "gzip"}
PATIENCE_S = 180.0
MOST_BYTES = 1_000_000_000
OPEN_TRACES = 5_000
"""Fewer than come with one request: whoever is slow to send the next has too many open all the same."""
ROOTLESS = 60_000
NOW = SystemClock().now_ns()


@dataclass
class Story:
    """The Dimwatch, and what was sent to it in requests that could be read."""

    running: Running
    random: random.Random = field(default_factory=lambda: random.Random(4))
    spans: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    """Refused, by reason."""

    def post(self, content: bytes, headers: dict[str, str] | None = None, path: str = "traces") -> httpx.Response:
        return httpx.post(
            f"{self.running.http}/v1/{path}", content=content, headers=PROTOBUF | (headers or {}), timeout=120
        )

    def refused(self, status: int, reason: str, content: bytes, headers: dict[str, str] | None = None) -> None:
        answer = self.post(content, headers)
        assert answer.status_code == status, answer.text
        self.requests[reason] += 1

    def accepted(self, *spans: Span) -> int:
        """Send spans; how many were rejected."""
        request = ExportTraceServiceRequest()
        request.resource_spans.add().scope_spans.add().spans.extend(spans)
        answer = self.post(request.SerializeToString())
        assert answer.status_code == 200, answer.text
        self.spans += len(spans)
        return ExportTraceServiceResponse.FromString(answer.content).partial_success.rejected_spans

    def span(self, **values: Any) -> Span:
        span = Span(name="chat", trace_id=self.random.randbytes(16), span_id=self.random.randbytes(8))
        span.start_time_unix_nano, span.end_time_unix_nano = NOW, NOW + 1_000_000
        for name, value in values.items():
            setattr(span, name, value)
        return span

    def shown(self, span: Span, columns: str) -> list[Any]:
        where = f"trace_id = '{span.trace_id.hex()}' AND span_id = '{span.span_id.hex()}'"
        sql = f"SELECT {columns} FROM spans WHERE {where}"
        until(lambda: bool(self.running.rows(sql)), PATIENCE_S, "the span is not visible")
        (row,) = self.running.rows(sql)
        return row

    def dropped(self) -> Counter[tuple[str, str]]:
        rows = self.running.rows("SELECT signal, reason, sum(count) FROM drops GROUP BY ALL")
        return Counter({(signal, reason): int(count) for signal, reason, count in rows})


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    settings = {
        "assembly__linger_s": "2",
        "assembly__idle_s": "4",
        "assembly__max_idle_s": "4",
        "assembly__max_open_traces": str(OPEN_TRACES),
    }
    with Running(tmp_path_factory.mktemp("bad"), settings) as running:
        yield Story(running)


def valid(story: Story) -> bytes:
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.append(story.span())
    return request.SerializeToString()


def nested(depth: int) -> bytes:
    """A span with an attribute of arrays in arrays."""
    value = b""
    for _ in range(depth):
        value = (
            b"\x2a"
            + encode_varint(len(value) + 1 + len(encode_varint(len(value))))
            + b"\x0a"
            + encode_varint(len(value))
            + value
        )
    for tag in (b"\x12", b"\x4a", b"\x12", b"\x12", b"\x0a"):
        value = tag + encode_varint(len(value)) + value
    return value


def test_what_can_not_be_read_is_refused(story: Story) -> None:
    body = valid(story)
    story.refused(400, "malformed", b"\xff" * 100)
    story.refused(400, "malformed", body[:-3])
    story.refused(400, "malformed", gzip.compress(body)[:-12], GZIP)
    story.refused(400, "malformed", b"not gzip", GZIP)
    story.refused(400, "malformed", b'{"resourceSpans": [', JSON)
    story.refused(400, "malformed", b'{"resourceSpans": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", JSON)
    story.refused(400, "malformed", nested(20_000))
    story.refused(415, "unsupported", body, {"content-encoding": "brotli"})
    story.refused(415, "unsupported", body, {"content-type": "text/plain"})


def test_bombs_are_refused(story: Story) -> None:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    zeros = bytes(1 << 20)
    bomb = b"".join([*(packer.compress(zeros) for _ in range(1_024)), packer.flush()])
    story.refused(413, "too_large", bomb, GZIP)
    spans = b"\x12\x00" * 5_000_000  # empty spans: two bytes each, hundreds when they are parsed
    inside = b"\x12" + encode_varint(len(spans)) + spans
    story.refused(413, "too_large", gzip.compress(b"\x0a" + encode_varint(len(inside)) + inside), GZIP)


def test_large_spans_are_cut_and_counted(story: Story) -> None:
    many = story.span()
    for number in range(100_000):
        many.attributes.add(key=f"key.{number}").value.int_value = number
    long = story.span()
    long.attributes.add(key="gen_ai.tool.call.result").value.string_value = "x" * (3 << 20)
    assert story.accepted(many, long) == 0
    assert story.shown(many, "dropped_attributes, length(attributes) > 500") == [100_000 - 1_024, True]
    text = "greatest(length(ifNull(tool_result, '')), length(arrayStringConcat(mapValues(attributes))))"
    assert story.shown(long, text) == [1 << 20]
    until(lambda: story.dropped()["attributes", "too_many"] == 100_000 - 1_024, PATIENCE_S, "cuts are not counted")
    assert story.dropped()["attributes", "too_long"] == 1


def test_strange_times_are_mended_or_rejected(story: Story) -> None:
    future, past = NOW + 400 * 24 * 3600 * NS_PER_SECOND, 1
    endless = story.span(end_time_unix_nano=0)
    backwards = story.span(end_time_unix_nano=NOW - 5_000_000)
    starts_late = story.span(start_time_unix_nano=future)
    mended = [endless, backwards, starts_late]
    hopeless = [
        story.span(start_time_unix_nano=0, end_time_unix_nano=0),
        story.span(start_time_unix_nano=future, end_time_unix_nano=future),
        story.span(start_time_unix_nano=past, end_time_unix_nano=past),
        story.span(start_time_unix_nano=(1 << 64) - 1, end_time_unix_nano=(1 << 64) - 1),  # minus one
    ]
    assert story.accepted(*mended, *hopeless) == len(hopeless)
    for span in mended:
        assert story.shown(span, "duration_ns") == [0]


def test_strange_ids_are_rejected(story: Story) -> None:
    fine = story.span()
    strange = [
        story.span(trace_id=b""),
        story.span(trace_id=bytes(16)),
        story.span(trace_id=b"x" * 15),
        story.span(trace_id=b"x" * 17),
        story.span(span_id=bytes(8)),
        story.span(span_id=b"x" * 9),
        story.span(parent_span_id=b"x"),
    ]
    own_parent = story.span()
    own_parent.parent_span_id = own_parent.span_id
    assert story.accepted(fine, *strange, own_parent) == len(strange)
    assert story.shown(fine, "parent_span_id") == [""]
    assert story.shown(own_parent, "parent_span_id") == [own_parent.span_id.hex()]


def test_logs_and_metrics_of_nobody_do_no_harm(story: Story) -> None:
    logs = ExportLogsServiceRequest()
    records = logs.resource_logs.add().scope_logs.add().log_records
    for number in range(500):
        record = records.add(time_unix_nano=NOW, severity_text="INFO", event_name="gen_ai.user.message")
        record.body.string_value = "nobody's"
        if number % 2:
            record.trace_id, record.span_id = story.random.randbytes(16), story.random.randbytes(8)
    assert story.post(logs.SerializeToString(), path="logs").status_code == 200
    assert story.post(b"\xff\xff", path="logs").status_code == 400
    metrics = ExportMetricsServiceRequest()
    metric = metrics.resource_metrics.add().scope_metrics.add().metrics.add(name="requests")
    metric.sum.data_points.add(time_unix_nano=NOW, as_int=1)
    assert story.post(metrics.SerializeToString(), path="metrics").status_code == 200
    assert story.post(b"\xff\xff", path="metrics").status_code == 400
    story.requests["malformed"] += 2
    until(
        lambda: story.dropped()["logs", "content_without_span"] == 250, PATIENCE_S, "log events are not accounted for"
    )


def test_mutations_are_answered(story: Story) -> None:
    """Bytes of a good request changed at random: it is read (then its spans count) or refused, nothing else."""
    for number in range(150):
        body = bytearray(valid(story))
        for _ in range(story.random.randint(1, 4)):
            body[story.random.randrange(len(body))] = story.random.randrange(256)
        answer = story.post(bytes(body))
        if answer.status_code == 200:
            story.spans += sum(
                len(scope.spans)
                for resource in ExportTraceServiceRequest.FromString(bytes(body)).resource_spans
                for scope in resource.scope_spans
            )
        else:
            assert answer.status_code == 400, (number, answer.text)
            story.requests["malformed"] += 1


def test_traces_without_end_are_bounded(story: Story) -> None:
    for body in rootless(ROOTLESS, NOW, np.random.default_rng(2)):
        assert story.post(body).status_code == 200
        story.spans += 10_000
    total = "SELECT count() FROM spans WHERE service = 'rootless'"
    until(lambda: story.running.value(total) == ROOTLESS, PATIENCE_S, "spans are missing")
    evicted = "dimwatch_closed_traces_total"
    until(
        lambda: story.running.metric(evicted, cause="evicted") > 0, PATIENCE_S, "no trace was closed for lack of room"
    )
    assert story.running.metric("dimwatch_open_traces") <= OPEN_TRACES
    judged = "SELECT count(), countIf(outcome = 'incomplete') FROM traces WHERE service = 'rootless'"
    until(lambda: story.running.rows(judged) == [[ROOTLESS] * 2], PATIENCE_S, "traces are missing")


def test_the_service_goes_on(story: Story) -> None:
    call = story.span(name="execute_tool refund")
    for key, value in {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "refund",
        "gen_ai.tool.call.result": '{"error": "503 Service Unavailable"}',
    }.items():
        call.attributes.add(key=key).value.string_value = value
    assert story.accepted(call) == 0
    found = f"SELECT rule FROM observations WHERE trace_id = '{call.trace_id.hex()}'"
    until(lambda: story.running.rows(found) == [["silent_tool_failure"]], PATIENCE_S, "nothing is found any more")
    told = story.running.processes()
    assert {role: told[role]["restarts"] for role in ROLES} == dict.fromkeys(ROLES, 0)


def test_all_is_accounted_for(story: Story) -> None:
    story.running.drain(PATIENCE_S)
    dropped = story.dropped()
    rejected = sum(count for (signal, _), count in dropped.items() if signal == "spans")
    assert story.spans == story.running.value("SELECT count() FROM spans") + rejected
    until(  # refused requests are told every ten seconds
        lambda: {reason: story.dropped()["requests", reason] for reason in story.requests} == story.requests,
        PATIENCE_S,
        f"not all of {dict(story.requests)} are in `drops`",
    )


@pytest.mark.parametrize("role", ROLES)
def test_memory_stays_small(story: Story, role: str) -> None:
    assert story.running.peak_bytes(role) < MOST_BYTES
