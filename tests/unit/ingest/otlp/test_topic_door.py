"""What comes by a Collector's Kafka exporter is bounded and masked as at our own receiver."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from dimwatch import records
from dimwatch.eventlog.base import Record
from dimwatch.settings import Settings
from ingest.otlp.topic_door import TopicDoor
from tests import otel_exporter

NOW_NS = 1_763_800_000_000_000_000
SECRET = "sk-ant-api03-" + "a1B2" * 20


def record(value: bytes, topic: str = records.OTLP_SPANS, headers: Mapping[str, str] | None = None) -> Record:
    return Record(topic, 0, 7, NOW_NS, value, headers=headers or {})


def spans(*texts: str) -> bytes:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for number, text in enumerate(texts, 1):
        span = scope.spans.add(trace_id=b"\1" * 16, span_id=bytes([number] * 8), name="tool")
        span.start_time_unix_nano = span.end_time_unix_nano = NOW_NS
        span.attributes.add(key="gen_ai.tool.call.result").value.string_value = text
    ((_, value),) = otel_exporter.spans(request)
    return value


def test_secrets_are_masked_in_what_a_collector_wrote() -> None:
    (request,) = TopicDoor(Settings()).requests([record(spans(f"the key is {SECRET}"))])
    assert SECRET.encode() not in request.body
    assert b"the key is " in request.body
    assert request.received_ns == NOW_NS


def test_log_records_are_masked_too() -> None:
    request = ExportLogsServiceRequest()
    log = request.resource_logs.add().scope_logs.add().log_records.add(trace_id=b"\1" * 16, time_unix_nano=NOW_NS)
    log.body.string_value = f"the key is {SECRET}"
    ((_, value),) = otel_exporter.log_records(request)
    (found,) = TopicDoor(Settings()).requests([record(value, records.OTLP_LOGS)])
    assert SECRET.encode() not in found.body


def test_masking_can_be_off() -> None:
    off = Settings.model_validate({"redaction": {"enabled": False}})
    (request,) = TopicDoor(off).requests([record(spans(SECRET))])
    assert SECRET.encode() in request.body


def test_what_our_receiver_wrote_passes_as_it_is() -> None:
    value = spans(SECRET)  # it has been looked at there, and is not looked at twice
    ours = {records.HEADER_ADMITTED: "1", records.HEADER_TENANT: "acme"}
    (request,) = TopicDoor(Settings()).requests([record(value, headers=ours)])
    assert request.body is value
    assert request.tenant == "acme"


def test_a_tenant_that_an_exporter_names_is_no_reason_to_let_secrets_in() -> None:
    theirs = record(spans(f"the key is {SECRET}"), headers={records.HEADER_TENANT: "acme"})
    (request,) = TopicDoor(Settings()).requests([theirs])
    assert SECRET.encode() not in request.body
    assert request.tenant == ""


@pytest.mark.parametrize("value", [b"\xff" * 100, b"not protobuf"])
def test_what_is_no_otlp_goes_on_to_be_found_malformed(value: bytes) -> None:
    door = TopicDoor(Settings())
    (request,) = door.requests([record(value)])
    assert request.body == value
    assert not door.dropped


def test_too_much_is_refused_and_counted() -> None:
    small = Settings.model_validate({"receiver": {"max_spans": 2}})
    door = TopicDoor(small)
    assert not list(door.requests([record(spans("a", "b", "c"))]))
    assert door.dropped == Counter({("requests", "too_large"): 1})


def test_a_value_that_is_too_long_is_cut_and_counted_alike_each_time() -> None:
    small = Settings.model_validate({"receiver": {"max_attribute_value": 100}})
    doors = [TopicDoor(small), TopicDoor(small)]
    first, second = ([request.body for request in door.requests([record(spans("x" * 1000))])] for door in doors)
    assert first == second
    assert len(first[0]) < 1000
    assert sum(doors[0].dropped.values()) == 1
