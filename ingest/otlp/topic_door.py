"""The other door: what an OpenTelemetry Collector has put into the topics of OTLP, past our receiver.

It is bounded and masked here, by the same code as at the receiver, before anything is made of it. What is in the topic
itself is as the Collector got it.

A Collector writes a message a trace, and to look at one has its price. So neighbours are looked at together, as one
request, and masks are as long as what they cover: where nothing has to be changed but by them, each is cut out again.
Else each is looked at by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final

from dimwatch import records
from dimwatch.errors import InvalidError
from dimwatch.eventlog.base import Record
from dimwatch.settings import Settings
from ingest.normalize import Request
from ingest.otlp.admission import Limits, Reason, admit, outline_if_sound
from ingest.otlp.framing import read_varint
from ingest.otlp.outline import PIECE_BYTES
from ingest.otlp.refusals import TooLargeError
from ingest.otlp.signals import LOGS, TRACES
from ingest.redaction import Redactor

_SIGNALS: Final = {signal.topic: signal for signal in (TRACES, LOGS)}
_REQUESTS: Final = "requests"
_TOGETHER: Final = 16
"""Records that are looked at together: more save little more, and where one is not as it should be, all are looked at
again."""
_RESOURCE: Final = 0x0A
"""The tag of what a request is a list of."""


class TopicDoor:
    """Lets records in. Those of our receiver, which bear its mark, were admitted there and pass as they are."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._redactor: Redactor | None = None
        self.dropped: Counter[Reason] = Counter()
        """What was refused, cut or repaired, by reason, until somebody clears it."""

    def requests(self, of_topic: Iterable[Record]) -> Iterator[Request]:
        """What is to be made of records of one topic, in their order.

        A record that is no OTLP goes on as it is, and is found malformed there.
        """
        for ours, run in groupby(of_topic, _is_ours):
            if ours:
                for record in run:
                    tenant = record.headers.get(records.HEADER_TENANT, "")
                    yield Request(record.value, record.timestamp_ns, tenant, record)
                continue
            if self._redactor is None and self._settings.redaction.enabled:
                self._redactor = Redactor()
            for group in _groups(run):
                yield from self._together(group) or self._one_by_one(group)

    def _together(self, group: Sequence[Record]) -> list[Request]:
        """The requests of neighbours; none if they can not be looked at together."""
        if len(group) == 1 or not all(_is_list(record.value) for record in group):
            return []
        body = b"".join(record.value for record in group)
        signal = _SIGNALS[group[0].topic]
        limits = Limits.of(self._settings.receiver, min(record.timestamp_ns for record in group))
        sketch = outline_if_sound(body, signal, limits)
        if sketch is None:
            return []
        masked = body
        if self._redactor is not None:
            try:
                masked = self._redactor.redact(body, signal.shape, sketch.items).body
            except InvalidError:
                return []
        found: list[Request] = []
        at = 0
        for record in group:
            end = at + len(record.value)
            value = record.value if masked is body else masked[at:end]
            found.append(Request(value, record.timestamp_ns, "", record))
            at = end
        return found

    def _one_by_one(self, group: Sequence[Record]) -> Iterator[Request]:
        for record in group:
            try:
                # By the record's own time: read again after a crash, it is cut in the same way.
                limits = Limits.of(self._settings.receiver, record.timestamp_ns)
                admitted = admit(record.value, _SIGNALS[record.topic], limits, self._redactor)
            except TooLargeError:
                self.dropped[_REQUESTS, "too_large"] += 1
            except InvalidError:
                yield Request(record.value, record.timestamp_ns, "", record)
            else:
                self.dropped.update(admitted.dropped)
                for piece in admitted.pieces:
                    yield Request(piece.body, record.timestamp_ns, "", record)


def _is_ours(record: Record) -> bool:
    return records.HEADER_ADMITTED in record.headers


def _groups(run: Iterable[Record]) -> Iterator[list[Record]]:
    """Neighbours that are not too many and not too large together; one may be so alone."""
    group: list[Record] = []
    size = 0
    for record in run:
        size += len(record.value)
        if group and (len(group) == _TOGETHER or size > PIECE_BYTES):
            yield group
            group, size = [], len(record.value)
        group.append(record)
    if group:
        yield group


def _is_list(value: bytes) -> bool:
    """Whether a request is a list of resources and nothing else. Others can change what is read behind them."""
    at = 0
    while at < len(value):
        if value[at] != _RESOURCE:
            return False
        try:
            size, at = read_varint(value, at + 1, len(value))
        except InvalidError:
            return False
        at += size
    return at == len(value)
