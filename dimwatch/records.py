"""The records that stages exchange: Arrow schemas, topic names, and the wire form (Arrow IPC streams).

A column that a schema names is the column of the ClickHouse table that the topic ends in; a test holds
the two together. Null means "not said by the telemetry", which is never the same as empty or zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import pyarrow as pa

from dimwatch.errors import InvalidError

OTLP_SPANS: Final = "otlp_spans"
OTLP_LOGS: Final = "otlp_logs"
OTLP_METRICS: Final = "otlp_metrics"
"""Raw OTLP export requests, protobuf, one request a record (the names of the Collector's Kafka exporter)."""

SPANS: Final = "spans"
TRACES: Final = "traces"
OBSERVATIONS: Final = "observations"
DROPS: Final = "drops"
POINTS: Final = "points"
SIGHTINGS: Final = "sightings"
"""What workers say of windows, in parts that add up, and only the fleet stage reads. Each record tells how far its
worker has judged, see HEADER_SOURCE; one without rows is a heartbeat."""
WINDOWS: Final = "windows"
WINDOW_SIGHTINGS: Final = "window_sightings"
"""The same of closed windows, whole: what ends in the tables."""
INCIDENTS: Final = "incidents"
CHANGES: Final = "changes"
SHADOW_ALERTS: Final = "shadow_alerts"
DELIVERIES: Final = "deliveries"
"""Every attempt to tell somebody of an incident."""
ORDERS: Final = "orders"
"""What became of what people said on `control`."""
CANARIES: Final = "canaries"
"""Spans that Dimwatch sends to itself: they are in no other topic than this and `otlp_spans`."""
CHECKPOINTS: Final = "checkpoints"
"""Assembler state, newest record wins; see `detectors.traces.checkpoint`."""
FLEET_CHECKPOINTS: Final = "fleet_checkpoints"
"""State of the fleet stage, newest record wins; see `dimwatch.app.fleet`."""
NOTIFIER_CHECKPOINTS: Final = "notifier_checkpoints"
"""What the notifier has still to tell and has told, newest record wins; see `dimwatch.app.notifier`."""
DEAD_LETTERS: Final = "dead_letters"
"""Records that could not be read, as they came, with the reason in the header `reason`."""

HEADER_TENANT: Final = "tenant"
HEADER_ADMITTED: Final = "dimwatch-admitted"
"""On OTLP that our receiver has bounded and masked; `ingest.otlp.topic_door` does so with all other."""
HEADER_SPOOLED: Final = "dimwatch-spooled"
"""On what a collector had to keep on its disk while Kafka was away, and sends later: more may follow."""
HEADER_REASON: Final = "reason"
HEADER_STAGE: Final = "stage"
HEADER_TOPIC: Final = "topic"
HEADER_PARTITION: Final = "partition"
HEADER_OFFSET: Final = "offset"
HEADER_REPLAYED: Final = "replayed"
"""On dead letters: who gave the record up, and which one it was; and on the mark that it was put back, the offset of
the letter. See `dimwatch.eventlog.letters`."""
HEADER_SOURCE: Final = "source"
"""On `points` and `sightings`: the worker that these are from. The record's timestamp is its watermark: the record time
up to which every trace that was over has been judged, and is in this record or an earlier one of the topic."""
HEADER_SOURCES: Final = "sources"
"""On the same: how many sources there are. The fleet stage waits for as many."""
HEADER_BEHIND: Final = "behind"
"""On the same, where the watermark is far behind the worker's clock, because it still reads old records."""

SCHEMA_VERSION: Final = 1

JUDGED: Final = 1 << 62
"""Added to the version of rows that come from a whole trace: a span that is sent again does not undo them."""

_TIME = pa.timestamp("ns", tz="UTC")


def _schema(*fields: tuple[str, pa.DataType, bool]) -> pa.Schema:
    return pa.schema([pa.field(name, type_, nullable=null) for name, type_, null in fields])


_S, _I64, _U32, _U8, _F64, _BOOL = pa.string(), pa.int64(), pa.uint32(), pa.uint8(), pa.float64(), pa.bool_()
_STRINGS, _MAP = pa.list_(pa.string()), pa.map_(pa.string(), pa.string())

SPAN: Final = _schema(
    # identity
    ("tenant", _S, False),
    ("trace_id", _S, False),  # 32 lower-case hex digits
    ("span_id", _S, False),  # 16 lower-case hex digits
    ("parent_span_id", _S, False),  # "" for a root
    ("name", _S, False),
    ("kind", _S, False),  # see SPAN_KINDS
    ("otel_kind", _S, False),  # internal, server, client, producer, consumer, unspecified
    ("convention", _S, False),  # the convention that decided `kind`, "" if none did
    ("service", _S, False),
    ("service_version", _S, False),
    ("environment", _S, False),
    ("scope_name", _S, False),
    ("scope_version", _S, False),
    ("start_time", _TIME, False),
    ("duration_ns", _I64, False),
    ("received_time", _TIME, False),
    # what the sender said and what Dimwatch concludes
    ("reported_status", _S, False),  # unset, ok, error
    ("effective_status", _S, False),  # ok, error, unknown (there was nothing to judge by)
    ("effective_reason", _S, False),  # the rule that made it an error, "" otherwise
    ("status_message", _S, False),
    ("error_type", _S, False),
    ("http_status", pa.uint16(), True),
    # who
    ("agent", _S, False),
    ("workflow", _S, False),
    ("conversation_id", _S, False),
    ("user_id", _S, False),
    # model calls
    ("provider", _S, False),
    ("request_model", _S, False),
    ("response_model", _S, False),
    ("response_id", _S, False),
    ("system_fingerprint", _S, False),
    (
        "finish_reason",
        _S,
        False,
    ),  # stop, length, tool_call, content_filter, malformed_tool_call, error, unknown, ""
    ("input_tokens", _I64, True),  # includes cached
    ("output_tokens", _I64, True),  # includes reasoning
    ("cache_read_tokens", _I64, True),
    ("cache_write_tokens", _I64, True),
    ("reasoning_tokens", _I64, True),
    ("time_to_first_token_ns", _I64, True),
    ("cost_usd", _F64, True),
    ("counted", _BOOL, False),  # this span's tokens, cost and model call count: false on wrappers and doubles
    ("retries", _U32, True),
    # tool calls
    ("tool", _S, False),
    ("tool_call_id", _S, False),
    ("tool_arguments", _S, True),
    ("tool_result", _S, True),
    # content
    ("system_instructions", _S, True),
    ("input_messages", _S, True),
    ("output_messages", _S, True),
    ("tool_definitions", _S, True),
    # the rest
    ("links", _STRINGS, False),  # trace ids
    ("dropped_attributes", _U32, False),
    ("attributes", _MAP, False),  # what no convention claimed
    ("resource_attributes", _MAP, False),
    ("version", _I64, False),  # the row with the highest version is the one people see
)

SPAN_KINDS: Final = (
    "llm", "tool", "agent", "workflow", "chain", "retriever", "embedding", "reranker", "guardrail",
    "evaluator", "memory", "mcp", "setup", "http", "other",
)  # fmt: skip

TRACE: Final = _schema(
    ("tenant", _S, False),
    ("trace_id", _S, False),
    (
        "run_id",
        _S,
        False,
    ),  # traces of one run share it: the conversation, the first linked trace, or the trace id
    ("name", _S, False),
    ("service", _S, False),
    ("service_version", _S, False),
    ("environment", _S, False),
    ("agent", _S, False),
    ("workflow", _S, False),
    ("conversation_id", _S, False),
    ("user_id", _S, False),
    ("start_time", _TIME, False),
    ("duration_ns", _I64, False),
    ("reported_status", _S, False),  # unset, ok, error
    ("effective_status", _S, False),  # ok, error, unknown
    ("outcome", _S, False),  # ok, degraded (finished, but on bad ground), rescued, failed, incomplete
    ("complete", _BOOL, False),
    ("spans", _U32, False),
    ("steps", _U32, False),  # model calls
    ("tool_calls", _U32, False),
    ("failed_tool_calls", _U32, False),  # effective
    ("providers", _STRINGS, False),
    ("models", _STRINGS, False),
    ("input_tokens", _I64, False),
    ("output_tokens", _I64, False),
    ("reasoning_tokens", _I64, False),
    ("cost_usd", _F64, True),  # null when a model call has no known price
    ("model_ns", _I64, False),
    ("tool_ns", _I64, False),
    ("waiting_ns", _I64, False),
    ("rules", _STRINGS, False),  # rules with at least one observation
    ("version", _I64, False),
)

OBSERVATION: Final = _schema(
    ("id", _S, False),  # hash of rule, trace and span: the same fact is the same row
    ("rule", _S, False),
    ("severity", _S, False),  # info, warning, critical
    ("confidence", _F64, False),  # 0..1
    ("tenant", _S, False),
    ("trace_id", _S, False),
    ("span_id", _S, False),
    ("time", _TIME, False),
    ("service", _S, False),
    ("service_version", _S, False),
    ("agent", _S, False),
    ("provider", _S, False),
    ("model", _S, False),
    ("tool", _S, False),
    ("summary", _S, False),
    ("evidence", _S, False),  # a JSON object
    ("version", _I64, False),
)

DROP: Final = _schema(
    ("id", _S, False),
    ("time", _TIME, False),
    ("tenant", _S, False),
    ("stage", _S, False),  # receiver, decode, assembly, sink
    ("signal", _S, False),  # spans, logs, metrics, attributes
    ("reason", _S, False),
    ("count", _I64, False),
    ("version", _I64, False),
)

POINT: Final = _schema(
    # One signal of one series in one window, as far as one batch of traces knows it: points of the same key add up.
    ("tenant", _S, False),
    ("time", _TIME, False),  # start of the window, a multiple of POINT_WIDTH_NS
    ("subject", _S, False),  # model (a model call), tool (a tool call), run (a trace)
    ("agent", _S, False),  # the service where no agent is named
    ("provider", _S, False),
    ("model", _S, False),  # as asked for; the answered one where nothing was asked
    ("tool", _S, False),
    ("release", _S, False),
    ("region", _S, False),
    ("signal", _S, False),  # see detectors.windows.signals
    ("n", _F64, False),  # trials, measurements or events
    ("total", _F64, False),  # how many trials were hits, or the sum of the natural logarithms of the measurements
    ("squares", _F64, False),  # the sum of the squares of those logarithms; 0 for hits
    # log buckets of the measurements, ascending (see windows.histogram); of run_traffic the users (see windows.users)
    ("bucket", pa.list_(pa.int16()), False),
    ("bucket_count", pa.list_(_U32), False),
)
POINT_WIDTH_NS: Final = 10_000_000_000

WINDOW: Final = _schema(
    # A closed window: the sum of its points. The same key is the same row, whoever writes it again.
    *((field.name, field.type, field.nullable) for field in POINT),
    ("width_s", _U32, False),  # 10, 60 or 3600
)
WINDOW_WIDTHS_S: Final = (10, 60, 3600)

SIGHTING: Final = _schema(
    # Something that an agent runs on was seen: the change ledger is made of these.
    ("tenant", _S, False),
    ("agent", _S, False),
    ("attribute", _S, False),  # answered_model, fingerprint, prompt, tools, release, instrumentation
    ("key", _S, False),  # what has this attribute: the model asked for, the scope's name, "" for the agent itself
    ("value", _S, False),  # the value, or its hash where it is long
    ("time", _TIME, False),  # start of the window
    ("n", _F64, False),  # how often
)

CHANGE: Final = _schema(
    ("id", _S, False),
    ("tenant", _S, False),
    ("agent", _S, False),
    ("attribute", _S, False),
    ("key", _S, False),
    ("before", _S, False),
    ("after", _S, False),
    ("time", _TIME, False),  # first seen
    ("status", _S, False),  # appeared, took_over, rolled_back, vanished, returned
    ("share_before", _F64, False),  # of `before` in the sightings before
    ("share_after", _F64, False),  # of `after` since then
    ("effects", _S, False),  # a JSON list: signal, before, after, interval
    ("version", _I64, False),
)

INCIDENT: Final = _schema(
    ("id", _S, False),
    ("tenant", _S, False),
    ("kind", _S, False),
    ("severity", _S, False),  # ticket, warning, critical
    ("status", _S, False),  # open, acknowledged, silenced, resolved, false
    ("provider", _S, False),
    ("model", _S, False),
    ("agent", _S, False),
    ("tool", _S, False),
    ("release", _S, False),
    ("region", _S, False),
    ("opened_at", _TIME, False),
    ("started_at", _TIME, False),
    ("resolved_at", _TIME, True),
    ("signals", _S, False),  # a JSON list of what was measured: signal, observed, expected, evidence, since, recent
    ("causes", _S, False),  # a JSON list, likeliest first
    ("runs", _F64, False),  # blast radius so far
    ("cost_usd", _F64, False),
    ("summary", _S, False),
    ("version", _I64, False),
)

ORDER: Final = _schema(
    # What somebody said of incidents, and what became of it.
    ("id", _S, False),
    ("tenant", _S, False),
    ("time", _TIME, False),  # when it was said
    ("action", _S, False),  # acknowledge, silence, end_silence, resolve, false, label
    ("incident", _S, False),  # "" where it is about a scope
    ("scope", _MAP, False),  # of a silence without an incident: tenant, kind, provider, model, agent, tool
    ("until", _TIME, True),  # of a silence
    ("silence", _S, False),  # the order whose silence ends
    ("labels", _MAP, False),
    ("by", _S, False),
    ("note", _S, False),
    ("outcome", _S, False),  # obeyed, over, unknown_incident, unknown_silence, too_many_silences
    ("version", _I64, False),
)

CANARY: Final = _schema(
    ("tenant", _S, False),
    ("trace_id", _S, False),
    ("sent_time", _TIME, False),
    ("received_time", _TIME, False),
    ("version", _I64, False),
)

SHADOW_ALERT: Final = _schema(
    # What a detector in shadow would have paged.
    ("id", _S, False),
    ("plugin", _S, False),
    *((name, _S, False) for name in ("tenant", "agent", "provider", "model", "tool", "release", "region")),
    ("signal", _S, False),  # or all signals that a detector takes together, with commas between
    ("since", _TIME, False),  # estimated onset
    ("opened_at", _TIME, False),
    ("until", _TIME, True),
    ("p_value", _F64, False),  # the lowest
    ("evidence", _F64, False),  # nats, the most so far
    ("threshold", _F64, False),
    ("version", _I64, False),
)

DELIVERY: Final = _schema(
    # One attempt to tell one target something about incidents, or why none was made.
    ("id", _S, False),
    ("tenant", _S, False),
    ("time", _TIME, False),  # when it began
    ("route", _S, False),  # "" for heartbeats
    ("target", _S, False),
    ("target_type", _S, False),
    ("event", _S, False),  # trigger, update, repeat, escalate, acknowledge, silence, resolve, heartbeat
    ("incidents", _STRINGS, False),  # ids
    ("idempotency_key", _S, False),  # the same for all attempts of one message
    ("attempt", _U32, False),  # from 1; 0 where none was made
    ("state", _S, False),  # sending, delivered, retrying, given_up, superseded, skipped
    ("status", pa.uint16(), True),  # HTTP or SMTP status of the answer
    ("duration_ns", _I64, True),
    ("error", _S, False),  # secrets masked
    ("next_attempt_at", _TIME, True),
    ("version", _I64, False),
)

SCHEMAS: Final = {
    SPANS: SPAN,
    TRACES: TRACE,
    OBSERVATIONS: OBSERVATION,
    DROPS: DROP,
    WINDOWS: WINDOW,
    WINDOW_SIGHTINGS: SIGHTING,
    CHANGES: CHANGE,
    INCIDENTS: INCIDENT,
    ORDERS: ORDER,
    SHADOW_ALERTS: SHADOW_ALERT,
    DELIVERIES: DELIVERY,
    CANARIES: CANARY,
}
"""The topics that end in a table, and what their records hold."""

# Threads cost more than they do here: columns of one record are small.
IPC_OPTIONS: Final = pa.ipc.IpcWriteOptions(compression=pa.Codec("lz4"), use_threads=False)
_READ_OPTIONS: Final = pa.ipc.IpcReadOptions(use_threads=False)


def encode(table: pa.Table | pa.RecordBatch) -> bytes:
    """Serialise rows as one Arrow IPC stream, lz4-compressed."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=IPC_OPTIONS) as writer:
        writer.write(table)
    encoded: bytes = sink.getvalue().to_pybytes()
    return encoded


def decode(value: bytes) -> pa.Table:
    """Read what `encode` wrote. Raises InvalidError for bytes that are not an Arrow stream."""
    try:
        with pa.ipc.open_stream(value, options=_READ_OPTIONS) as reader:
            return reader.read_all()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise InvalidError(f"not an Arrow IPC stream: {error}") from error


def table_from_rows(schema: pa.Schema, rows: Iterable[dict[str, object]]) -> pa.Table:
    """Build a table of `schema` from dicts: for the few rows of observations and drops, never for spans."""
    return pa.Table.from_pylist(list(rows), schema=schema)
