"""Whatever surrounds a secret: it is masked, nothing else moves, and the request stays the same request."""

from __future__ import annotations

import json
from typing import Any

from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from ingest.otlp.json_codec import to_protobuf
from ingest.otlp.outline import outline
from ingest.otlp.signals import LOGS, TRACES
from ingest.redaction import Redactor

UNHURRIED = settings(deadline=None)  # the machine may be busy
REDACTOR = Redactor()

CANARIES = (
    "sk-proj-CANARY0123456789abcd",
    "ghp_CANARY0123456789abcdefghijABCDEFGHIJ",
    "AKIACANARY0123456789",
    "canary.person@canary-mail.example.com",
    "4111111111111111",
    "5500-0000-0000-0004",
    "DE89370400440532013000",
    "+1 415 555 0132",
    "eyJhbGciOiJIUzI1NiJ9.eyJjYW5hcnkiOiIxMjMifQ.c2lnbmF0dXJlLWNhbmFyeQ",
    "postgres://canary:canary-passw0rd@db.internal/x",
    "Bearer canary-0123456789-token",
)
KEEPS = {9: "postgres://canary:", 10: "Bearer "}
"""The parts of canaries that are not secret."""

texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60)
separators = st.sampled_from(["", " ", "\n", "\t", '"', "'", "(", ", ", "é ", "{", "\\", "=", ": "])
ids16, ids8 = st.binary(min_size=16, max_size=16), st.binary(min_size=8, max_size=8)


def secret_of(number: int) -> str:
    return CANARIES[number].removeprefix(KEEPS.get(number, ""))


def texts_of(message: Message) -> list[Any]:
    """The structure of a message with each text replaced by its length in bytes; numbers and ids as they are."""
    found: list[Any] = []
    for field, value in message.ListFields():
        for element in value if field.is_repeated else [value]:
            if isinstance(element, Message):
                found.append((field.name, texts_of(element)))
            else:
                found.append((field.name, len(element.encode()) if isinstance(element, str) else element))
    return found


@UNHURRIED
@given(
    canary=st.sampled_from(range(len(CANARIES))),
    before=texts,
    after=texts,
    around=st.tuples(separators, separators),
    depth=st.integers(0, 3),
    trace_id=ids16,
    span_id=ids8,
    other=texts,
)
def test_a_planted_canary_never_survives(
    canary: int,
    before: str,
    after: str,
    around: tuple[str, str],
    depth: int,
    trace_id: bytes,
    span_id: bytes,
    other: str,
) -> None:
    value: object = f"{before} {around[0]}{CANARIES[canary]}{around[1]} {after}"
    for _ in range(depth):
        value = json.dumps({"role": "tool", "content": value, "n": 1}, ensure_ascii=bool(depth % 2))
    assert isinstance(value, str)
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(trace_id=trace_id, span_id=span_id, name=other)
    span.attributes.add(key="content").value.string_value = value
    span.attributes.add(key="list").value.array_value.values.add().string_value = value
    span.events.add(name=other).attributes.add(key="body").value.kvlist_value.values.add(
        key="k"
    ).value.string_value = value
    span.status.message = value
    body = request.SerializeToString()
    masked = REDACTOR.redact(body, TRACES.shape).body
    assert len(masked) == len(body)
    assert secret_of(canary).encode() not in masked
    assert REDACTOR.redact(body, TRACES.shape, outline(body, 1, "span").items).body == masked
    parsed = ExportTraceServiceRequest.FromString(masked)
    assert texts_of(parsed) == texts_of(request)
    if depth:
        content: Any = parsed.resource_spans[0].scope_spans[0].spans[0].attributes[0].value.string_value
        for _ in range(depth):
            content = json.loads(content)
            assert set(content) == {"role", "content", "n"}
            content = content["content"]


@UNHURRIED
@given(canary=st.sampled_from(range(len(CANARIES))), key=st.sampled_from(["body", "note"]), text=texts)
def test_a_canary_in_otlp_json_never_survives(canary: int, key: str, text: str) -> None:
    value = {"stringValue": f"{text} {CANARIES[canary]}"}
    record = {"body": value, "attributes": [{"key": key, "value": value}]}
    tree = {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}
    body = to_protobuf(json.dumps(tree).encode(), LOGS)
    masked = REDACTOR.redact(body, LOGS.shape).body
    assert secret_of(canary).encode() not in masked
    assert texts_of(ExportLogsServiceRequest.FromString(masked)) == texts_of(ExportLogsServiceRequest.FromString(body))


@UNHURRIED
@given(
    password=st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=6, max_size=40),
    depth=st.integers(1, 4),
)
def test_a_password_field_in_nested_json_never_survives(password: str, depth: int) -> None:
    password = f"S3cret!{password}"
    value: object = {"user": "u", "password": password, "n": [1]}
    for _ in range(depth):
        value = json.dumps({"arguments": value})
    assert isinstance(value, str)
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add()
    span.attributes.add(key="tool.arguments").value.string_value = value
    masked = REDACTOR.redact(request.SerializeToString(), TRACES.shape).body
    attribute = ExportTraceServiceRequest.FromString(masked).resource_spans[0].scope_spans[0].spans[0].attributes[0]
    content: Any = attribute.value.string_value
    for _ in range(depth):
        content = json.loads(content)["arguments"]
    assert (content["user"], content["n"], set(content["password"])) == ("u", [1], {"*"})


@UNHURRIED
@given(st.binary(max_size=400))
def test_binary_is_never_touched(blob: bytes) -> None:
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(trace_id=blob, span_id=blob + b"bob@example.com ")
    span.links.add(trace_id=b"4111111111111111", span_id=blob)
    body = request.SerializeToString()
    assert REDACTOR.redact(body, TRACES.shape).body == body


def test_canaries_are_found_in_bytes_values_too() -> None:
    value = AnyValue(bytes_value=CANARIES[0].encode())
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="k").value.CopyFrom(value)
    resource.scope_spans.add().spans.add(name="s").attributes.add(key="k").value.CopyFrom(value)
    body = request.SerializeToString()
    assert b"CANARY" not in REDACTOR.redact(body, TRACES.shape).body
    assert b"CANARY" not in REDACTOR.redact(body, TRACES.shape, outline(body, 1, "span").items).body
