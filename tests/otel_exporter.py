"""Messages as the OpenTelemetry Collector's Kafka exporter (v0.155.0) writes them with `otlp_proto`, partitioned by
trace id: one message a trace and scope, its key the trace id in hex, protobuf with the last field first.

`tests/e2e/collector/recorded.json` holds what a real one wrote; a test compares it byte for byte.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_ALWAYS: Final = frozenset({"trace_id", "span_id", "parent_span_id", "resource", "scope", "status", "value", "body"})
"""Written also when empty: the exporter's types have no absence of them."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def spans(request: ExportTraceServiceRequest) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of each message that the exporter makes of a request with spans."""
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            batches: dict[bytes, ExportTraceServiceRequest] = {}
            for span in scope.spans:
                batch = batches.get(span.trace_id)
                if batch is None:
                    batch = batches[span.trace_id] = ExportTraceServiceRequest()
                    copy = batch.resource_spans.add(schema_url=resource.schema_url, resource=resource.resource)
                    copy.scope_spans.add(schema_url=scope.schema_url, scope=scope.scope)
                batch.resource_spans[0].scope_spans[0].spans.append(span)
            for trace_id, batch in batches.items():
                yield trace_id.hex().encode(), encode(batch)


def log_records(request: ExportLogsServiceRequest) -> Iterator[tuple[bytes, bytes]]:
    """The same of a request with log records; of those without a trace the key is empty."""
    for resource in request.resource_logs:
        for scope in resource.scope_logs:
            batches: dict[bytes, ExportLogsServiceRequest] = {}
            for record in scope.log_records:
                batch = batches.get(record.trace_id)
                if batch is None:
                    batch = batches[record.trace_id] = ExportLogsServiceRequest()
                    copy = batch.resource_logs.add(schema_url=resource.schema_url, resource=resource.resource)
                    copy.scope_logs.add(schema_url=scope.schema_url, scope=scope.scope)
                batch.resource_logs[0].scope_logs[0].log_records.append(record)
            for trace_id, batch in batches.items():
                yield trace_id.hex().encode(), encode(batch)


def encode(message: Message) -> bytes:
    """Protobuf with the last declared field first: the Collector's own encoder fills its buffer from the end."""
    out = bytearray()
    fields: Any = message.DESCRIPTOR.fields
    for field in reversed(fields):
        value = getattr(message, field.name)
        if field.is_repeated:
            for element in value:
                out += _field(field, element)
        elif (field.name in _ALWAYS and field.containing_oneof is None) or _is_set(message, field, value):
            out += _field(field, value)
    return bytes(out)


def _is_set(message: Message, field: FieldDescriptor, value: Any) -> bool:
    if field.message_type is not None or field.containing_oneof is not None:
        return message.HasField(field.name)
    return bool(value)


def _field(field: FieldDescriptor, value: Any) -> bytes:
    kind = field.type
    if kind == FieldDescriptor.TYPE_MESSAGE:
        return _tagged(field, _BYTES, encode(value))
    if kind in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
        return _tagged(field, _BYTES, value.encode() if isinstance(value, str) else value)
    if kind == FieldDescriptor.TYPE_FIXED64:
        return _varint(field.number << 3 | _FIXED64) + int(value).to_bytes(8, "little")
    if kind == FieldDescriptor.TYPE_FIXED32:
        return _varint(field.number << 3 | _FIXED32) + int(value).to_bytes(4, "little")
    if kind == FieldDescriptor.TYPE_DOUBLE:
        return _varint(field.number << 3 | _FIXED64) + struct.pack("<d", value)
    return _varint(field.number << 3 | _VARINT) + _varint(int(value) & 0xFFFFFFFFFFFFFFFF)


def _tagged(field: FieldDescriptor, wire: int, content: bytes) -> bytes:
    return _varint(field.number << 3 | wire) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
