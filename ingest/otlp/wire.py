"""OTLP protobuf to Arrow in native code: the one module that knows `ptars`.

The schema that `ptars` is given is OpenTelemetry's own, trimmed to the fields that are read. Arrays and maps in
attribute values stay raw bytes, because a recursive type has no Arrow form; `ingest.otlp.attributes` reads them.
The values themselves stay raw bytes, too: a column for each type that a value may have costs more than all the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import ptars
import pyarrow as pa
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

from dimwatch.errors import InvalidError

_PACKAGE: Final = "dimwatch.otlp"
_TYPES: Final = {
    "string": FieldDescriptorProto.TYPE_STRING,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "int32": FieldDescriptorProto.TYPE_INT32,
    "uint32": FieldDescriptorProto.TYPE_UINT32,
    "double": FieldDescriptorProto.TYPE_DOUBLE,
    "fixed64": FieldDescriptorProto.TYPE_FIXED64,
}
_SCHEMA: Final = {
    "AnyValue": "1 string string_value, 2 bool bool_value, 3 int64 int_value, 4 double double_value, "
    "5 bytes array_value, 6 bytes kvlist_value, 7 bytes bytes_value",
    "KeyValue": "1 string key, 2 bytes value",
    "Resource": "1 KeyValue* attributes",
    "InstrumentationScope": "1 string name, 2 string version",
    "Status": "2 string message, 3 int32 code",
    "Event": "1 fixed64 time_unix_nano, 2 string name, 3 KeyValue* attributes",
    "Link": "1 bytes trace_id, 2 bytes span_id",
    "Span": "1 bytes trace_id, 2 bytes span_id, 4 bytes parent_span_id, 5 string name, 6 int32 kind, "
    "7 fixed64 start_time_unix_nano, 8 fixed64 end_time_unix_nano, 9 KeyValue* attributes, "
    "10 uint32 dropped_attributes_count, 11 Event* events, 13 Link* links, 15 Status status",
    "ScopeSpans": "1 InstrumentationScope scope, 2 Span* spans",
    "ResourceSpans": "1 Resource resource, 2 ScopeSpans* scope_spans",
    "ExportTraceServiceRequest": "1 ResourceSpans* resource_spans",
    "LogRecord": "1 fixed64 time_unix_nano, 11 fixed64 observed_time_unix_nano, 5 bytes body, "
    "6 KeyValue* attributes, 9 bytes trace_id, 10 bytes span_id, 12 string event_name",
    "ScopeLogs": "1 InstrumentationScope scope, 2 LogRecord* log_records",
    "ResourceLogs": "1 Resource resource, 2 ScopeLogs* scope_logs",
    "ExportLogsServiceRequest": "1 ResourceLogs* resource_logs",
}


def _message(name: str, fields: str) -> DescriptorProto:
    message = DescriptorProto(name=name)
    for number, type_, field_name in (field.split() for field in fields.split(", ")):
        field = message.field.add(name=field_name, number=int(number))
        repeated = type_.endswith("*")
        field.label = FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL
        if type_.rstrip("*") in _TYPES:
            field.type = _TYPES[type_.rstrip("*")]
        else:
            field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{_PACKAGE}.{type_.rstrip('*')}"
    if name == "AnyValue":
        message.oneof_decl.add(name="value")
        for field in message.field:
            field.oneof_index = 0
    return message


class WireDecoder:
    """Decodes many messages of one kind into Arrow."""

    def __init__(self, message: str) -> None:
        file = FileDescriptorProto(name="dimwatch_otlp.proto", package=_PACKAGE, syntax="proto3")
        file.message_type.extend(_message(name, fields) for name, fields in _SCHEMA.items())
        pool = DescriptorPool()
        pool.Add(file)
        descriptor = pool.FindFileByName(file.name)
        handlers = ptars.HandlerPool([descriptor])
        self._handler = handlers.get_for_message(descriptor.message_types_by_name[message])

    def decode(self, requests: Sequence[bytes]) -> pa.ListArray:
        """One list of resources for each export request. Raises InvalidError if any request is malformed."""
        return self.fields(requests).column(0)

    def fields(self, messages: Sequence[bytes]) -> pa.RecordBatch:
        """One row for each message, a column a field. Raises InvalidError if any message is malformed."""
        try:
            return self._handler.array_to_record_batch(pa.array(messages, pa.binary()))
        except ValueError as error:
            raise InvalidError(f"malformed OTLP request: {error}") from error
