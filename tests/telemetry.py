"""OTLP requests by hand, and what the pipeline makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import pyarrow as pa
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from detectors.windows.points import merged, merged_sightings
from dimwatch.app.pipeline import Output, Pipeline
from dimwatch.settings import Settings
from ingest.normalize import Request

START_NS = 1_760_000_000_000_000_000
SECOND = 1_000_000_000

Value = str | bool | int | float | bytes | list[Any] | dict[str, Any] | None


def any_value(value: Value) -> AnyValue:
    """A Python value as OTLP has it; None is a value that is not set."""
    result = AnyValue()
    match value:
        case None:
            pass
        case bool():
            result.bool_value = value
        case str():
            result.string_value = value
        case int():
            result.int_value = value
        case float():
            result.double_value = value
        case bytes():
            result.bytes_value = value
        case list():
            result.array_value.SetInParent()
            result.array_value.values.extend(any_value(item) for item in value)
        case dict():
            result.kvlist_value.SetInParent()
            result.kvlist_value.values.extend(pairs(value))
    return result


def pairs(attributes: Mapping[str, Value]) -> list[KeyValue]:
    """Attributes as OTLP has them."""
    return [KeyValue(key=key, value=any_value(value)) for key, value in attributes.items()]


@dataclass
class Span:
    """A span of a test: times in seconds after START_NS, ids as small numbers."""

    id: int
    parent: int = 0
    name: str = "step"
    attributes: Mapping[str, Value] = field(default_factory=dict)
    start: float = 0.0
    seconds: float = 1.0
    error: str | None = None
    trace: int = 1
    links: Sequence[int] = ()
    events: Sequence[tuple[str, Mapping[str, Value]]] = ()


def agent(id: int, parent: int = 0, **other: Any) -> Span:
    """A run of an agent."""
    return Span(
        id, parent, "invoke_agent a", {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "a"}, **other
    )


def chat(id: int, parent: int = 0, attributes: Mapping[str, Value] | None = None, **other: Any) -> Span:
    """A model call."""
    own: dict[str, Value] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.response.model": "gpt-4o",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 1000,
        "gen_ai.usage.output_tokens": 100,
    }
    given = {key: value for key, value in (own | dict(attributes or {})).items() if value is not None}
    return Span(id, parent, "chat gpt-4o", given, **other)


def tool(
    id: int,
    parent: int = 0,
    name: str = "search",
    result: str = '{"hits": 3}',
    arguments: str = '{"q": "x"}',
    **other: Any,
) -> Span:
    """A tool call."""
    attributes: dict[str, Value] = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": name,
        "gen_ai.tool.call.id": f"call_{id}",
        "gen_ai.tool.call.arguments": arguments,
        "gen_ai.tool.call.result": result,
    }
    return Span(id, parent, f"execute_tool {name}", attributes, **other)


def spans_request(
    spans: Iterable[Span],
    resource: Mapping[str, Value] | None = None,
    received_ns: int = START_NS,
    scope_of: tuple[str, str] = ("", ""),
) -> Request:
    """One trace export request, `scope_of` an instrumentation (its name and version)."""
    message = ExportTraceServiceRequest()
    holder = message.resource_spans.add()
    holder.resource.attributes.extend(pairs({"service.name": "shop"} if resource is None else resource))
    scope = holder.scope_spans.add()
    scope.scope.name, scope.scope.version = scope_of
    for span in spans:
        start = START_NS + round(span.start * SECOND)
        added = scope.spans.add(
            trace_id=trace_id(span.trace),
            span_id=span.id.to_bytes(8, "big"),
            parent_span_id=span.parent.to_bytes(8, "big") if span.parent else b"",
            name=span.name,
            start_time_unix_nano=start,
            end_time_unix_nano=start + round(span.seconds * SECOND),
            attributes=pairs(span.attributes),
        )
        for linked in span.links:
            added.links.add(trace_id=trace_id(linked), span_id=b"\1" * 8)
        for name, attributes in span.events:
            added.events.add(time_unix_nano=start, name=name, attributes=pairs(attributes))
        if span.error is not None:
            added.status.code, added.status.message = Status.STATUS_CODE_ERROR, span.error
    return Request(message.SerializeToString(), received_ns)


def logs_request(
    events: Iterable[tuple[str, int, Mapping[str, Value], Value]],
    received_ns: int = START_NS,
    trace: int = 1,
    only: int | None = None,
) -> Request:
    """One log export request of (event name, span, attributes, body), a nanosecond after the other; `only` one."""
    message = ExportLogsServiceRequest()
    scope = message.resource_logs.add().scope_logs.add()
    for number, (name, span, attributes, body) in enumerate(events):
        if only not in (None, number):
            continue
        record = scope.log_records.add(
            time_unix_nano=START_NS + number,
            event_name=name,
            trace_id=trace_id(trace),
            span_id=span.to_bytes(8, "big"),
            attributes=pairs(attributes),
        )
        record.body.CopyFrom(any_value(body))
    return Request(message.SerializeToString(), received_ns)


def trace_id(number: int) -> bytes:
    """The id of a trace of a test."""
    return number.to_bytes(16, "big")


@dataclass
class Seen:
    """What people see after everything: newest rows by id."""

    spans: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    traces: dict[str, dict[str, Any]] = field(default_factory=dict)
    observations: dict[str, dict[str, Any]] = field(default_factory=dict)
    malformed: list[str] = field(default_factory=list)
    dropped: dict[tuple[str, str], int] = field(default_factory=dict)
    arrived: int = 0
    points: list[pa.Table] = field(default_factory=list)
    sightings: list[pa.Table] = field(default_factory=list)

    def take(self, output: Output) -> None:
        """Add what a step gave, as the tables do."""
        for row in (row for table in output.spans for row in table.to_pylist()):
            _newest(self.spans, (row["trace_id"], row["span_id"]), row)
        for row in (row for table in output.traces for row in table.to_pylist()):
            _newest(self.traces, row["trace_id"], row)
        for row in (row for table in output.observations for row in table.to_pylist()):
            _newest(self.observations, row["id"], row)
        self.malformed += [reason for _, reason in output.malformed]
        self.arrived += output.arrived
        self.points += output.points
        self.sightings += output.sightings
        for key, count in output.dropped.items():
            self.dropped[key] = self.dropped.get(key, 0) + count

    def span(self, id: int, trace: int = 1) -> dict[str, Any]:
        """The row of a span."""
        return self.spans[trace_id(trace).hex(), id.to_bytes(8, "big").hex()]

    @property
    def trace(self) -> dict[str, Any]:
        """The row of the only trace."""
        (row,) = self.traces.values()
        return row

    def point(self, signal: str, **key: str) -> tuple[float, float]:
        """n and total of a signal over all windows and series of these columns."""
        rows = [
            row
            for row in merged(self.points).to_pylist()
            if row["signal"] == signal and all(row[name] == value for name, value in key.items())
        ]
        return sum(row["n"] for row in rows), sum(row["total"] for row in rows)

    def sighted(self, attribute: str) -> set[tuple[str, str]]:
        """Keys and values that were sighted of an attribute."""
        rows = merged_sightings(self.sightings).to_pylist()
        return {(row["key"], row["value"]) for row in rows if row["attribute"] == attribute}

    def rules(self) -> set[str]:
        """Rules with an observation."""
        return {row["rule"] for row in self.observations.values()}


def _newest(rows: dict[Any, dict[str, Any]], key: Any, row: dict[str, Any]) -> None:
    if key not in rows or rows[key]["version"] <= row["version"]:
        rows[key] = row


def seen(traces: Sequence[Request], logs: Sequence[Request] = (), settings: Settings | None = None) -> Seen:
    """Everything in one step, then the end of the input."""
    result = Seen()
    pipeline = Pipeline(settings or Settings())
    now_ns = max(request.received_ns for request in [*traces, *logs])
    result.take(pipeline.add(traces, logs, now_ns=now_ns, record=0))
    result.take(pipeline.flush())
    return result


def judged(*spans: Span, logs: Sequence[Request] = ()) -> Seen:
    """What comes of these spans, sent in one request."""
    return seen([spans_request(spans)], logs)


def document(*messages: Mapping[str, Any]) -> str:
    """Messages as JSON."""
    return orjson.dumps(list(messages)).decode()
