"""OTLP/JSON as the specification has it, and the places where senders stray."""

from __future__ import annotations

import json
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from dimwatch.errors import InvalidError
from ingest.otlp import json_codec
from ingest.otlp.json_codec import from_protobuf, to_protobuf
from ingest.otlp.refusals import TooLargeError
from ingest.otlp.signals import LOGS, TRACES


def convert(**span: Any) -> Span:
    tree = {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}
    request = ExportTraceServiceRequest.FromString(to_protobuf(json.dumps(tree).encode(), TRACES))
    return request.resource_spans[0].scope_spans[0].spans[0]


def attribute(value: dict[str, Any]) -> Any:
    return convert(attributes=[{"key": "k", "value": value}]).attributes[0].value


def test_a_span_in_all_its_parts() -> None:
    span = convert(
        traceId="5B8EFFF798038103D269B633813FC60C",
        spanId="eee19b7ec3c1b174",
        parentSpanId="",
        name="chat",
        kind=3,
        startTimeUnixNano="1544712660000000000",
        endTimeUnixNano=1544712661000000000,
        events=[{"timeUnixNano": "1544712660300000000", "name": "first token"}],
        links=[{"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "EEE19B7EC3C1B174"}],
        status={"code": 2, "message": "no"},
        droppedAttributesCount=3,
    )
    assert span.trace_id.hex() == "5b8efff798038103d269b633813fc60c"
    assert span.span_id.hex() == span.links[0].span_id.hex() == "eee19b7ec3c1b174"
    assert span.parent_span_id == b""
    assert (span.kind, span.status.code, span.status.message) == (3, 2, "no")
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (1544712660000000000, 1544712661000000000)
    assert span.events[0].name == "first token"
    assert span.dropped_attributes_count == 3


def test_every_kind_of_value() -> None:
    assert attribute({"stringValue": "é\n"}).string_value == "é\n"
    assert attribute({"boolValue": False}).WhichOneof("value") == "bool_value"
    assert attribute({"intValue": "-9223372036854775808"}).int_value == -(2**63)
    assert attribute({"intValue": 7.0}).int_value == 7
    assert attribute({"doubleValue": 1}).double_value == 1.0
    assert attribute({"doubleValue": "-Infinity"}).double_value == float("-inf")
    assert attribute({"bytesValue": "AQID"}).bytes_value == b"\x01\x02\x03"
    assert attribute({"arrayValue": {"values": [{"intValue": 1}, {}]}}).array_value.values[0].int_value == 1
    assert attribute({"arrayValue": {}}).WhichOneof("value") == "array_value"
    pairs = attribute({"kvlistValue": {"values": [{"key": "a", "value": {"stringValue": "b"}}]}}).kvlist_value
    assert (pairs.values[0].key, pairs.values[0].value.string_value) == ("a", "b")


def test_enum_names_are_understood_and_unknown_keys_and_nulls_ignored() -> None:
    span = convert(kind="SPAN_KIND_CLIENT", status={"code": "STATUS_CODE_ERROR"}, future={"x": []}, name=None)
    assert (span.kind, span.status.code, span.name) == (3, 2, "")
    assert convert(trace_id="5b8efff798038103d269b633813fc60c").trace_id == b""  # not lowerCamelCase


@pytest.mark.parametrize("bad", ["xyz", "abc", "AQIDBAUGBwgJCgsMDQ4PEA=="])
def test_an_id_that_is_not_hex_is_left_for_admission_to_reject(bad: str) -> None:
    assert len(convert(traceId=bad).trace_id) not in (0, 16)


@pytest.mark.parametrize("bad", ["-5", -5, "99999999999999999999999", 1e30])
def test_a_time_out_of_range_is_left_for_admission_to_reject(bad: object) -> None:
    assert convert(startTimeUnixNano=bad).start_time_unix_nano == 2**64 - 1


@pytest.mark.parametrize(
    ("span", "where"),
    [
        ({"name": 5}, r"spans\[0\]\.name: a string is expected, not a number"),
        ({"kind": "LOUD"}, r"spans\[0\]\.kind: an integer"),
        ({"startTimeUnixNano": "soon"}, r"spans\[0\]\.startTimeUnixNano: an integer"),
        ({"events": {}}, r"spans\[0\]\.events: a list is expected, not an object"),
        ({"events": [1]}, r"spans\[0\]\.events\[0\]: an object"),
        ({"status": []}, r"spans\[0\]\.status: an object"),
        ({"attributes": [{"key": "k", "value": {"intValue": True}}]}, r"value\.intValue: an integer"),
        ({"attributes": [{"key": "k", "value": {"intValue": str(2**63)}}]}, r"value\.intValue: out of range"),
        ({"attributes": [{"key": "k", "value": {"bytesValue": "!"}}]}, r"value\.bytesValue: base64"),
        ({"attributes": [{"key": "k", "value": {"boolValue": "yes"}}]}, r"value\.boolValue: true or false"),
    ],
)
def test_errors_say_where(span: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidError, match=where):
        convert(**span)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff\xfe", b'{"resourceSpans":[{]}', b'{"a":NaN}'])
def test_malformed_json_is_invalid(body: bytes) -> None:
    with pytest.raises(InvalidError, match="malformed"):
        to_protobuf(body, TRACES)


@pytest.mark.parametrize("depth", [60, 900, 100_000])
def test_deep_nesting_is_invalid(depth: int) -> None:
    value = '{"arrayValue":{"values":[' * depth + "]}}" * depth
    body = '{"resourceSpans":[{"resource":{"attributes":[{"key":"k","value":' + value + "}]}}]}"
    with pytest.raises(InvalidError):
        to_protobuf(body.encode(), TRACES)


def test_too_many_values_are_refused_but_commas_in_text_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_codec, "MAX_VALUES", 1_000)
    assert attribute({"stringValue": '{"a": [1, 2, "\\""]},' * 1_000}).string_value
    with pytest.raises(TooLargeError, match="JSON values"):
        convert(links=[{}] * 1_001)


def test_logs_as_well() -> None:
    body = b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"severityNumber":9,"body":{"stringValue":"hi"}}]}]}]}'
    record = ExportLogsServiceRequest.FromString(to_protobuf(body, LOGS)).resource_logs[0].scope_logs[0].log_records[0]
    assert (record.severity_number, record.body.string_value) == (9, "hi")


def test_answers() -> None:
    assert from_protobuf(TRACES.answer(0, "")) == b"{}"
    assert json.loads(from_protobuf(TRACES.answer(2, "why"))) == {
        "partialSuccess": {"rejectedSpans": "2", "errorMessage": "why"}
    }
    assert json.loads(from_protobuf(LOGS.answer(0, "warning"))) == {"partialSuccess": {"errorMessage": "warning"}}
