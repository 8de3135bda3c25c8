"""OTLP trace requests to canonical span columns, whatever convention wrote them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dimwatch import vocabulary
from dimwatch.clock import NS_PER_SECOND
from dimwatch.errors import InvalidError
from dimwatch.eventlog.base import Record
from dimwatch.records import SPAN
from ingest.fallback import Fallback
from ingest.fields import (
    FieldReader,
    Mask,
    Numbers,
    attribute_map,
    first_of,
    json_strings,
    only,
    sources,
    valid,
    whole_numbers,
)
from ingest.kinds import KIND_CODE, Codes, Names, kinds_of
from ingest.message_events import messages_of_span_events
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


_NO_SPANS: Final = SPAN.empty_table()

_Raw = TypeVar("_Raw")


@dataclass(slots=True)
class Request:
    """One OTLP export request as it lay in the eventlog."""

    body: bytes
    received_ns: int
    tenant: str = ""
    origin: Record | None = None
    """The record, for who has to put it aside."""


@dataclass(slots=True)
class Normalized:
    """Canonical spans, and what could not become one, by reason."""

    spans: pa.Table
    request: npt.NDArray[np.int64]
    """By span: the number of its request among those that were given, ascending."""
    dropped: Counter[tuple[int, str]] = field(default_factory=Counter)
    """Spans, by the number of their request and the reason."""
    malformed: list[tuple[Request, str]] = field(default_factory=list)


def empty_spans() -> pa.Table:
    """A span table without rows."""
    return _NO_SPANS


def normalize_spans(requests: Sequence[Request]) -> Normalized:
    """Decode and canonicalise trace export requests.

    A request that does not parse is returned in `malformed`, whole; a span whose ids or times make no sense is
    counted in `dropped`.
    """
    raw, good, malformed = decoded(requests, decode_spans)
    if not len(raw):
        return Normalized(empty_spans(), np.empty(0, dtype=np.int64), malformed=malformed)
    bad = {id(request) for request, _ in malformed}
    numbers = np.array([number for number, one in enumerate(requests) if id(one) not in bad], dtype=np.int64)
    request = numbers[raw.request]
    table = _Canonical(raw, good).table()
    valid, dropped = _valid(raw, request)
    if valid.all():
        return Normalized(table, request, dropped, malformed)
    return Normalized(table.filter(pa.array(valid)), request[valid], dropped, malformed)


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


def _valid(raw: RawSpans, request: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.bool_], Counter[tuple[int, str]]]:
    ids = _lengths(raw.trace_id, 16) & _lengths(raw.span_id, 8)
    times = (raw.start_ns > 0) & (raw.start_ns <= _MAX_NS) & (raw.end_ns <= _MAX_NS)
    dropped: Counter[tuple[int, str]] = Counter()
    for reason, wrong in (("invalid_id", ~ids), ("invalid_time", ids & ~times)):
        dropped.update((number, reason) for number in request[wrong].tolist())
    return ids & times, dropped


def _lengths(ids: pa.Array, length: int) -> npt.NDArray[np.bool_]:
    right: npt.NDArray[np.bool_] = pc.equal(pc.binary_length(ids), length).to_numpy(zero_copy_only=False)
    return right


class _Canonical:
    """Builds the canonical columns of one batch of raw spans."""

    def __init__(self, raw: RawSpans, requests: Sequence[Request]) -> None:
        self._raw = raw
        self._requests = requests
        self._count = len(raw)
        self._names = Names(raw.name)
        self._reader = FieldReader(self._count, raw.attributes, raw.event_attributes.owned_by(raw.event_span))
        self._fallback = Fallback(self._reader, self._count)
        self._resources = FieldReader(raw.resources, raw.resource_attributes)
        self._start = raw.start_ns.astype(np.int64)
        self._end = np.maximum(raw.end_ns.astype(np.int64), self._start)

    def table(self) -> pa.Table:
        raw, count = self._raw, self._count
        kind_codes, kinds, conventions = kinds_of(self._reader, self._names, self._fallback.names)
        texts = self._read_texts(kind_codes)
        numbers = self._read_numbers(kind_codes)
        received = np.array([request.received_ns for request in self._requests], dtype=np.int64)[raw.request]
        columns: dict[str, object] = {
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
        arrays = [_cast(columns[column.name], column, count) for column in SPAN]
        return pa.Table.from_arrays(arrays, schema=SPAN)

    def _read_texts(self, kinds: Codes) -> dict[str, pa.Array | None]:
        raw, reader = self._raw, self._reader
        found: dict[str, pa.Array | None] = {column: reader.find(names) for column, names in sources().texts.items()}
        for attribute, paths in sources().json_texts.items():
            for column, values in reader.from_json(attribute, paths).items():
                found[column] = first_of(found[column], values)
        self._fallback.fill(found, kinds)
        resource = pa.array(raw.resource)
        for column, names in _SERVICE.items():
            of_resource = self._resources.find(names)
            found[column] = first_of(None if of_resource is None else of_resource.take(resource), found.get(column))

        tool_like, is_agent = np.isin(kinds, _TOOL_LIKE), kinds == KIND_CODE["agent"]
        own, inputs, outputs = ~tool_like, found.pop("input"), found.pop("output")
        found["tool_arguments"] = first_of(found["tool_arguments"], only(inputs, tool_like))
        results = first_of(found["tool_result"], found.pop("documents"), outputs)
        found["tool_result"] = first_of(only(results, tool_like), only(found["tool_result"], own))
        found["input_messages"] = first_of(
            found["input_messages"],
            messages_of_span_events(raw, outputs=False),
            only(first_of(inputs, found.pop("all_messages")), own),
        )
        found["output_messages"] = first_of(
            found["output_messages"],
            _answer(found.pop("output_text"), found.pop("output_calls")),
            messages_of_span_events(raw, outputs=True),
            only(outputs, own),
        )
        for column in ("input_messages", "output_messages"):
            # LangSmith and others keep a tool's payload under the names of messages.
            target = "tool_arguments" if column == "input_messages" else "tool_result"
            found[target] = first_of(found[target], only(found[column], tool_like))
            found[column] = only(found[column], own)
        found["tool_definitions"] = first_of(found["tool_definitions"], only(found.pop("tool_schema"), tool_like))
        model_like = np.isin(kinds, _MODEL_LIKE)
        choose_answers(found, outputs, model_like, valid(reader.find(_ANSWERING_MODEL)))
        found["request_model"] = asked_model(found["request_model"], found["response_model"], inputs, model_like)
        found["tool_definitions"] = offered_tools(found["tool_definitions"], inputs, model_like)
        found["tool_result"] = without_opaque(found["tool_result"])
        self._name_by_span(found, tool_like, is_agent)

        error_type, message = self._exceptions()
        found["error_type"] = first_of(found["error_type"], error_type)
        said = only(raw.status_message, pc.not_equal(raw.status_message, "").to_numpy(zero_copy_only=False))
        found["status_message"] = first_of(said, found.get("status_message"), message)

        for column in ("request_model", "response_model"):
            found[column] = vocabulary.translate(self._full(only(found[column], own)), vocabulary.model)
        found["finish_reason"] = vocabulary.translate(self._full(found["finish_reason"]), vocabulary.finish_reason)
        found["provider"] = self._providers(found, model_like)
        found["resource_attributes"] = self._resource_maps()
        return found

    def _full(self, column: pa.Array | None) -> pa.Array:
        return pa.nulls(self._count, pa.string()) if column is None else column

    def _name_by_span(self, found: dict[str, pa.Array | None], tool_like: Mask, is_agent: Mask) -> None:
        """Name tools and agents that nothing else names by their span."""
        found["tool"] = only(found["tool"], tool_like)
        nameless_tools, nameless_agents = tool_like & ~valid(found["tool"]), is_agent & ~valid(found["agent"])
        if not (nameless_tools | nameless_agents).any():
            return
        bare = pc.replace_substring_regex(self._names.distinct, _NAME_PREFIX, "")
        names = self._names.replaced(pc.replace_substring_regex(bare, _NAME_SUFFIX, ""))
        found["tool"] = first_of(found["tool"], only(names, nameless_tools))
        found["agent"] = first_of(found["agent"], only(names, nameless_agents))

    def _providers(self, found: Mapping[str, pa.Array | None], model_like: Mask) -> pa.Array:
        named = vocabulary.translate(self._full(found["provider"]), vocabulary.provider)
        unnamed = model_like & pc.equal(named, "").to_numpy(zero_copy_only=False)
        if not unnamed.any():
            return named
        answered, asked = found["response_model"], found["request_model"]
        models = pc.if_else(pc.equal(answered, ""), asked, answered)
        guessed = vocabulary.translate(models, vocabulary.provider_of_model)
        return pc.if_else(pa.array(unnamed), guessed, named)

    def _read_numbers(self, kinds: Codes) -> dict[str, Numbers]:
        """Doubles, NaN where nothing is said."""
        reader, known = self._reader, sources()
        found = {column: reader.number(names) for column, names in known.numbers.items()}
        for attribute, paths in known.json_numbers.items():
            for column, values in reader.from_json(attribute, paths).items():
                numeric = pc.if_else(pc.match_substring_regex(values, r"^-?\d+(\.\d+)?$"), values, None)
                numbers = pc.cast(numeric, pa.float64()).to_numpy(zero_copy_only=False)
                found[column] = np.where(np.isnan(found[column]), numbers, found[column])
        found = {column: self._fallback.number(column, values, kinds) for column, values in found.items()}
        for column, units in known.durations.items():
            found[column] = reader.scaled(units)
        found["time_to_first_token_ns"] = self._first_token(found["time_to_first_token_ns"])
        for values in found.values():
            # A negative or endless count is nobody's word for anything.
            with np.errstate(invalid="ignore"):
                values[~((values >= 0.0) & np.isfinite(values))] = np.nan
        return found

    def _first_token(self, first: Numbers) -> Numbers:
        """By span: nanoseconds until the first token, by duration, by time, or by event."""
        duration = (self._end - self._start).astype(np.float64)
        # Some write milliseconds where seconds are meant: no token comes later than the whole answer.
        fits = (first > duration) & (first / 1000.0 <= duration)
        first = np.where(fits, first / 1000.0, first)
        for names in sources().times.values():
            texts = self._reader.find(names)
            if texts is not None:
                first = np.where(np.isnan(first), self._since_start(texts), first)
        return np.where(np.isnan(first), self._first_token_event(), first)

    def _since_start(self, texts: pa.Array) -> Numbers:
        clean = pc.replace_substring(texts, '"', "")
        parts = pc.extract_regex(clean, _RFC3339)
        seconds = pc.strptime(pc.struct_field(parts, "second"), "%Y-%m-%dT%H:%M:%S", unit="s", error_is_null=True)
        digits = pc.utf8_rpad(pc.struct_field(parts, "fraction"), 9, "0")
        at = pc.add(
            pc.multiply(pc.cast(seconds, pa.int64()), NS_PER_SECOND),
            pc.cast(digits, pa.int64()),
        )
        since: Numbers = pc.cast(pc.subtract(at, pa.array(self._start)), pa.float64()).to_numpy(zero_copy_only=False)
        return since

    def _first_token_event(self) -> Numbers:
        raw = self._raw
        first = np.full(self._count, np.inf)
        if len(raw.event_span):
            names = pa.array(sorted(sources().first_token_events))
            rows = pc.is_in(raw.event_name, names).to_numpy(zero_copy_only=False)
            since = raw.event_time_ns[rows].astype(np.float64) - self._start[raw.event_span[rows]]
            np.minimum.at(first, raw.event_span[rows], since)
        return np.where(np.isfinite(first), first, np.nan)

    def _exceptions(self) -> tuple[pa.Array | None, pa.Array | None]:
        """Type and message of the last exception event of each span."""
        raw = self._raw
        if not len(raw.event_span):
            return None, None
        is_exception = pc.equal(raw.event_name, "exception").to_numpy(zero_copy_only=False)
        if not is_exception.any():
            return None, None
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
        maps = attribute_map(raw.resources, raw.resource_attributes, lambda key: key not in named)
        return maps.take(pa.array(raw.resource))


def _answer(text: pa.Array | None, calls: pa.Array | None) -> pa.Array | None:
    """An assistant message from its text and its tool calls (JSON), null where there is neither."""
    if text is None and calls is None:
        return None
    content = "null" if text is None else pc.fill_null(json_strings(text), "null")
    called = "null" if calls is None else pc.fill_null(calls, "null")
    body = pc.binary_join_element_wise('[{"role":"assistant","content":', content, ',"tool_calls":', called, "}]", "")
    return pc.if_else(pa.array(valid(text) | valid(calls)), body, None)


def _cast(values: object, column: pa.Field, count: int) -> pa.Array:
    """Fit `values` to the column: type, and "" instead of null where the column has no null."""
    if values is None:
        return pa.nulls(count, column.type) if column.nullable else pa.repeat("", count)
    if isinstance(values, np.ndarray) and values.dtype == np.float64:
        if pa.types.is_integer(column.type):
            return whole_numbers(values, column.type)
        return pa.array(values, mask=np.isnan(values))
    array = values if isinstance(values, pa.Array) else pa.array(values)
    if array.type != column.type:
        array = pc.cast(array, column.type)
    if not column.nullable and array.null_count:
        array = pc.fill_null(array, "")
    return array
