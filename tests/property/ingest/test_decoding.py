"""Columns hold what the protobuf objects hold."""

from __future__ import annotations

import numpy as np
import orjson
import pyarrow as pa
import pytest
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from detectors.traces.documents import unflattened
from dimwatch.errors import InvalidError
from ingest.fields import json_strings
from ingest.normalize import normalize_spans
from ingest.otlp import wire
from ingest.otlp.attributes import Attributes, plain
from ingest.otlp.columns import decode_spans
from ingest.otlp.ids import hex_ids
from ingest.otlp.values import Values
from tests.telemetry import START_NS, Span, Value, any_value, spans_request

UNHURRIED = settings(deadline=None, max_examples=100)
MODULES = (common_pb2, resource_pb2, trace_pb2, logs_pb2, trace_service_pb2, logs_service_pb2)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCALARS = st.one_of(
    st.none(), TEXT, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.binary(max_size=8)
)
VALUES: st.SearchStrategy[Value] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=8
)


def test_descriptor_is_that_of_opentelemetry() -> None:
    known = {
        name: message
        for module in MODULES
        for file in [module.DESCRIPTOR]
        for name, message in [
            *file.message_types_by_name.items(),
            *((nested.name, nested) for outer in file.message_types_by_name.values() for nested in outer.nested_types),
        ]
    }
    for name, fields in wire._SCHEMA.items():
        own = wire._message(name, fields)
        for field in own.field:
            theirs = known[name].fields_by_name[field.name]
            assert (field.number, field.label == field.LABEL_REPEATED) == (theirs.number, theirs.is_repeated)
            kind = FieldDescriptor.TYPE_INT32 if theirs.type == FieldDescriptor.TYPE_ENUM else theirs.type
            read_later = field.name in ("array_value", "kvlist_value", "value", "body")
            assert field.type == (FieldDescriptor.TYPE_BYTES if read_later else kind), (name, field.name)
            if field.type == field.TYPE_MESSAGE:
                assert field.type_name.rsplit(".", 1)[-1] == theirs.message_type.name


@st.composite
def requests(draw: st.DrawFn) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    for _ in range(draw(st.integers(0, 3))):
        resource = request.resource_spans.add()
        for key, value in draw(st.dictionaries(TEXT, VALUES, max_size=2)).items():
            resource.resource.attributes.add(key=key).value.CopyFrom(any_value(value))
        for _ in range(draw(st.integers(0, 2))):
            scope = resource.scope_spans.add()
            if draw(st.booleans()):
                scope.scope.name = draw(TEXT)
            for _ in range(draw(st.integers(0, 3))):
                start = draw(st.integers(0, 2**64 - 1))
                span = scope.spans.add(
                    trace_id=draw(st.binary(max_size=18)),
                    span_id=draw(st.binary(max_size=9)),
                    name=draw(TEXT),
                    start_time_unix_nano=start,
                    end_time_unix_nano=draw(st.integers(0, 2**64 - 1)),
                )
                for key, value in draw(st.lists(st.tuples(TEXT, VALUES), max_size=4)):  # keys may come twice
                    span.attributes.add(key=key).value.CopyFrom(any_value(value))
                for name in draw(st.lists(TEXT, max_size=2)):
                    span.events.add(name=name).attributes.add(key="k").value.string_value = name
                for linked in draw(st.lists(st.binary(max_size=17), max_size=2)):
                    span.links.add(trace_id=linked)
    return request


def texts_of(value: common_pb2.AnyValue) -> str | None:
    """The text that a column holds for a value."""
    kind, content = value.WhichOneof("value"), plain(value)
    if kind is None or kind in ("string_value", "bytes_value"):
        return content if isinstance(content, str) else None
    if kind == "double_value":
        return None  # compared as a number
    return orjson.dumps(content).decode()


