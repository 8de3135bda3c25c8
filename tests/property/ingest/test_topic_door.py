"""What a Collector wrote is let in in the same way, whatever lies beside it in the topic."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from dimwatch import records
from dimwatch.clock import NS_PER_SECOND
from dimwatch.eventlog.base import Record
from dimwatch.settings import Settings
from ingest.normalize import Request
from ingest.otlp.topic_door import TopicDoor

NOW_NS = 1_763_800_000 * NS_PER_SECOND
DAY_NS = 86_400 * NS_PER_SECOND
SMALL = Settings.model_validate({"receiver": {"max_spans": 12, "max_attributes": 3, "max_attribute_value": 150}})
SECRET = "sk-ant-api03-" + "a1B2" * 20
OURS = {records.HEADER_ADMITTED: "1", records.HEADER_TENANT: "acme"}


def spans(*names: str, **of_last: Any) -> bytes:
    """A request of a span for each name, which is its result, too; the last one is as `of_last` says."""
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for number, name in enumerate(names, 1):
        span = scope.spans.add(trace_id=b"\1" * 16, span_id=bytes([number] * 8), name=name)
        span.start_time_unix_nano = span.end_time_unix_nano = NOW_NS
        span.attributes.add(key="gen_ai.tool.call.result").value.string_value = name
    for field, value in of_last.items():
        setattr(scope.spans[-1], field, value)
    return request.SerializeToString()


def roomy() -> bytes:
    request = ExportTraceServiceRequest.FromString(spans("roomy"))
    for number in range(5):
        request.resource_spans[0].scope_spans[0].spans[0].events.add().attributes.add(key=f"key {number}")
        request.resource_spans[0].scope_spans[0].spans[0].attributes.add(key=f"key {number}")
    return request.SerializeToString()


SOUND = [
    spans("lookup"),
    spans("lookup", "search"),
    spans(f"the key is {SECRET}"),
    spans("token=", SECRET, "somebody@example.com"),
    spans("tomorrow", start_time_unix_nano=NOW_NS + DAY_NS, end_time_unix_nano=NOW_NS + DAY_NS),
]
OTHER = [
    b"",
    b"not protobuf",
    b"\xff" * 20,
    spans("lookup")[:-3],
    NO_ID := spans("lookup", "no id", span_id=b""),
    spans("lookup", "ends before it starts", end_time_unix_nano=NOW_NS - 1),
    spans("x" * 500),
    spans(*"too many spans"),
    roomy(),
    # What would hide the request behind it, as a field that nobody knows: whole, and between the marks of a group.
    HIDES := bytes((0x12, len(NO_ID) & 127 | 128, len(NO_ID) >> 7)),
    OPENS := b"\x2b",
    CLOSES := b"\x2c",
]
RUNS = st.lists(
    st.tuples(st.sampled_from(SOUND * 20 + OTHER), st.sampled_from([0, 1, DAY_NS]), st.integers(0, 15)), max_size=40
)


def told(found: Iterable[Request]) -> list[tuple[object, ...]]:
    """Requests in which there is something."""
    return [(one.body, one.received_ns, one.tenant, one.origin) for one in found if holds(one.body)]


def holds(body: bytes) -> bool:
    try:
        request = ExportTraceServiceRequest.FromString(body)
    except DecodeError:
        return True
    return any(scope.spans for resource in request.resource_spans for scope in resource.scope_spans)


@settings(deadline=None, max_examples=150)
@given(RUNS)
@example([(HIDES, 0, 1), (NO_ID, 0, 1)])
@example([(OPENS, 0, 1), (NO_ID, 0, 1), (CLOSES, 0, 1)])
def test_neighbours_do_not_matter(run: list[tuple[bytes, int, int]]) -> None:
    all_ = [
        Record(records.OTLP_SPANS, 0, offset, NOW_NS - later_ns, value, headers=OURS if ours == 0 else {})
        for offset, (value, later_ns, ours) in enumerate(run)
    ]
    together, apart = TopicDoor(SMALL), TopicDoor(SMALL)
    assert told(together.requests(all_)) == told(request for one in all_ for request in apart.requests([one]))
    assert together.dropped == apart.dropped


def test_sound_neighbours_are_masked_each_in_its_place() -> None:
    values = [spans("lookup", f"{number} {SECRET}") for number in range(40)]
    found = TopicDoor(Settings()).requests(Record(records.OTLP_SPANS, 0, 0, NOW_NS, value) for value in values)
    hidden = "sk-" + "*" * (len(SECRET) - 3)
    assert [request.body for request in found] == [value.replace(SECRET.encode(), hidden.encode()) for value in values]
