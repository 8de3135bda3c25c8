"""Topics of records between the stages: the seam is `dimwatch.eventlog.base`."""

from __future__ import annotations

from dimwatch.eventlog.base import EventLog
from dimwatch.eventlog.sqlite import SqliteEventLog
from dimwatch.settings import Settings


def open_eventlog(settings: Settings) -> EventLog:
    """The eventlog that `settings` ask for. Raises PermanentError if its file can not be used."""
    return SqliteEventLog(settings.eventlog_path, max_bytes=settings.eventlog.max_bytes)
