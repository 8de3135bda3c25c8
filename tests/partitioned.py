"""Export requests as a partitioned eventlog has them: a record for each trace, keyed by it."""

from __future__ import annotations

from collections.abc import Iterator

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from dimwatch import records
from dimwatch.eventlog.base import NewRecord


def by_trace(signal: str, body: bytes, time_ns: int) -> Iterator[tuple[str, NewRecord]]:
    """Topic and record for each trace of a request, in the order in which they begin in it."""
    if signal == "traces":
        for key, own in _spans(body).items():
            yield records.OTLP_SPANS, NewRecord(own.SerializeToString(), time_ns, key=key)
    else:
        for key, own_logs in _logs(body).items():
            yield records.OTLP_LOGS, NewRecord(own_logs.SerializeToString(), time_ns, key=key)


def _spans(body: bytes) -> dict[bytes, ExportTraceServiceRequest]:
    found: dict[bytes, ExportTraceServiceRequest] = {}
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                to = found.setdefault(span.trace_id, ExportTraceServiceRequest()).resource_spans.add()
                to.resource.CopyFrom(resource.resource)
                own = to.scope_spans.add()
                own.scope.CopyFrom(scope.scope)
                own.spans.append(span)
    return found


def _logs(body: bytes) -> dict[bytes, ExportLogsServiceRequest]:
    found: dict[bytes, ExportLogsServiceRequest] = {}
    for resource in ExportLogsServiceRequest.FromString(body).resource_logs:
        for scope in resource.scope_logs:
            for record in scope.log_records:
                to = found.setdefault(record.trace_id, ExportLogsServiceRequest()).resource_logs.add()
                to.resource.CopyFrom(resource.resource)
                own = to.scope_logs.add()
                own.scope.CopyFrom(scope.scope)
                own.log_records.append(record)
    return found
