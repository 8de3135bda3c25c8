"""Which parts of a request are let in. Nothing is left out silently: every rejection and cut is counted.

Spans with unusable ids or times are rejected (partial success); what is too long or too many is cut; a time
that can be understood is repaired. A request that is as it should be passes through unchanged, byte for byte.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import xxhash
from google.protobuf.message import DecodeError

from dimwatch.clock import NS_PER_SECOND
from dimwatch.errors import InvalidError
from dimwatch.settings import Receiver
from ingest.otlp.outline import PIECE_BYTES, AttributeCut, Outline, outline, pieces
from ingest.otlp.refusals import TooLargeError
from ingest.otlp.signals import LOGS, METRICS, TRACES, Signal
from ingest.redaction import Redactor

EARLIEST_NS: Final = 946_684_800 * NS_PER_SECOND
"""2000-01-01: nothing traced an agent before."""
LATEST_NS: Final = 4_102_444_800 * NS_PER_SECOND
"""2100-01-01, for when the present is not known (replays)."""
FUTURE_NS: Final = 24 * 3600 * NS_PER_SECOND
"""How far a sender's clock may be ahead."""

ATTRIBUTES: Final = "attributes"
TIMESTAMPS: Final = "timestamps"

_NO_TRACE: Final = bytes(16)
_NO_SPAN: Final = bytes(8)

Reason = tuple[str, str]
"""What was dropped (spans, logs, metrics, attributes; timestamps are repaired) and why."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of what is let in. Sizes in bytes, times in ns since the epoch."""

    max_items: int
    max_attributes: int
    max_value: int
    earliest_ns: int = EARLIEST_NS
    latest_ns: int = LATEST_NS

    @classmethod
    def of(cls, receiver: Receiver, now_ns: int | None = None) -> Limits:
        """The limits that are set; times are held against `now_ns` if the present is known."""
        latest = LATEST_NS if now_ns is None else now_ns + FUTURE_NS
        return cls(receiver.max_spans, receiver.max_attributes, int(receiver.max_attribute_value), latest_ns=latest)


@dataclass(slots=True)
class Piece:
    """A request, or a part of one, as it will be stored."""

    body: bytes
    key: bytes
    """Trace id of the first item in hexadecimal, empty if there is none."""
    partition: int | None = None
    outline: Outline | None = None
    """Of `body`, where it is known."""


@dataclass(slots=True)
class Admitted:
    """What is left of a request. `first_ns` and `last_ns` are event times, 0 without any."""

    pieces: list[Piece] = field(default_factory=list)
    items: int = 0
    rejected: int = 0
    dropped: Counter[Reason] = field(default_factory=Counter)
    first_ns: int = 0
    last_ns: int = 0
    digest: xxhash.xxh3_128 = field(default_factory=xxhash.xxh3_128)
    """Of the request as it came, known when something was dropped."""

    def explanation(self) -> str:
        """One sentence for the sender; empty when nothing was touched."""
        parts = [f"{count} {what}: {reason.replace('_', ' ')}" for (what, reason), count in self.dropped.items()]
        return "; ".join(parts)

    def saw(self, time_ns: int) -> None:
        """Widen the range of event times."""
        if time_ns:
            self.first_ns = min(self.first_ns or time_ns, time_ns)
            self.last_ns = max(self.last_ns, time_ns)


def admit(body: bytes, signal: Signal, limits: Limits, redactor: Redactor | None = None) -> Admitted:
    """Check and mask a protobuf request. Raises InvalidError if it is malformed, TooLargeError if too much."""
    sketch = outline(body, limits.max_items, signal.item)
    admitted = Admitted()
    largest = sketch.largest
    if len(body) <= PIECE_BYTES:
        parts: Iterable[tuple[bytes, Outline | None]] = [(body, sketch)]
    else:
        cut = _attribute_cut(signal, limits, admitted)
        parts = ((part, None) for part in pieces(body, signal.shape, cut))
    for part, found in parts:
        if redactor is not None:
            part = redactor.redact(part, signal.shape, None if found is None else found.items).body
        _admit_piece(part, found, signal, limits, largest, admitted)
        if admitted.items > limits.max_items:  # data points, which the outline does not see
            raise TooLargeError(f"more than {limits.max_items} {signal.item}s in one request (receiver.max_spans)")
    if admitted.dropped:
        admitted.digest.update(body)
    return admitted


def outline_if_sound(body: bytes, signal: Signal, limits: Limits) -> Outline | None:
    """The outline of a request of spans or log records that would be let in as it is; None for any other."""
    try:
        sketch = outline(body, limits.max_items, signal.item)
        request = signal.parse(body)
    except (InvalidError, DecodeError):
        return None
    return sketch if _is_sound(request, sketch, signal, limits, sketch.largest, Admitted()) else None


def _attribute_cut(signal: Signal, limits: Limits, admitted: Admitted) -> AttributeCut | None:
    fields = {TRACES: (9, 10), LOGS: (6, 7)}.get(signal)
    if fields is None:
        return None

    def on_cut(count: int) -> None:
        admitted.dropped[ATTRIBUTES, "too_many"] += count

    return AttributeCut(*fields, limits.max_attributes, on_cut)


