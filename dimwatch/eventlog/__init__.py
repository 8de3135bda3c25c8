"""Topics of records between the stages: the seam is `dimwatch.eventlog.base`."""

from __future__ import annotations

from typing import Final

from dimwatch.eventlog.base import EventLog
from dimwatch.eventlog.sqlite import SqliteEventLog
from dimwatch.settings import Settings

_SPOOL_AFTER_S: Final = 3.0


def open_eventlog(settings: Settings, *, spool: bool = False) -> EventLog:
    """The eventlog that `settings` ask for. Raises PermanentError if its file can not be used.

    With `spool`, appends that Kafka does not take within seconds go to a file under `data`, if the settings give it
    room: only one process may have that open.
    """
    if settings.eventlog.backend == "sqlite":
        return SqliteEventLog(settings.eventlog_path, max_bytes=settings.eventlog.max_bytes)
    # The client takes 0.3 s to import, which embedded commands need not wait for.
    from dimwatch.eventlog.kafka import KafkaEventLog
    from dimwatch.eventlog.spool import SpooledEventLog

    kafka = settings.eventlog.kafka
    if not spool or not kafka.spool:
        return KafkaEventLog(kafka)
    patience = min(_SPOOL_AFTER_S, kafka.delivery_timeout_s)
    log = KafkaEventLog(kafka.model_copy(update={"delivery_timeout_s": patience}))
    return SpooledEventLog(log, settings.data / "spool" / "spool.sqlite", max_bytes=int(kafka.spool))
