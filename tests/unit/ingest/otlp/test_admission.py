"""What is let into Dimwatch, what is cut or rejected, and that every bit of it is counted."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from dimwatch.errors import InvalidError
from ingest.otlp.admission import FUTURE_NS, Admitted, Limits, admit
from ingest.otlp.framing import encode_varint
from ingest.otlp.outline import PIECE_BYTES, outline
from ingest.otlp.refusals import TooLargeError
from ingest.otlp.signals import LOGS, METRICS, TRACES

NOW = 1_795_000_000_000_000_000
LIMITS = Limits(max_items=1_000, max_attributes=16, max_value=256, latest_ns=NOW + FUTURE_NS)


def add_span(request: ExportTraceServiceRequest) -> Span:
    scope = request.resource_spans.add().scope_spans.add()
    return scope.spans.add(
        trace_id=os.urandom(16),
        span_id=os.urandom(8),
        name="chat",
        start_time_unix_nano=NOW - 1_000,
        end_time_unix_nano=NOW,
    )


def admit_spans(request: ExportTraceServiceRequest, limits: Limits = LIMITS) -> tuple[Admitted, list[Span]]:
    admitted = admit(request.SerializeToString(), TRACES, limits)
    return admitted, list(spans_of(admitted))


def spans_of(admitted: Admitted) -> Iterator[Span]:
    for piece in admitted.pieces:
        for resource in ExportTraceServiceRequest.FromString(piece.body).resource_spans:
            for scope in resource.scope_spans:
                yield from scope.spans


def message(field: int, payload: bytes) -> bytes:
    return encode_varint(field << 3 | 2) + encode_varint(len(payload)) + payload


def spans_bytes(spans: bytes) -> bytes:
    return message(1, message(2, spans))


def test_a_sound_request_passes_byte_for_byte() -> None:
    request = ExportTraceServiceRequest()
    span = add_span(request)
    body = request.SerializeToString() + message(99, b"a field of the future")
    admitted = admit(body, TRACES, LIMITS)
    assert [piece.body for piece in admitted.pieces] == [body]
    assert admitted.pieces[0].key == span.trace_id.hex().encode()
    assert (admitted.items, admitted.rejected, admitted.dropped.total()) == (1, 0, 0)
    assert (admitted.first_ns, admitted.last_ns) == (NOW - 1_000, NOW)


def test_an_empty_request_is_fine() -> None:
    assert admit(b"", TRACES, LIMITS).pieces == []


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("trace_id", b"", "invalid_trace_id"),
        ("trace_id", b"short", "invalid_trace_id"),
        ("trace_id", bytes(16), "invalid_trace_id"),
        ("span_id", b"123456789", "invalid_span_id"),
        ("span_id", bytes(8), "invalid_span_id"),
        ("parent_span_id", b"123", "invalid_parent_span_id"),
    ],
)
def test_spans_with_unusable_ids_are_rejected_and_counted(field: str, value: bytes, reason: str) -> None:
    request = ExportTraceServiceRequest()
    good = [add_span(request) for _ in range(3)]
    for _ in range(2):
        setattr(add_span(request), field, value)
    admitted, spans = admit_spans(request)
    assert [span.span_id for span in spans] == [span.span_id for span in good]
    assert (admitted.items, admitted.rejected) == (3, 2)
    assert admitted.dropped == {("spans", reason): 2}
    assert reason.replace("_", " ") in admitted.explanation()


@pytest.mark.parametrize(
    ("start", "end", "kept", "dropped"),
    [
        (NOW - 5, 0, (NOW - 5, NOW - 5), ("timestamps", "missing_end_time")),
        (0, NOW, (NOW, NOW), ("timestamps", "invalid_start_time")),
        (2**64 - 5, NOW, (NOW, NOW), ("timestamps", "invalid_start_time")),
        (NOW, 2**64 - 1, (NOW, NOW), ("timestamps", "invalid_end_time")),
        (NOW, NOW - 5, (NOW, NOW), ("timestamps", "end_before_start")),
        (0, 0, None, ("spans", "invalid_time")),
        (1, 2, None, ("spans", "invalid_time")),
        (NOW + 2 * FUTURE_NS, NOW + 2 * FUTURE_NS, None, ("spans", "invalid_time")),
    ],
)
def test_absurd_times_are_repaired_where_they_can_be(
    start: int, end: int, kept: tuple[int, int] | None, dropped: tuple[str, str]
) -> None:
    request = ExportTraceServiceRequest()
    span = add_span(request)
    span.start_time_unix_nano, span.end_time_unix_nano = start, end
    admitted, spans = admit_spans(request)
    assert [(span.start_time_unix_nano, span.end_time_unix_nano) for span in spans] == ([kept] if kept else [])
    assert admitted.dropped == {dropped: 1}
    assert admitted.rejected == (0 if kept else 1)


def test_too_many_attributes_are_cut_and_counted() -> None:
    request = ExportTraceServiceRequest()
    span = add_span(request)
    for number in range(100_000):
        span.attributes.add(key=f"k{number}").value.int_value = number
    admitted, [kept] = admit_spans(request)
    assert [pair.key for pair in kept.attributes] == [f"k{number}" for number in range(16)]
    assert kept.dropped_attributes_count == 100_000 - 16
    assert admitted.dropped == {("attributes", "too_many"): 100_000 - 16}
    assert admitted.rejected == 0


def test_one_attribute_too_many_is_found_among_other_spans() -> None:
    request = ExportTraceServiceRequest()
    for attributes in (0, 16, 17, 3):
        span = add_span(request)
        for _ in range(attributes):
            span.attributes.add()  # of no bytes: the smallest there is
    admitted, kept = admit_spans(request)
    assert [(len(span.attributes), span.dropped_attributes_count) for span in kept] == [
        (0, 0),
        (16, 0),
        (16, 1),
        (3, 0),
    ]
    assert admitted.dropped == {("attributes", "too_many"): 1}


def test_a_million_keys_are_cut_before_they_are_parsed() -> None:
    request = ExportTraceServiceRequest()
    span = add_span(request)
    surplus = b"".join(b"\x4a\x10\x0a\x0akey-%06d\x12\x02\x18\x01" % number for number in range(1_000_000))
    body = spans_bytes(message(2, span.SerializeToString() + surplus))
    admitted = admit(body, TRACES, LIMITS)
    [kept] = spans_of(admitted)
    assert [pair.key for pair in kept.attributes] == [f"key-{n:06}" for n in range(16)]
    assert kept.dropped_attributes_count == admitted.dropped["attributes", "too_many"] == 1_000_000 - 16


def test_long_values_are_cut_between_characters_and_counted() -> None:
    request = ExportTraceServiceRequest()
    span = add_span(request)
    span.name = "n" * 5_000_000
    span.attributes.add(key="text").value.string_value = "é" * 1_000
    span.attributes.add(key="list").value.array_value.values.add().string_value = "x" * 300
    span.attributes.add(key="map").value.kvlist_value.values.add(key="k").value.bytes_value = b"y" * 300
    span.events.add(name="e").attributes.add(key="k").value.string_value = "z" * 256
    admitted, [kept] = admit_spans(request)
    assert kept.name == "n" * 256
    assert kept.attributes[0].value.string_value == "é" * 128
    assert kept.attributes[1].value.array_value.values[0].string_value == "x" * 256
    assert kept.attributes[2].value.kvlist_value.values[0].value.bytes_value == b"y" * 256
    assert kept.events[0].attributes[0].value.string_value == "z" * 256
    assert admitted.dropped == {("attributes", "too_long"): 4}


@pytest.mark.parametrize(
    "body",
    [b"\xff" * 30, b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x05\x12", spans_bytes(message(2, b"\x0a\x7fabc")), b"\x0f\x01"],
)
def test_malformed_protobuf_is_invalid(body: bytes) -> None:
    with pytest.raises(InvalidError, match="malformed"):
        admit(body, TRACES, LIMITS)


@pytest.mark.parametrize("depth", [48, 100, 1_000, 20_000])
def test_deep_nesting_is_invalid(depth: int) -> None:
    value = AnyValue(string_value="x").SerializeToString()
    for _ in range(depth):
        value = message(5, message(1, value))
    span = message(9, message(1, b"k") + message(2, value))
    with pytest.raises(InvalidError):
        admit(spans_bytes(message(2, span)), TRACES, LIMITS)


@pytest.mark.parametrize(
    "body",
    [
        spans_bytes(b"\x12\x00" * 2_000_000),
        spans_bytes(b"\x92\x80\x00\x00" * 2_000_000),
        message(1, b"\x12\x00" * 2_000_000),
        b"\x0a\x00" * 2_000_000,
    ],
    ids=["spans", "spans with long tags", "scopes", "resources"],
)
def test_a_bomb_of_empty_spans_is_refused_before_it_is_parsed(body: bytes) -> None:
    with pytest.raises(TooLargeError, match=r"receiver\.max_spans"):
        admit(body, TRACES, LIMITS)


@pytest.mark.parametrize("tag", [b"\x5a\x00", b"\x6a\x00"], ids=["events", "links"])
def test_a_bomb_inside_one_span_is_refused(tag: bytes) -> None:
    with pytest.raises(TooLargeError, match="one span"):
        admit(spans_bytes(message(2, tag * 4_000_000)), TRACES, LIMITS)


def test_a_large_request_becomes_pieces_that_say_the_same() -> None:
    request = ExportTraceServiceRequest()
    wanted = []
    for number in range(3):
        resource = request.resource_spans.add(schema_url=f"r{number}")
        resource.resource.attributes.add(key="service.name").value.string_value = f"service-{number}"
        scope = resource.scope_spans.add(schema_url="s")
        scope.scope.name = f"scope-{number}"
        for index in range(200):
            span = scope.spans.add(trace_id=os.urandom(16), span_id=index.to_bytes(8, "big", signed=False))
            span.span_id = os.urandom(8)
            span.start_time_unix_nano = span.end_time_unix_nano = NOW
            span.attributes.add(key="text").value.string_value = "x" * 10_000
            wanted.append((f"service-{number}", f"r{number}", f"scope-{number}", "s", span.span_id))
    limits = Limits(max_items=1_000, max_attributes=16, max_value=1 << 20)
    admitted = admit(request.SerializeToString(), TRACES, limits)
    assert len(admitted.pieces) > 4
    assert all(len(piece.body) <= 1.1 * PIECE_BYTES for piece in admitted.pieces)
    got = [
        (
            resource.resource.attributes[0].value.string_value,
            resource.schema_url,
            scope.scope.name,
            scope.schema_url,
            span.span_id,
        )
        for piece in admitted.pieces
        for resource in ExportTraceServiceRequest.FromString(piece.body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert got == wanted
    assert admitted.items == 600


def test_logs_keep_records_without_a_trace_and_reject_broken_ids() -> None:
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    records.add(time_unix_nano=NOW)
    records.add(observed_time_unix_nano=NOW, trace_id=os.urandom(16), span_id=os.urandom(8))
    records.add(time_unix_nano=2**63 + 1, observed_time_unix_nano=NOW - 7)
    records.add(time_unix_nano=NOW, trace_id=b"short")
    records.add()
    records.add(time_unix_nano=NOW).body.string_value = "b" * 1_000
    admitted = admit(request.SerializeToString(), LOGS, LIMITS)
    [scope] = ExportLogsServiceRequest.FromString(admitted.pieces[0].body).resource_logs[0].scope_logs
    assert (admitted.items, admitted.rejected) == (4, 2)
    assert admitted.dropped == {
        ("timestamps", "invalid_time"): 1,
        ("logs", "invalid_trace_id"): 1,
        ("logs", "invalid_time"): 1,
        ("attributes", "too_long"): 1,
    }
    assert [record.time_unix_nano for record in scope.log_records] == [NOW, 0, 0, NOW]
    assert len(scope.log_records[3].body.string_value) == 256
    assert admitted.first_ns == NOW - 7


def test_metrics_count_data_points_and_are_bounded_by_them() -> None:
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="tokens")
    for _ in range(1_000):
        metric.sum.data_points.add(time_unix_nano=NOW)
    assert admit(request.SerializeToString(), METRICS, LIMITS).items == 1_000
    metric.sum.data_points.add(time_unix_nano=NOW)
    with pytest.raises(TooLargeError, match="data points"):
        admit(request.SerializeToString(), METRICS, LIMITS)


def test_an_item_behind_many_other_fields_is_found_whatever_came_before() -> None:
    scope = ExportTraceServiceRequest()
    scope.resource_spans.add().scope_spans.add().spans.extend([Span(), Span()])
    others = b"\x0a\x00" * 1_040 + b"\x12\x00"
    resource = b"\x12" + encode_varint(len(others)) + others
    body = scope.SerializeToString() + b"\x0a" + encode_varint(len(resource)) + resource
    assert len(outline(body, 3, "span").items) == 3
