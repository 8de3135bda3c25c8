"""Topics of records between the stages: the seam is `dimwatch.eventlog.base`."""

from __future__ import annotations

from dimwatch.eventlog.base import EventLog
from dimwatch.eventlog.sqlite import SqliteEventLog
from dimwatch.settings import Settings


def open_eventlog(settings: Settings) -> EventLog:
    """The eventlog that `settings` ask for. Raises PermanentError if its file can not be used."""
    if settings.eventlog.backend == "kafka":
        from dimwatch.eventlog.kafka import KafkaEventLog  # 0.3 s that embedded commands need not wait for

        return KafkaEventLog(settings.eventlog.kafka)
    return SqliteEventLog(settings.eventlog_path, max_bytes=settings.eventlog.max_bytes)
