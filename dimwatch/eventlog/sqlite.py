"""The embedded eventlog: one SQLite file that several processes append to and read from at the same time.

WAL with synchronous=FULL: what was acknowledged survives a power cut, and a torn tail is dropped by SQLite.
Writes of one process share transactions (`dimwatch.eventlog.writer`); readers never block them.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import structlog

from dimwatch import telemetry
from dimwatch.errors import BackpressureError, InvalidError, PermanentError
from dimwatch.eventlog import sqlite_tables as tables
from dimwatch.eventlog.base import Batch, TopicPartition
from dimwatch.eventlog.reserve import RESERVE_BYTES, Reserve
from dimwatch.eventlog.rows import Encoded, encode_batch
from dimwatch.eventlog.sqlite_consumer import SqliteConsumer
from dimwatch.eventlog.writer import DiskFullError, Writer

_MIB: Final = 1024 * 1024

_log = structlog.get_logger(__name__)


class SqliteEventLog:
    """An eventlog in one file. The writer's thread starts with the first write; do not fork with it open.

    `max_bytes` bounds what appends may fill: a full log first gives up records that every group has committed,
    then refuses. Commits are never refused for size (a log that could not be drained would stay full for good),
    so it can grow past the bound by what the backlog turns into.

    `on_corrupt` is called with partition and offset of a record that could not be read back and was skipped.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int,
        lock_timeout_s: float = 5.0,
        max_queue_bytes: int = 64 * _MIB,
        on_corrupt: Callable[[TopicPartition, int], None] | None = None,
    ) -> None:
        self.path = path
        self.on_corrupt = on_corrupt
        self._max_bytes = max_bytes
        self._reserve = Reserve(path.with_name(path.name + "-reserve"))
        self._writer = Writer(
            lambda: tables.connect(path),
            self._reserve,
            lock_timeout_s=lock_timeout_s,
            max_queue_bytes=max_queue_bytes,
        )
        self._consumers: set[SqliteConsumer] = set()
        self._lock = threading.Lock()
        self._closed = False
        _make_folder(path.parent)
        tables.connect(path).close()  # a file that can not be used is found here
        self._reserve.restore()

    def append(self, batch: Batch) -> None:
        """Append all records of `batch`, atomically; returns when they are on the disk."""
        encoded, size = encode_batch(batch)
        if not encoded:
            return
        try:
            self._writer.submit(lambda connection: self._append(connection, encoded, size), size_bytes=size)
        except DiskFullError:
            if not self._writer.submit(lambda connection: self._give_up_read(connection, size), urgent=True):
                raise
            self._writer.submit(lambda connection: self._append(connection, encoded, size), size_bytes=size)

    def _append(self, connection: sqlite3.Connection, encoded: Encoded, size: int) -> int:
        if not self._reserve.restore() and not self._give_up_read(connection, size):
            raise DiskFullError(f"{self.path.parent} has less than {RESERVE_BYTES} bytes")
        fits = tables.remove_read(connection, lambda: tables.used_bytes(connection) + size <= self._max_bytes)
        if not fits:
            raise BackpressureError(
                f"the eventlog is full ({self._max_bytes} bytes): {_who_is_behind(connection)}; start what reads"
                " it, or raise eventlog.max_bytes",
                retry_after_s=5.0,
            )
        tables.append(connection, encoded)
        return 0

    def _give_up_read(self, connection: sqlite3.Connection, size: int) -> bool:
        """Remove what all groups have read until the file itself has room for `size` bytes and a reserve."""
        needed = RESERVE_BYTES + size
        return tables.remove_read(connection, lambda: tables.free_bytes(connection) >= needed)

    def consumer(self, group: str, topics: Sequence[str]) -> SqliteConsumer:
        """A consumer that joins the group at its first poll."""
        return self._consumer(group, topics)

    def reader(self, partitions: Sequence[TopicPartition]) -> SqliteConsumer:
        """A consumer of these partitions that is in no group."""
        if any(partition.partition for partition in partitions):
            raise InvalidError("the embedded eventlog has one partition (0) a topic")
        return self._consumer(None, [partition.topic for partition in partitions])

    def partitions(self, topic: str) -> int:
        """One."""
        return 1

    def _consumer(self, group: str | None, topics: Sequence[str]) -> SqliteConsumer:
        with self._lock:
            if self._closed:
                raise PermanentError("the eventlog is closed")
            consumer = SqliteConsumer(
                self.path, self._writer, group, topics, corrupt=self._corrupt, closed=self._forget
            )
            self._consumers.add(consumer)
            return consumer

    def trim(self, topic: str, *, keep_ns: int, keep_bytes: int, now_ns: int) -> int:
        """Remove the oldest records that are over `keep_ns` old or beyond `keep_bytes`; return how many."""

        def chunk(connection: sqlite3.Connection) -> int:
            return tables.remove_oldest(
                connection,
                topic,
                older_than_ns=now_ns - keep_ns,
                keep_bytes=keep_bytes,
                before=tables.read_by_all(connection, topic),
            )

        removed = 0
        while True:
            started = time.monotonic()
            count = self._writer.submit(chunk, urgent=True)
            removed += count
            if not count:
                return removed
            # Others get at least as much of the write lock as retention does.
            time.sleep(time.monotonic() - started)

    def _corrupt(self, partition: TopicPartition, offset: int) -> None:
        telemetry.DROPPED.labels(stage="eventlog", signal=partition.topic, reason="corrupt_record").inc()
        _log.error("corrupt record skipped", topic=partition.topic, offset=offset, file=str(self.path))
        if self.on_corrupt is not None:
            self.on_corrupt(partition, offset)

    def _forget(self, consumer: SqliteConsumer) -> None:
        with self._lock:
            self._consumers.discard(consumer)

    def close(self) -> None:
        """Finish queued writes, close all consumers and files. Idempotent."""
        with self._lock:
            self._closed = True
            consumers = list(self._consumers)
        for consumer in consumers:
            consumer.close()
        self._writer.close()


def _who_is_behind(connection: sqlite3.Connection) -> str:
    behind = tables.slowest(connection)
    if behind is None:
        return "no group reads it"
    group, topic, records = behind
    return f"group {group} is {records} records behind on {topic}"


def _make_folder(folder: Path) -> None:
    """Make the folder, readable by its owner only: it holds what people said to agents."""
    if folder.is_dir():
        return
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    parent = os.open(folder.parent, os.O_RDONLY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)