def _admit_piece(
    body: bytes, sketch: Outline | None, signal: Signal, limits: Limits, largest: int, admitted: Admitted
) -> None:
    try:
        request = signal.parse(body)
    except DecodeError as error:
        raise InvalidError(f"malformed protobuf: not an {signal.request.__name__}, or nested too deeply") from error
    if signal is METRICS:
        points = sum(map(len, _data_points(request)))
        if points:
            admitted.items += points
            admitted.pieces.append(Piece(body, b""))
        return
    before = admitted.items
    if not _is_sound(request, sketch, signal, limits, largest, admitted):
        admitted.items = before
        if _repair(request, signal, limits, admitted):
            body, sketch = request.SerializeToString(), None
    if admitted.items > before:
        admitted.pieces.append(Piece(body, _first_trace_id(request, signal), outline=sketch))


def _is_sound(
    request: Any, sketch: Outline | None, signal: Signal, limits: Limits, largest: int, admitted: Admitted
) -> bool:
    """Whether nothing has to be left out, cut or repaired."""
    check = _check_spans if signal is TRACES else _check_logs
    # An item that is smaller than the longest value holds none that is longer. Events and links are worth a look
    # only in large items: where there is room for so many attributes of ordinary size.
    events_too = largest > 16 * limits.max_attributes
    return largest <= limits.max_value and check(request, limits, sketch, events_too, admitted)


def _check_spans(request: Any, limits: Limits, sketch: Outline | None, events_too: bool, admitted: Admitted) -> bool:
    """Whether all spans are as they should be. Column by column, which is faster than span by span."""
    most = limits.max_attributes
    spans: list[Any] = []
    for resource in request.resource_spans:
        if len(resource.resource.attributes) > most:
            return False
        for scope in resource.scope_spans:
            spans += scope.spans
    if not spans:
        return True
    starts = [span.start_time_unix_nano for span in spans]
    ends = [span.end_time_unix_nano for span in spans]
    traces = {span.trace_id for span in spans}
    ids = [span.span_id for span in spans]
    first, last = min(starts), max(ends)
    sound = (
        limits.earliest_ns <= first
        and last <= limits.latest_ns
        and all(map(operator.le, starts, ends))
        and set(map(len, traces)) == {16}
        and _NO_TRACE not in traces
        and set(map(len, ids)) == {8}
        and _NO_SPAN not in ids
        and {len(span.parent_span_id) for span in spans} <= {0, 8}
        and not _over(_roomy(spans, sketch, most), most)
        and not (events_too and any(_over(span.events, most) or _over(span.links, most) for span in spans))
    )
    if sound:
        admitted.items += len(spans)
        admitted.saw(first)
        admitted.saw(last)
    return sound


def _roomy(spans: Sequence[Any], sketch: Outline | None, most: int) -> Sequence[Any]:
    """Those with room for more than `most` attributes, each of which takes two bytes at least."""
    if sketch is None or len(sketch.items) != len(spans):
        return spans
    sizes = map(operator.sub, sketch.items.ends, sketch.items.payloads)
    return [span for span, size in zip(spans, sizes, strict=True) if size > 2 * most]


def _over(owners: Any, most: int) -> bool:
    for owner in owners:  # noqa: SIM110 - a generator would cost more than all else here
        if len(owner.attributes) > most:
            return True
    return False


def _check_logs(request: Any, limits: Limits, _sketch: Outline | None, _events: bool, admitted: Admitted) -> bool:
    low, high = limits.earliest_ns, limits.latest_ns
    items = 0
    for resource in request.resource_logs:
        if len(resource.resource.attributes) > limits.max_attributes:
            return False
        for scope in resource.scope_logs:
            for record in scope.log_records:
                time_ns = record.time_unix_nano or record.observed_time_unix_nano
                if (
                    not low <= time_ns <= high
                    or len(record.trace_id) not in (0, 16)
                    or len(record.span_id) not in (0, 8)
                    or len(record.attributes) > limits.max_attributes
                ):
                    return False
                admitted.saw(time_ns)
                items += 1
    admitted.items += items
    return True


def _repair(request: Any, signal: Signal, limits: Limits, admitted: Admitted) -> bool:
    """Reject, cut and repair item by item; return whether anything changed."""
    changed = False
    before = admitted.dropped.total()
    traces = signal is TRACES
    for resource in request.resource_spans if traces else request.resource_logs:
        changed |= _cut_attributes(resource.resource, limits, admitted)
        for scope in resource.scope_spans if traces else resource.scope_logs:
            changed |= _cut_attributes(scope.scope, limits, admitted)
            items = scope.spans if traces else scope.log_records
            kept = []
            for item in items:
                reason = _repair_span(item, limits, admitted) if traces else _repair_log(item, limits, admitted)
                if reason is None:
                    kept.append(item)
                else:
                    admitted.dropped[signal.name, reason] += 1
            if len(kept) < len(items):
                admitted.rejected += len(items) - len(kept)
                survivors = type(scope)()
                (survivors.spans if traces else survivors.log_records).extend(kept)
                scope.ClearField("spans" if traces else "log_records")
                scope.MergeFrom(survivors)
            admitted.items += len(kept)
    return changed or admitted.dropped.total() > before


