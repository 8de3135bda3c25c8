"""The three OTLP signals: their messages, their paths, their topics, and their words for what they carry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from dimwatch import records
from ingest.otlp.framing import Shape, shape_of


@dataclass(frozen=True, slots=True, eq=False)
class Signal:
    """One kind of telemetry."""

    name: str
    """As metrics and the `drops` topic call what is counted: spans, logs, metrics."""
    item: str
    topic: str
    http_path: str
    grpc_method: str
    json_key: str
    request: type[Message]
    response: type[Message]
    rejected_field: str
    shape: Shape

    def parse(self, body: bytes) -> Any:
        """Parse a request (protobuf's generated classes have no common typed base)."""
        return self.request.FromString(body)

    def answer(self, rejected: int, message: str) -> Message:
        """The response: full success leaves `partial_success` unset, as the specification demands."""
        response: Any = self.response()
        if rejected or message:
            setattr(response.partial_success, self.rejected_field, rejected)
            response.partial_success.error_message = message
        return response  # type: ignore[no-any-return]


def _descriptor(message: type[Message]) -> Any:
    return message.DESCRIPTOR


def _signal(name: str, item: str, topic: str, path: str, service: str, key: str, module: Any, kind: str) -> Signal:
    request = getattr(module, f"Export{kind}ServiceRequest")
    return Signal(
        name=name,
        item=item,
        topic=topic,
        http_path=path,
        grpc_method=f"/opentelemetry.proto.collector.{service}.v1.{kind}Service/Export",
        json_key=key,
        request=request,
        response=getattr(module, f"Export{kind}ServiceResponse"),
        rejected_field="rejected_" + item.replace(" ", "_") + "s",
        shape=shape_of(_descriptor(request)),
    )


TRACES: Final = _signal(
    "spans", "span", records.OTLP_SPANS, "/v1/traces", "trace", "resourceSpans", trace_service_pb2, "Trace"
)
LOGS: Final = _signal(
    "logs", "log record", records.OTLP_LOGS, "/v1/logs", "logs", "resourceLogs", logs_service_pb2, "Logs"
)
METRICS: Final = _signal(
    "metrics", "data point", records.OTLP_METRICS, "/v1/metrics", "metrics", "resourceMetrics",
    metrics_service_pb2, "Metrics",
)  # fmt: skip
SIGNALS: Final = (TRACES, LOGS, METRICS)
