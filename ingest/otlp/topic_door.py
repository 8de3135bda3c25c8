"""The other door: what an OpenTelemetry Collector has put into the topics of OTLP, past our receiver.

It is bounded and masked here, by the same code as at the receiver, before anything is made of it. What is in the topic
itself is as the Collector got it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from dimwatch import records
from dimwatch.errors import InvalidError
from dimwatch.eventlog.base import Record
from dimwatch.settings import Settings
from ingest.normalize import Request
from ingest.otlp.admission import Limits, Reason, admit
from ingest.otlp.refusals import TooLargeError
from ingest.otlp.signals import LOGS, TRACES
from ingest.redaction import Redactor

_SIGNALS: Final = {signal.topic: signal for signal in (TRACES, LOGS)}
_REQUESTS: Final = "requests"


class TopicDoor:
    """Lets records in. Those of our receiver, which bear its mark, were admitted there and pass as they are."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._redactor: Redactor | None = None
        self.dropped: Counter[Reason] = Counter()
        """What was refused, cut or repaired, by reason, until somebody clears it."""

    def requests(self, record: Record) -> Iterator[Request]:
        """What is to be made of a record. One that is no OTLP goes on as it is, and is found malformed there."""
        if records.HEADER_ADMITTED in record.headers:
            tenant = record.headers.get(records.HEADER_TENANT, "")
            yield Request(record.value, record.timestamp_ns, tenant, record)
            return
        if self._redactor is None and self._settings.redaction.enabled:
            self._redactor = Redactor()
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
