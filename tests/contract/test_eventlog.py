"""Every eventlog keeps the same contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dimwatch.eventlog.base import Consumer, EventLog
from dimwatch.eventlog.memory import MemoryConsumer, MemoryEventLog
from dimwatch.eventlog.sqlite import SqliteEventLog
from dimwatch.eventlog.testing import SMALL_BYTES, EmbeddedEventLogContract
from dimwatch.eventlog.testing_shared import MANY, SharedEventLogContract


class TestSqlite(EmbeddedEventLogContract):
    @pytest.fixture
    def eventlog(self, tmp_path: Path) -> Iterator[EventLog]:
        log = SqliteEventLog(tmp_path / "eventlog" / "eventlog.sqlite", max_bytes=1024**3)
        yield log
        log.close()

    @pytest.fixture
    def small(self, tmp_path: Path) -> Iterator[EventLog]:
        log = SqliteEventLog(tmp_path / "small.sqlite", max_bytes=SMALL_BYTES)
        yield log
        log.close()

    @pytest.fixture
    def reopen(self, tmp_path: Path) -> Callable[[EventLog], EventLog]:
        def reopen(log: EventLog) -> EventLog:
            log.close()
            return SqliteEventLog(tmp_path / "eventlog" / "eventlog.sqlite", max_bytes=1024**3)

        return reopen


class TestMemory(EmbeddedEventLogContract):
    @pytest.fixture
    def eventlog(self) -> Iterator[EventLog]:
        log = MemoryEventLog()
        yield log
        log.close()

    @pytest.fixture
    def small(self) -> EventLog:
        return MemoryEventLog(max_bytes=SMALL_BYTES)

    @pytest.fixture
    def reopen(self) -> Callable[[EventLog], EventLog]:
        # Its records live as long as it does: a restart is a new consumer.
        return lambda log: log


def end_session(log: EventLog, consumer: Consumer) -> None:
    assert isinstance(log, MemoryEventLog)
    assert isinstance(consumer, MemoryConsumer)
    log.end_session(consumer)


class TestSharedMemory(SharedEventLogContract):
    @pytest.fixture
    def eventlog(self) -> Iterator[EventLog]:
        log = MemoryEventLog(partitions=MANY)
        yield log
        log.close()

    @pytest.fixture
    def shared(self, eventlog: EventLog) -> EventLog:
        return eventlog

    @pytest.fixture
    def lose(self) -> Callable[[EventLog, Consumer], None]:
        return end_session

    @pytest.fixture
    def reopen(self) -> Callable[[EventLog], EventLog]:
        return lambda log: log
