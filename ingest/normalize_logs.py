"""OTLP log requests to content rows: what log events say about a span, to be joined to it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from dimwatch import vocabulary
from dimwatch.records import SPAN
from ingest.fields import FieldReader, sources, whole_numbers
from ingest.message_events import INPUT_EVENTS, OUTPUT_EVENT, grouped, is_message_event
from ingest.normalize import Request, decoded
from ingest.otlp.attributes import Indices as Rows
from ingest.otlp.columns import RawLogs, decode_logs
from ingest.otlp.ids import hex_ids

_TEXTS: Final = (
    "provider", "request_model", "response_model", "response_id", "finish_reason", "conversation_id", "user_id",
    "agent", "workflow", "tool", "tool_call_id", "tool_arguments", "tool_result", "system_instructions",
    "input_messages", "output_messages", "tool_definitions", "error_type",
)  # fmt: skip
_NUMBERS: Final = (
    "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens",
)  # fmt: skip
_EXCEPTION_EVENT: Final = "gen_ai.client.operation.exception"
_WORDS: Final = {
    "provider": vocabulary.provider,
    "request_model": vocabulary.model,
    "response_model": vocabulary.model,
    "finish_reason": vocabulary.finish_reason,
}

_SIDES: Final = ("input_messages", "output_messages")
_DOCUMENTS: Final = frozenset({"input_messages", "output_messages", "tool_definitions"})

CONTENT: Final = pa.schema(
    [
        pa.field("trace_id", pa.string(), nullable=False),
        pa.field("span_id", pa.string(), nullable=False),
        pa.field("received_time", pa.timestamp("ns", tz="UTC"), nullable=False),
        *(pa.field(name, pa.string()) for name in _TEXTS),
        *(pa.field(name, pa.int64()) for name in _NUMBERS),
        pa.field("said_ns", pa.int64()),
        pa.field("place", pa.int64()),
    ]
)
"""Columns of a content row. Null: the event does not say. `said_ns` is the time of an event of one message; it is null
where an event holds all messages. `place` is its place in its request, which orders events of the same time."""


def normalize_logs(requests: Sequence[Request]) -> tuple[pa.Table, list[tuple[Request, str]]]:
    """Content rows of all log records that belong to a span, one an event; and malformed requests.

    Log records that are about something else are not Dimwatch's business and are passed over.
    """
    raw, good, malformed = decoded(requests, decode_logs)
    received = np.array([request.received_ns for request in good], dtype=np.int64)[raw.request]
    names = _event_names(raw)
    tables = [table for table in (_details(raw, names, received), _messages(raw, names, received)) if table.num_rows]
    return (pa.concat_tables(tables) if tables else CONTENT.empty_table()), malformed


def _event_names(raw: RawLogs) -> pa.Array:
    """The names of events: a field of the record, and before that an attribute."""
    named = pc.if_else(pc.equal(raw.event_name, ""), None, raw.event_name)
    return pc.fill_null(pc.coalesce(named, FieldReader(len(raw), raw.attributes).text(("event.name",))), "")


def _with_ids(raw: RawLogs) -> pa.Array:
    trace = pc.equal(pc.binary_length(raw.trace_id), 16)
    return pc.and_(trace, pc.equal(pc.binary_length(raw.span_id), 8))


def _table(raw: RawLogs, received: Rows, rows: pa.Array, columns: dict[str, pa.Array]) -> pa.Table:
    columns = {
        "received_time": pa.array(received).take(rows),
        "trace_id": hex_ids(raw.trace_id, 16).take(rows),
        "span_id": hex_ids(raw.span_id, 8).take(rows),
        **columns,
    }
    count = len(rows)
    arrays = [pc.cast(columns.get(field.name, pa.nulls(count)), field.type) for field in CONTENT]
    return pa.Table.from_arrays(arrays, schema=CONTENT)


def _details(raw: RawLogs, event_name: pa.Array, received: Rows) -> pa.Table:
    """Events that carry whole message lists as attributes, and exception events."""
    named = pc.or_(pc.starts_with(event_name, "gen_ai.client."), pc.starts_with(event_name, "gen_ai.evaluation."))
    rows = pa.array(np.flatnonzero(pc.and_(named, _with_ids(raw)).to_numpy(zero_copy_only=False)))
    if not len(rows):
        return CONTENT.empty_table()
    reader, known = FieldReader(len(raw), raw.attributes), sources()
    columns = {name: reader.text(known.texts[name]).take(rows) for name in _TEXTS}
    for name, word in _WORDS.items():
        translated = vocabulary.translate(columns[name], word)
        columns[name] = pc.if_else(pc.equal(translated, ""), None, translated)
    failed = pc.equal(event_name.take(rows), _EXCEPTION_EVENT)
    exception = reader.text(("exception.type",)).take(rows)
    columns["error_type"] = pc.if_else(failed, pc.coalesce(columns["error_type"], exception), None)
    for name in _NUMBERS:
        columns[name] = whole_numbers(reader.number(known.numbers[name]), pa.int64()).take(rows)
    return _table(raw, received, rows, columns)


def _messages(raw: RawLogs, event_name: pa.Array, received: Rows) -> pa.Table:
    """Events of one message each."""
    wanted = pc.and_(is_message_event(event_name), _with_ids(raw)).to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(wanted)
    if not len(rows):
        return CONTENT.empty_table()
    names = event_name.take(pa.array(rows)).to_pylist()
    bodies = [_body(text) for text in raw.body.text(rows).to_pylist()]
    _say_what_is_empty(bodies, names, raw.resource[rows].tolist())
    documents = grouped(len(rows), np.arange(len(rows)), names, bodies)
    is_input = pa.array([name in INPUT_EVENTS for name in names])
    reasons = [body.get("finish_reason") for body in bodies]
    columns = {
        "input_messages": pc.if_else(is_input, documents, None),
        "output_messages": pc.if_else(is_input, None, documents),
        "finish_reason": pa.array(
            [vocabulary.finish_reason(reason) if isinstance(reason, str) else None for reason in reasons], pa.string()
        ),
        "said_ns": pa.array(raw.time_ns[rows].astype(np.int64)),
        "place": pa.array(rows - np.searchsorted(raw.request, raw.request[rows])),
    }
    return _table(raw, received, pa.array(rows), columns)


def _say_what_is_empty(bodies: list[dict[str, object]], names: list[str], resources: list[int]) -> None:
    """An answer without content is empty where content is captured: where some message of the sender has it."""
    captured = {resource for resource, body in zip(resources, bodies, strict=True) if body.get("content")}
    for name, body, resource in zip(names, bodies, resources, strict=True):
        if name == OUTPUT_EVENT and resource in captured:
            message = body.get("message", body)
            if isinstance(message, dict) and not message.keys() & {"content", "tool_calls"}:
                message["content"] = ""


def _body(text: str | None) -> dict[str, object]:
    try:
        content = orjson.loads(text) if text else {}
    except orjson.JSONDecodeError:
        content = text
    return content if isinstance(content, dict) else {"content": content}


_NOT_NULL: Final = frozenset(field.name for field in SPAN if not field.nullable)


def join_content(spans: pa.Table, content: pa.Table, version: pa.Array) -> pa.Table:
    """Fill what `spans` do not say themselves from `content` rows of the same trace and span.

    Rows that content belongs to get their `version`, by which later stages see that they say more than before."""
    if not content.num_rows or not spans.num_rows:
        return spans
    content = _collected(content)
    key_of_span = pc.binary_join_element_wise(spans["trace_id"], spans["span_id"], "")
    key_of_content = pc.binary_join_element_wise(content["trace_id"], content["span_id"], "")
    for name in (*_TEXTS, *_NUMBERS):
        said = content.filter(pc.is_valid(content[name]))
        if not said.num_rows:
            continue
        keys = key_of_content.filter(pc.is_valid(content[name])).combine_chunks()
        found = said[name].combine_chunks().take(pc.index_in(key_of_span.combine_chunks(), value_set=keys))
        own = spans[name]
        if name in _NOT_NULL:
            own = pc.if_else(pc.equal(own, ""), None, own)
            filled = pc.fill_null(pc.coalesce(own, found), "")
        else:
            # Of two versions of a document the longer one says more (some write definitions without their schemas).
            fuller = pc.greater(pc.binary_length(found), pc.binary_length(own)) if name in _DOCUMENTS else None
            filled = pc.coalesce(own, found)
            if fuller is not None:
                filled = pc.if_else(pc.fill_null(fuller, False), found, filled)
        spans = spans.set_column(spans.schema.get_field_index(name), SPAN.field(name), filled)
    enriched = pc.is_in(key_of_span, value_set=key_of_content.combine_chunks())
    versions = pc.if_else(enriched, version, spans["version"])
    return spans.set_column(spans.schema.get_field_index("version"), SPAN.field("version"), versions)


def _collected(content: pa.Table) -> pa.Table:
    """`content` with the events of one message each collected into lists, by span, in order of time. The same event
    counts once, however often it came."""
    single = pc.is_valid(content["said_ns"])
    if not pc.any(single).as_py():
        return content
    rows = (
        content.filter(single)
        .sort_by([(name, "ascending") for name in ("said_ns", "received_time", "place", *_SIDES)])
        .to_pylist()
    )
    lists: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    spans: dict[tuple[str, str], dict[str, object]] = {}
    seen: set[tuple[object, ...]] = set()
    for row in rows:
        key = row["trace_id"], row["span_id"]
        event = (*key, row["said_ns"], *(row[side] for side in _SIDES))
        if event in seen:
            continue
        seen.add(event)
        span = spans.setdefault(key, row)
        span["finish_reason"] = row["finish_reason"] or span["finish_reason"]
        for side in _SIDES:
            if row[side] is not None:
                lists[key][side].append(row[side][1:-1])
    for key, span in spans.items():
        span |= {side: "[" + ",".join(lists[key][side]) + "]" if lists[key][side] else None for side in _SIDES}
    collected = pa.Table.from_pylist(list(spans.values()), schema=CONTENT)
    return pa.concat_tables([collected, content.filter(pc.invert(single))])