@UNHURRIED
@given(st.lists(requests(), min_size=1, max_size=3))
def test_columns_hold_what_the_requests_hold(messages: list[ExportTraceServiceRequest]) -> None:
    raw = decode_spans([message.SerializeToString() for message in messages])
    spans = [
        (number, resource, scope, span)
        for number, message in enumerate(messages)
        for resource in message.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert len(raw) == len(spans)
    assert raw.request.tolist() == [number for number, *_ in spans]
    assert raw.trace_id.to_pylist() == [span.trace_id for *_, span in spans]
    assert raw.span_id.to_pylist() == [span.span_id for *_, span in spans]
    assert raw.name.to_pylist() == [span.name for *_, span in spans]
    assert raw.start_ns.tolist() == [span.start_time_unix_nano for *_, span in spans]
    assert raw.end_ns.tolist() == [span.end_time_unix_nano for *_, span in spans]
    assert raw.scope_name.take(pa.array(raw.scope)).to_pylist() == [scope.scope.name for *_, scope, _ in spans]
    assert raw.event_name.to_pylist() == [event.name for *_, span in spans for event in span.events]
    assert raw.link_trace_id.to_pylist() == [link.trace_id for *_, span in spans for link in span.links]
    pairs = [(row, item) for row, (*_, span) in enumerate(spans) for item in span.attributes]
    assert raw.attributes.owner.tolist() == [row for row, _ in pairs]
    assert raw.attributes.key.to_pylist() == [item.key for _, item in pairs]
    texts = raw.attributes.text(np.arange(len(pairs))).to_pylist()
    numbers = raw.attributes.number(np.arange(len(pairs))).tolist()
    for text, number, (_, item) in zip(texts, numbers, pairs, strict=True):
        if item.value.HasField("double_value"):
            assert number == float(text) == item.value.double_value
        else:
            assert text == texts_of(item.value)


def texts_of_encoded(*values: bytes) -> list[str | None]:
    column = Attributes(np.arange(len(values)), pa.repeat("key", len(values)), Values(pa.array(values, pa.binary())))
    texts: list[str | None] = column.text(np.arange(len(values))).to_pylist()
    return texts


LENGTHS = (0, 1, 127, 128, 129, 16_383, 16_384, 16_385, 2_097_151, 2_097_152)


def test_values_of_any_length_are_read() -> None:
    texts = ["a" * length for length in LENGTHS]
    assert texts_of_encoded(*(any_value(text).SerializeToString() for text in texts)) == texts


@pytest.mark.parametrize(
    ("encoded", "text"),
    [
        (b"\x0a\x82\x00hi", "hi"),  # a length of more bytes than it needs
        (b"\x8a\x00\x02hi", "hi"),  # a tag of more bytes than it needs
        (b"\x0a\x01x\x0a\x02yy", "yy"),  # a field that comes twice
        (b"\x4a\x01?\x0a\x02hi", "hi"),  # a field that nobody knows
        (b"\x4a\x01?", None),
        (b"\x10\x05", "true"),
        (b"\x18\x87\x00", "7"),
        (b"\x18" + b"\xff" * 9 + b"\x01", "-1"),
    ],
)
def test_values_may_be_written_in_other_ways(encoded: bytes, text: str | None) -> None:
    plain_one = any_value("plain").SerializeToString()
    assert texts_of_encoded(plain_one, encoded, b"", plain_one) == ["plain", text, None, "plain"]
    assert texts_of_encoded(encoded) == [text]


@pytest.mark.parametrize(
    "encoded", [b"\x0a", b"\x0a\x05ab", b"\x0a\x01\xff", b"\x18", b"\x18" + b"\xff" * 10, b"\x21abc", b"\x0a\x7f"]
)
def test_a_malformed_value_is_refused(encoded: bytes) -> None:
    with pytest.raises(InvalidError, match="malformed OTLP"):
        texts_of_encoded(any_value("plain").SerializeToString(), encoded)


@given(st.lists(st.binary(max_size=20), max_size=8), st.integers(0, 3))
def test_ids_of_the_right_length_are_hex(ids: list[bytes], skipped: int) -> None:
    column = pa.array(ids, pa.binary())[skipped:]
    assert hex_ids(column, 8).to_pylist() == [id_.hex() if len(id_) == 8 else "" for id_ in ids[skipped:]]


@given(st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"])), max_size=5))
def test_json_strings_are_read_back(texts: list[str | None]) -> None:
    literals = json_strings(pa.array(texts, pa.string())).to_pylist()
    assert [orjson.loads(literal) for literal in literals] == texts


@UNHURRIED
@given(
    st.lists(
        st.fixed_dictionaries({"role": TEXT, "content": TEXT}, optional={"tool_call_id": TEXT}), min_size=1, max_size=12
    )
)
def test_flattened_messages_are_lists_again(messages: list[dict[str, str]]) -> None:
    attributes: dict[str, Value] = {"openinference.span.kind": "LLM"}
    for number, message in enumerate(messages):
        attributes |= {f"llm.input_messages.{number}.message.{key}": value for key, value in message.items()}
    table = normalize_spans([spans_request([Span(1, attributes=attributes)])]).spans
    document = table["input_messages"][0].as_py()
    assert orjson.loads(unflattened(document)) == [{"message": message} for message in messages]


@UNHURRIED
@given(st.dictionaries(TEXT, VALUES, max_size=5))
def test_any_attributes_make_one_row(attributes: dict[str, Value]) -> None:
    normalized = normalize_spans([spans_request([Span(1, attributes=attributes)])])
    assert normalized.spans.num_rows == 1
    assert not normalized.malformed
    assert not normalized.dropped
    assert normalized.spans["start_time"][0].value == START_NS
