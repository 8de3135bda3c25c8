"""Export requests as flat columns: spans, span events and log records, still in the sender's own words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ingest.otlp.attributes import Attributes, Indices, elements_of, owners_of
from ingest.otlp.values import Values
from ingest.otlp.wire import WireDecoder

Times = npt.NDArray[np.int64]


@dataclass(slots=True)
class RawSpans:
    """One row a span; `request` says which request it came in, `resource` and `scope` index their own rows."""

    request: Indices
    resource: Indices
    scope: Indices
    trace_id: pa.Array  # binary, any length
    span_id: pa.Array
    parent_span_id: pa.Array
    name: pa.Array
    otel_kind: npt.NDArray[np.int32]
    start_ns: npt.NDArray[np.uint64]
    end_ns: npt.NDArray[np.uint64]
    status_code: npt.NDArray[np.int32]
    status_message: pa.Array
    dropped_attributes: npt.NDArray[np.uint32]
    attributes: Attributes  # owner: span
    resource_attributes: Attributes  # owner: resource
    resources: int
    scope_name: pa.Array
    scope_version: pa.Array
    event_span: Indices
    event_name: pa.Array
    event_time_ns: npt.NDArray[np.uint64]
    event_attributes: Attributes  # owner: event
    link_span: Indices
    link_trace_id: pa.Array

    def __len__(self) -> int:
        return len(self.trace_id)


@dataclass(slots=True)
class RawLogs:
    """One row a log record."""

    request: Indices
    resource: Indices
    scope: Indices
    trace_id: pa.Array
    span_id: pa.Array
    event_name: pa.Array
    time_ns: npt.NDArray[np.uint64]
    body: Attributes  # owner: log record, key always "body"
    attributes: Attributes  # owner: log record
    resource_attributes: Attributes
    resources: int
    scope_name: pa.Array
    scope_version: pa.Array

    def __len__(self) -> int:
        return len(self.trace_id)


@cache
def _decoder(message: str) -> WireDecoder:
    return WireDecoder(message)


def _struct(array: pa.Array, field: str) -> pa.Array:
    """A child of a struct array with the parent's nulls applied."""
    return pc.struct_field(array, field)


@dataclass(slots=True)
class _Nest:
    """The request > resource > scope > item levels that spans and logs share."""

    items: pa.Array
    request: Indices
    resource: Indices
    scope: Indices
    resource_attributes: Attributes
    resources: int
    scope_name: pa.Array
    scope_version: pa.Array


def _unnest(lists: pa.ListArray, scopes_field: str, items_field: str) -> _Nest:
    request_of_resource = owners_of(lists)
    resources = elements_of(lists)
    scope_lists = resources.field(scopes_field)
    resource_of_scope = owners_of(scope_lists)
    scopes = elements_of(scope_lists)
    item_lists = scopes.field(items_field)
    scope = owners_of(item_lists)
    resource = resource_of_scope[scope]
    scope_info = scopes.field("scope")
    return _Nest(
        items=elements_of(item_lists),
        request=request_of_resource[resource],
        resource=resource,
        scope=scope,
        resource_attributes=Attributes.of(resources.field("resource").field("attributes")),
        resources=len(resources),
        scope_name=pc.fill_null(_struct(scope_info, "name"), ""),
        scope_version=pc.fill_null(_struct(scope_info, "version"), ""),
    )


def decode_spans(requests: Sequence[bytes]) -> RawSpans:
    """Decode ExportTraceServiceRequest bytes. Raises InvalidError if any of them is malformed."""
    nest = _unnest(_decoder("ExportTraceServiceRequest").decode(requests), "scope_spans", "spans")
    spans = nest.items
    status = spans.field("status")
    events, links = spans.field("events"), spans.field("links")
    event_rows, link_rows = elements_of(events), elements_of(links)
    return RawSpans(
        request=nest.request,
        resource=nest.resource,
        scope=nest.scope,
        trace_id=spans.field("trace_id"),
        span_id=spans.field("span_id"),
        parent_span_id=spans.field("parent_span_id"),
        name=spans.field("name"),
        otel_kind=spans.field("kind").to_numpy(zero_copy_only=False),
        start_ns=spans.field("start_time_unix_nano").to_numpy(zero_copy_only=False),
        end_ns=spans.field("end_time_unix_nano").to_numpy(zero_copy_only=False),
        status_code=pc.fill_null(_struct(status, "code"), 0).to_numpy(zero_copy_only=False),
        status_message=pc.fill_null(_struct(status, "message"), ""),
        dropped_attributes=spans.field("dropped_attributes_count").to_numpy(zero_copy_only=False),
        attributes=Attributes.of(spans.field("attributes")),
        resource_attributes=nest.resource_attributes,
        resources=nest.resources,
        scope_name=nest.scope_name,
        scope_version=nest.scope_version,
        event_span=owners_of(events),
        event_name=event_rows.field("name"),
        event_time_ns=event_rows.field("time_unix_nano").to_numpy(zero_copy_only=False),
        event_attributes=Attributes.of(event_rows.field("attributes")),
        link_span=owners_of(links),
        link_trace_id=link_rows.field("trace_id"),
    )


def decode_logs(requests: Sequence[bytes]) -> RawLogs:
    """Decode ExportLogsServiceRequest bytes. Raises InvalidError if any of them is malformed."""
    nest = _unnest(_decoder("ExportLogsServiceRequest").decode(requests), "scope_logs", "log_records")
    logs = nest.items
    count = len(logs)
    times = logs.field("time_unix_nano").to_numpy(zero_copy_only=False)
    observed = logs.field("observed_time_unix_nano").to_numpy(zero_copy_only=False)
    bodies = Attributes(np.arange(count, dtype=np.int64), pa.repeat("body", count), Values(logs.field("body")))
    return RawLogs(
        request=nest.request,
        resource=nest.resource,
        scope=nest.scope,
        trace_id=logs.field("trace_id"),
        span_id=logs.field("span_id"),
        event_name=logs.field("event_name"),
        time_ns=np.where(times > 0, times, observed),
        body=bodies,
        attributes=Attributes.of(logs.field("attributes")),
        resource_attributes=nest.resource_attributes,
        resources=nest.resources,
        scope_name=nest.scope_name,
        scope_version=nest.scope_version,
    )