def _repair_span(span: Any, limits: Limits, admitted: Admitted) -> str | None:
    """Mend what can be mended; return why the span can not be kept, if so."""
    if len(span.trace_id) != 16 or span.trace_id == _NO_TRACE:
        return "invalid_trace_id"
    if len(span.span_id) != 8 or span.span_id == _NO_SPAN:
        return "invalid_span_id"
    if len(span.parent_span_id) not in (0, 8):
        return "invalid_parent_span_id"
    start, end = span.start_time_unix_nano, span.end_time_unix_nano
    start_ok = limits.earliest_ns <= start <= limits.latest_ns
    end_ok = limits.earliest_ns <= end <= limits.latest_ns
    if not start_ok and not end_ok:
        return "invalid_time"
    if not start_ok:
        span.start_time_unix_nano = end
        admitted.dropped[TIMESTAMPS, "invalid_start_time"] += 1
    elif not end_ok:
        span.end_time_unix_nano = start
        if end:
            admitted.dropped[TIMESTAMPS, "invalid_end_time"] += 1
        else:
            admitted.dropped[TIMESTAMPS, "missing_end_time"] += 1
    elif end < start:
        span.end_time_unix_nano = start
        admitted.dropped[TIMESTAMPS, "end_before_start"] += 1
    _cut_attributes(span, limits, admitted)
    for event in span.events:
        _cut_attributes(event, limits, admitted)
        event.name = _cut_text(event.name, limits, admitted)
    for link in span.links:
        _cut_attributes(link, limits, admitted)
    if len(span.name) > limits.max_value // 4:
        span.name = _cut_text(span.name, limits, admitted)
    if len(span.status.message) > limits.max_value // 4:
        span.status.message = _cut_text(span.status.message, limits, admitted)
    admitted.saw(span.start_time_unix_nano)
    admitted.saw(span.end_time_unix_nano)
    return None


def _repair_log(record: Any, limits: Limits, admitted: Admitted) -> str | None:
    if len(record.trace_id) not in (0, 16):
        return "invalid_trace_id"
    if len(record.span_id) not in (0, 8):
        return "invalid_span_id"
    time_ns, observed = record.time_unix_nano, record.observed_time_unix_nano
    if not limits.earliest_ns <= time_ns <= limits.latest_ns:
        if limits.earliest_ns <= observed <= limits.latest_ns:
            record.time_unix_nano = 0  # the observed time stands in
            if time_ns:
                admitted.dropped[TIMESTAMPS, "invalid_time"] += 1
        else:
            return "invalid_time"
    _cut_attributes(record, limits, admitted)
    _cut_value(record.body, limits, admitted)
    admitted.saw(record.time_unix_nano or observed)
    return None


def _cut_attributes(owner: Any, limits: Limits, admitted: Admitted) -> bool:
    """Cut the attributes of a resource, scope, span, event, link or log record; return whether any was."""
    before = admitted.dropped.total()
    surplus = len(owner.attributes) - limits.max_attributes
    if surplus > 0:
        del owner.attributes[limits.max_attributes :]
        owner.dropped_attributes_count = min(owner.dropped_attributes_count + surplus, (1 << 32) - 1)
        admitted.dropped[ATTRIBUTES, "too_many"] += surplus
    for pair in owner.attributes:
        if len(pair.key) > limits.max_value // 4:
            pair.key = _cut_text(pair.key, limits, admitted)
        _cut_value(pair.value, limits, admitted)
    return admitted.dropped.total() > before


def _cut_value(value: Any, limits: Limits, admitted: Admitted) -> None:
    kind = value.WhichOneof("value")
    if kind == "string_value":
        if len(value.string_value) > limits.max_value // 4:
            value.string_value = _cut_text(value.string_value, limits, admitted)
    elif kind == "bytes_value":
        if len(value.bytes_value) > limits.max_value:
            value.bytes_value = value.bytes_value[: limits.max_value]
            admitted.dropped[ATTRIBUTES, "too_long"] += 1
    elif kind == "array_value":
        for element in value.array_value.values:
            _cut_value(element, limits, admitted)
    elif kind == "kvlist_value":
        for pair in value.kvlist_value.values:
            _cut_value(pair.value, limits, admitted)


def _cut_text(text: str, limits: Limits, admitted: Admitted) -> str:
    encoded = text.encode()
    if len(encoded) <= limits.max_value:
        return text
    admitted.dropped[ATTRIBUTES, "too_long"] += 1
    return encoded[: limits.max_value].decode(errors="ignore")


def _data_points(request: Any) -> Any:
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                if kind is not None:
                    yield getattr(metric, kind).data_points


def _first_trace_id(request: Any, signal: Signal) -> bytes:
    traces = signal is TRACES
    for resource in request.resource_spans if traces else request.resource_logs:
        for scope in resource.scope_spans if traces else resource.scope_logs:
            for item in scope.spans if traces else scope.log_records:
                return bytes(item.trace_id.hex(), "ascii")
    return b""
