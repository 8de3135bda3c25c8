"""OTLP trace requests to canonical span columns, whatever convention wrote them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dimwatch import vocabulary
from dimwatch.clock import NS_PER_SECOND
from dimwatch.errors import InvalidError
from dimwatch.records import SPAN
from ingest.fallback import Fallback
from ingest.fields import FieldReader, attribute_map, json_strings, sources, whole_numbers
from ingest.kinds import KIND_CODE, Codes, kinds_of
from ingest.message_events import messages_of_span_events
from ingest.otlp.attributes import Attributes
from ingest.otlp.columns import RawSpans, decode_spans
from ingest.otlp.ids import hex_ids
from ingest.payloads import asked_model, choose_answers, offered_tools, without_opaque

_OTEL_KINDS: Final = pa.array(["unspecified", "internal", "server", "client", "producer", "consumer"])
_STATUSES: Final = pa.array(["unset", "ok", "error"])
_TOOL_LIKE: Final = tuple(KIND_CODE[kind] for kind in ("tool", "retriever", "reranker", "memory"))
_MODEL_LIKE: Final = tuple(KIND_CODE[kind] for kind in ("llm", "embedding"))
_NAME_PREFIX: Final = (
    r"(?i)^(execute_tool|running tool:|tools/call|(client_|mcp_)?tool[_ ]call:?|langchain4j\.tools\.|tool:|"
    r"tool\.|tool |invoke_agent|agent run|call_tool)\s*"
)
_NAME_SUFFIX: Final = r"\.tool$"
_SERVICE: Final = {
    "service": ("service.name",),
    "service_version": ("service.version",),
    "environment": ("deployment.environment.name", "deployment.environment"),
}
_ANSWERING_MODEL: Final = ("gen_ai.response.model", "llm.response.model_name", "ai.response.model")
_MAX_NS: Final = np.iinfo(np.int64).max
_RFC3339: Final = r"^(?P<second>(?:19[789]|20\d)\d-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(?P<fraction>\d{1,9}))?(?:Z|\+00:00)$"


_Raw = TypeVar("_Raw")


@dataclass(slots=True)
class Request:
    """One OTLP export request as it lay in the eventlog."""

    body: bytes
    received_ns: int
    tenant: str = ""


@dataclass(slots=True)
class Normalized:
    """Canonical spans, and what could not become one, by reason."""

    spans: pa.Table
    dropped: Counter[str] = field(default_factory=Counter)
    malformed: list[tuple[Request, str]] = field(default_factory=list)


def empty_spans() -> pa.Table:
    """A span table without rows."""
    return SPAN.empty_table()


def normalize_spans(requests: Sequence[Request]) -> Normalized:
    """Decode and canonicalise trace export requests.

    A request that does not parse is returned in `malformed`, whole; a span whose ids or times make no sense is
    counted in `dropped`.
    """
    raw, good, malformed = decoded(requests, decode_spans)
    if not len(raw):
        return Normalized(empty_spans(), malformed=malformed)
    table = _Canonical(raw, good).table()
    valid, dropped = _valid(raw)
    return Normalized(table if valid.all() else table.filter(pa.array(valid)), dropped, malformed)


def decoded(
    requests: Sequence[Request], decode: Callable[[Sequence[bytes]], _Raw]
) -> tuple[_Raw, list[Request], list[tuple[Request, str]]]:
    """Decode requests together; those that do not parse are left out and returned with the reason."""
    try:
        return decode([request.body for request in requests]), list(requests), []
    except InvalidError:
        good, malformed = [], []
        for request in requests:
            try:
                decode([request.body])
            except InvalidError as error:
                malformed.append((request, str(error)))
            else:
                good.append(request)
        return decode([request.body for request in good]), good, malformed


def _valid(raw: RawSpans) -> tuple[npt.NDArray[np.bool_], Counter[str]]:
    ids = _lengths(raw.trace_id, 16) & _lengths(raw.span_id, 8)
    times = (raw.start_ns > 0) & (raw.start_ns <= _MAX_NS) & (raw.end_ns <= _MAX_NS)
    dropped = Counter({"invalid_id": int((~ids).sum()), "invalid_time": int((ids & ~times).sum())})
    return ids & times, +dropped


def _lengths(ids: pa.Array, length: int) -> npt.NDArray[np.bool_]:
    right: npt.NDArray[np.bool_] = pc.equal(pc.binary_length(ids), length).to_numpy(zero_copy_only=False)
    return right


class _Canonical:
    """Builds the canonical columns of one batch of raw spans."""

    def __init__(self, raw: RawSpans, requests: Sequence[Request]) -> None:
        self._raw = raw
        self._requests = requests
        self._count = len(raw)
        events = raw.event_attributes
        on_spans = Attributes(
            raw.event_span[events.owner],
            events.key, events.string, events.boolean, events.integer, events.double,
            events.array, events.kvlist, events.bytes,
        )  # fmt: skip
        self._reader = FieldReader(self._count, raw.attributes, on_spans)
        self._fallback = Fallback(self._reader, self._count)
        self._resources = FieldReader(raw.resources, raw.resource_attributes)
        self._texts: dict[str, pa.Array] = {}
        self._start = raw.start_ns.astype(np.int64)
        self._end = np.maximum(raw.end_ns.astype(np.int64), self._start)

    def table(self) -> pa.Table:
        raw, count = self._raw, self._count
        kind_codes, kinds, conventions = kinds_of(self._reader, raw.name, self._fallback.names)
        texts = self._read_texts(kind_codes)
        numbers = self._read_numbers(kind_codes)
        received = np.array([request.received_ns for request in self._requests], dtype=np.int64)[raw.request]
        columns: dict[str, pa.Array] = {
            "tenant": pa.array([request.tenant for request in self._requests]).take(pa.array(raw.request)),
            "trace_id": hex_ids(raw.trace_id, 16),
            "span_id": hex_ids(raw.span_id, 8),
            "parent_span_id": hex_ids(raw.parent_span_id, 8),
            "name": raw.name,
            "kind": kinds,
            "otel_kind": _OTEL_KINDS.take(pa.array(np.clip(raw.otel_kind, 0, len(_OTEL_KINDS) - 1))),
            "convention": conventions,
            "scope_name": raw.scope_name.take(pa.array(raw.scope)),
            "scope_version": raw.scope_version.take(pa.array(raw.scope)),
            "start_time": self._start,
            "duration_ns": self._end - self._start,
            "received_time": received,
            "reported_status": self._reported_status(kind_codes),
            "effective_status": pa.repeat("unknown", count),
            "effective_reason": pa.repeat("", count),
            "counted": self._counted(kind_codes),
            "links": self._links(),
            "dropped_attributes": raw.dropped_attributes,
            "attributes": self._reader.unclaimed(),
            "version": received,
            **texts,
            **numbers,
        }
        arrays = [_cast(columns[column.name], column) for column in SPAN]
        return pa.Table.from_arrays(arrays, schema=SPAN)

    def _read_texts(self, kinds: Codes) -> dict[str, pa.Array]:
        raw, reader = self._raw, self._reader
        found = {column: reader.text(names) for column, names in sources().texts.items()}
        for attribute, paths in sources().json_texts.items():
            for column, values in reader.from_json(attribute, paths).items():
                found[column] = pc.coalesce(found[column], values)
        self._fallback.fill(found, kinds)
        resource = pa.array(raw.resource)
        for column, names in _SERVICE.items():
            of_resource = self._resources.text(names).take(resource)
            found[column] = pc.coalesce(of_resource, found[column]) if column in found else of_resource

        tool_like = pa.array(np.isin(kinds, _TOOL_LIKE))
        is_tool = pa.array(kinds == KIND_CODE["tool"])
        is_agent = pa.array(kinds == KIND_CODE["agent"])
        own, inputs, outputs = pc.invert(tool_like), found.pop("input"), found.pop("output")
        found["tool_arguments"] = pc.coalesce(found["tool_arguments"], pc.if_else(tool_like, inputs, None))
        results = pc.coalesce(found["tool_result"], found.pop("documents"), outputs)
        found["tool_result"] = pc.if_else(tool_like, results, found["tool_result"])
        found["input_messages"] = pc.coalesce(
            found["input_messages"],
            messages_of_span_events(raw, outputs=False),
            pc.if_else(own, pc.coalesce(inputs, found.pop("all_messages")), None),
        )
        found["output_messages"] = pc.coalesce(
            found["output_messages"],
            _answer(found.pop("output_text"), found.pop("output_calls")),
            messages_of_span_events(raw, outputs=True),
            pc.if_else(own, outputs, None),
        )
        for column in ("input_messages", "output_messages"):
            # LangSmith and others keep a tool's payload under the names of messages.
            target = "tool_arguments" if column == "input_messages" else "tool_result"
            found[target] = pc.coalesce(found[target], pc.if_else(tool_like, found[column], None))
            found[column] = pc.if_else(own, found[column], None)
        found["tool_definitions"] = pc.coalesce(
            found["tool_definitions"], pc.if_else(tool_like, found.pop("tool_schema"), None)
        )
        model_like = pa.array(np.isin(kinds, _MODEL_LIKE))
        choose_answers(found, outputs, model_like, pc.is_valid(reader.text(_ANSWERING_MODEL)))
        found["request_model"] = asked_model(found["request_model"], found["response_model"], inputs, model_like)
        found["tool_definitions"] = offered_tools(found["tool_definitions"], inputs, model_like)
        found["tool_result"] = without_opaque(found["tool_result"])
        bare = pc.replace_substring_regex(pc.replace_substring_regex(raw.name, _NAME_PREFIX, ""), _NAME_SUFFIX, "")
        found["tool"] = pc.coalesce(found["tool"], pc.if_else(tool_like, bare, None))
        found["tool"] = pc.if_else(pc.or_(tool_like, is_tool), found["tool"], None)
        found["agent"] = pc.coalesce(found["agent"], pc.if_else(is_agent, bare, None))

        error_type, message = self._exceptions()
        found["error_type"] = pc.coalesce(found["error_type"], error_type)
        said = pc.if_else(pc.equal(raw.status_message, ""), None, raw.status_message)
        found["status_message"] = pc.coalesce(said, found.get("status_message"), message)

        for column in ("request_model", "response_model"):
            found[column] = pc.if_else(tool_like, None, found[column])
        found["finish_reason"] = vocabulary.translate(found["finish_reason"], vocabulary.finish_reason)
        found["request_model"] = vocabulary.translate(found["request_model"], vocabulary.model)
        found["response_model"] = vocabulary.translate(found["response_model"], vocabulary.model)
        named = vocabulary.translate(found["provider"], vocabulary.provider)
        models = pc.if_else(pc.equal(found["response_model"], ""), found["request_model"], found["response_model"])
        guessed = vocabulary.translate(models, vocabulary.provider_of_model)
        found["provider"] = pc.if_else(pc.and_(model_like, pc.equal(named, "")), guessed, named)
        found["resource_attributes"] = self._resource_maps()
        return found

    def _read_numbers(self, kinds: Codes) -> dict[str, pa.Array]:
        reader, known = self._reader, sources()
        found = {column: reader.number(names) for column, names in known.numbers.items()}
        for attribute, paths in known.json_numbers.items():
            for column, values in reader.from_json(attribute, paths).items():
                numeric = pc.if_else(pc.match_substring_regex(values, r"^-?\d+(\.\d+)?$"), values, None)
                found[column] = pc.coalesce(found[column], pc.cast(numeric, pa.float64()))
        found = {column: self._fallback.number(column, values, kinds) for column, values in found.items()}
        for column, units in known.durations.items():
            found[column] = reader.duration_ns(units)
        duration = pa.array((self._end - self._start).astype(np.float64))
        first = found["time_to_first_token_ns"]
        # Some write milliseconds where seconds are meant: no token comes later than the whole answer.
        fits = pc.and_(pc.greater(first, duration), pc.less_equal(pc.divide(first, 1000.0), duration))
        first = pc.if_else(pc.fill_null(fits, False), pc.divide(first, 1000.0), first)
        for names in known.times.values():
            first = pc.coalesce(first, self._since_start(reader.text(names)))
        found["time_to_first_token_ns"] = pc.coalesce(first, self._first_token_event())
        for column, values in found.items():
            # A negative or endless count is nobody's word for anything.
            sensible = pc.and_(pc.greater_equal(values, 0.0), pc.is_finite(values))
            found[column] = pc.if_else(sensible, values, None)
        return found

    def _since_start(self, texts: pa.Array) -> pa.Array:
        if texts.null_count == len(texts):
            return pa.nulls(len(texts), pa.float64())
        clean = pc.replace_substring(texts, '"', "")
        parts = pc.extract_regex(clean, _RFC3339)
        seconds = pc.strptime(pc.struct_field(parts, "second"), "%Y-%m-%dT%H:%M:%S", unit="s", error_is_null=True)
        digits = pc.utf8_rpad(pc.struct_field(parts, "fraction"), 9, "0")
        at = pc.add(
            pc.multiply(pc.cast(seconds, pa.int64()), NS_PER_SECOND),
            pc.cast(digits, pa.int64()),
        )
        return pc.cast(pc.subtract(at, pa.array(self._start)), pa.float64())

    def _first_token_event(self) -> pa.Array:
        raw = self._raw
        first = np.full(self._count, np.inf)
        if len(raw.event_span):
            names = pa.array(sorted(sources().first_token_events))
            rows = pc.is_in(raw.event_name, names).to_numpy(zero_copy_only=False)
            since = raw.event_time_ns[rows].astype(np.float64) - self._start[raw.event_span[rows]]
            np.minimum.at(first, raw.event_span[rows], since)
        return pa.array(first, mask=~np.isfinite(first))

    def _exceptions(self) -> tuple[pa.Array, pa.Array]:
        """Type and message of the last exception event of each span."""
        raw = self._raw
        nothing = pa.nulls(self._count, pa.string())
        if not len(raw.event_span):
            return nothing, nothing
        is_exception = pc.equal(raw.event_name, "exception").to_numpy(zero_copy_only=False)
        if not is_exception.any():
            return nothing, nothing
        reader = FieldReader(len(raw.event_span), raw.event_attributes)
        pick = np.full(self._count, -1, dtype=np.int64)
        rows = np.flatnonzero(is_exception)
        pick[raw.event_span[rows]] = rows
        indices = pa.array(pick, mask=pick < 0)
        types = reader.text(("exception.type",)).take(indices)
        return types, reader.text(("exception.message",)).take(indices)

    def _reported_status(self, kinds: Codes) -> pa.Array:
        codes = np.clip(self._raw.status_code, 0, 2)
        codes[self._fallback.failed(kinds)] = 2
        for attribute, bad in sources().error_flags.items():
            owners, values = self._reader.values(attribute)
            if len(owners):
                flagged = pc.equal(pc.utf8_lower(values), bad).to_numpy(zero_copy_only=False).astype(bool)
                codes[owners[flagged]] = 2
        owners, values = self._reader.values("error.type")
        if len(owners):
            codes[owners[pc.greater(pc.utf8_length(values), 0).to_numpy(zero_copy_only=False).astype(bool)]] = 2
        return _STATUSES.take(pa.array(codes))

    def _counted(self, kinds: Codes) -> npt.NDArray[np.bool_]:
        """Model calls that are not a wrapper around another one, as far as can be told before the trace is whole."""
        raw, counted = self._raw, np.isin(kinds, _MODEL_LIKE)
        calls = pa.array(counted)
        wrapper = pc.and_(calls, pc.is_in(raw.span_id, raw.parent_span_id.filter(calls)))
        if pc.any(wrapper).as_py():
            own = pc.binary_join_element_wise(raw.trace_id, raw.span_id, b"")
            above = pc.binary_join_element_wise(raw.trace_id, raw.parent_span_id, b"")
            wrapper = pc.and_(wrapper, pc.is_in(own, above.filter(calls)))
        result: npt.NDArray[np.bool_] = counted & ~wrapper.to_numpy(zero_copy_only=False)
        return result

    def _links(self) -> pa.ListArray:
        raw = self._raw
        right = _lengths(raw.link_trace_id, 16)
        owners = raw.link_span[right]
        offsets = np.searchsorted(owners, np.arange(self._count + 1)).astype(np.int32)
        ids = hex_ids(raw.link_trace_id.filter(pa.array(right)), 16)
        return pa.ListArray.from_arrays(pa.array(offsets), ids)

    def _resource_maps(self) -> pa.Array:
        raw = self._raw
        named = {name for names in _SERVICE.values() for name in names}
        rows = [self._resources.rows_with(key)[1] for key in self._resources.names() if key not in named]
        maps = attribute_map(raw.resources, raw.resource_attributes, rows)
        return maps.take(pa.array(raw.resource))


def _answer(text: pa.Array, calls: pa.Array) -> pa.Array:
    """An assistant message from its text and its tool calls (JSON), null where there is neither."""
    if text.null_count == len(text) and calls.null_count == len(calls):
        return pa.nulls(len(text), pa.string())
    content = pc.fill_null(json_strings(text), "null")
    body = pc.binary_join_element_wise(
        '[{"role":"assistant","content":', content, ',"tool_calls":', pc.fill_null(calls, "null"), "}]", ""
    )
    return pc.if_else(pc.and_(pc.is_null(text), pc.is_null(calls)), None, body)


def _cast(values: object, column: pa.Field) -> pa.Array:
    """Fit `values` to the column: type, and "" instead of null where the column has no null."""
    array = values if isinstance(values, pa.Array) else pa.array(values)
    if array.type != column.type:
        if pa.types.is_floating(array.type) and pa.types.is_integer(column.type):
            array = whole_numbers(array, column.type)
        array = pc.cast(array, column.type)
    if not column.nullable and array.null_count:
        array = pc.fill_null(array, "")
    return array
