"""A member of a consumer group of the SQLite eventlog."""

from __future__ import annotations

import contextlib
import heapq
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from dimwatch.errors import InvalidError, PermanentError, RetryableError
from dimwatch.eventlog import sqlite_tables as tables
from dimwatch.eventlog.base import Batch, Lag, Offsets, Record, TopicPartition
from dimwatch.eventlog.rows import CorruptRow, Row, decode, encode_batch
from dimwatch.eventlog.writer import Writer, error_code, explain

_WAKE_S: Final = 0.02
"""How long an append of another process can go unseen; a look without news costs some microseconds."""


class _Item(NamedTuple):
    """A record on its way out of the scan; None where it was corrupt."""

    timestamp_ns: int
    topic: str
    offset: int
    record: Record | None


class SqliteConsumer:
    """A member of a group. The newest member owns the group's topics: an older one may not commit any more.

    With `group` None it is a reader of its own: it starts at the oldest records and commits nothing.
    """

    def __init__(
        self,
        path: Path,
        writer: Writer,
        group: str | None,
        topics: Sequence[str],
        *,
        corrupt: Callable[[TopicPartition, int], None],
        closed: Callable[[SqliteConsumer], None],
    ) -> None:
        self._corrupt = corrupt
        self._closed = closed
        self._writer = writer
        self._group = group
        self._topics = list(dict.fromkeys(topics))
        self._positions: dict[str, int] = {}
        self._member = secrets.randbits(62)
        self._joined = False
        self._seen_version: int | None = None  # of the database, when there was nothing left to read
        self._lock = threading.Lock()  # only so that close() waits for a poll in another thread
        self._connection: sqlite3.Connection | None = tables.connect(path)

    def assignment(self) -> frozenset[TopicPartition]:
        """What this member reads now."""
        return frozenset(map(TopicPartition, self._topics)) if self._joined else frozenset()

    def drained(self) -> frozenset[TopicPartition]:
        """The topics of which everything was read; none before the first poll."""
        with self._lock:
            connection = self._open()
            try:
                if self._seen_version == tables.data_version(connection):
                    return self.assignment()
                found = {name: tables.find_topic(connection, name) for name in self._positions}
            except sqlite3.Error as error:
                raise explain(error) from error
        read = (name for name, topic in found.items() if topic is None or self._positions[name] >= topic.next_offset)
        return self.assignment() & frozenset(map(TopicPartition, read))

    def poll(self, *, max_records: int, max_bytes: int, timeout_s: float) -> list[Record]:
        """Return the next records; see `dimwatch.eventlog.base.Consumer.poll`."""
        deadline = time.monotonic() + timeout_s
        if not self._joined:
            self._join()
        while True:
            with self._lock:
                records = self._read_new(max_records, max_bytes)
            remaining = deadline - time.monotonic()
            if records or remaining <= 0:
                return records
            time.sleep(min(_WAKE_S, remaining))

    def commit(self, offsets: Offsets, outputs: Batch | None = None) -> None:
        """Commit `offsets` and append `outputs` in one transaction."""
        with self._lock:
            self._open()
        group = self._group
        if group is None:
            raise PermanentError("a reader is in no group and commits nothing")
        next_offsets = self._by_topic(offsets)
        encoded, size = encode_batch(outputs or {})

        def work(connection: sqlite3.Connection) -> int:
            for topic in self._topics if self._joined else ():
                if tables.newest_member(connection, group, topic) != self._member:
                    raise PermanentError(f"another consumer of group {group} has taken over {topic}: stop this one")
            for topic, offset in next_offsets.items():
                tables.commit(connection, group, topic, offset)
            tables.append(connection, encoded)
            return 0

        self._writer.submit(work, size_bytes=size, urgent=True)

    def committed(self) -> Offsets:
        """The group's committed offsets."""
        with self._lock:
            connection = self._open()
            found = {topic: self._committed(connection, topic) for topic in self._topics}
        return {TopicPartition(topic): offset for topic, offset in found.items() if offset is not None}

    def _committed(self, connection: sqlite3.Connection, topic: str) -> int | None:
        return None if self._group is None else tables.committed(connection, self._group, topic)

    def seek(self, offsets: Offsets) -> None:
        """Read on from `offsets`."""
        self._positions.update(self._by_topic(offsets))
        self._seen_version = None

    def lag(self) -> Mapping[TopicPartition, Lag]:
        """How far the committed offsets are behind, by topic."""
        with self._lock:
            connection = self._open()
            try:
                with _snapshot(connection):
                    return {TopicPartition(name): self._lag(connection, name) for name in self._topics}
            except sqlite3.Error as error:
                raise explain(error) from error

    def behind(self) -> Mapping[TopicPartition, int]:
        """The records of lag()."""
        return {partition: lag.records for partition, lag in self.lag().items()}

    def ends(self) -> Offsets:
        """The offset after the newest record, by topic."""
        with self._lock:
            connection = self._open()
            try:
                with _snapshot(connection):
                    found = {name: tables.find_topic(connection, name) for name in self._topics}
            except sqlite3.Error as error:
                raise explain(error) from error
        return {TopicPartition(name): 0 if topic is None else topic.next_offset for name, topic in found.items()}

    def _lag(self, connection: sqlite3.Connection, name: str) -> Lag:
        topic = tables.find_topic(connection, name)
        first = tables.oldest(connection, topic.id) if topic else None
        if topic is None or first is None:
            return Lag(0, 0.0)
        start = max(first, self._committed(connection, name) or 0)
        return Lag(max(0, topic.next_offset - start), tables.time_between(connection, topic.id, start))

    def close(self) -> None:
        """Leave the group. Idempotent."""
        with self._lock:
            if self._connection is None:
                return
            self._connection.close()
            self._connection = None
        if self._joined and self._group is not None:
            self._leave(self._group)
        self._closed(self)

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise PermanentError("the eventlog or its consumer is closed")
        return self._connection

    def _by_topic(self, offsets: Offsets) -> dict[str, int]:
        for topic, partition in offsets:
            if topic not in self._topics or partition != 0:
                raise InvalidError(f"{topic}/{partition} is not read by this consumer of group {self._group}")
        return {partition.topic: offset for partition, offset in offsets.items()}

    def _join(self) -> None:
        committed = dict.fromkeys(self._topics, 0)
        if self._group is not None:
            self._join_group(self._group, committed)
        self._joined = True
        self._positions = committed | self._positions  # a seek goes before

    def _join_group(self, group: str, committed: dict[str, int]) -> None:
        def work(connection: sqlite3.Connection) -> int:
            for topic in self._topics:
                tables.join(connection, group, topic, self._member)
                committed[topic] = tables.committed(connection, group, topic) or 0
            return 0

        self._writer.submit(work, urgent=True)

    def _leave(self, group: str) -> None:
        def work(connection: sqlite3.Connection) -> int:
            tables.leave(connection, group, self._member)
            return 0

        # What stays behind on an error only holds records back until somebody joins again.
        with contextlib.suppress(RetryableError):
            self._writer.submit(work, urgent=True)

    def _read_new(self, max_records: int, max_bytes: int) -> list[Record]:
        connection = self._open()
        try:
            version = tables.data_version(connection)
            if version == self._seen_version:
                return []
            # One snapshot for all topics, so that records that were appended together come together.
            with _snapshot(connection):
                records, passed = self._read(connection, max_records, max_bytes)
        except sqlite3.Error as error:
            raise explain(error) from error
        self._seen_version = None if passed else version
        return records

    def _read(self, connection: sqlite3.Connection, max_records: int, max_bytes: int) -> tuple[list[Record], int]:
        """Records within the bounds, and how many offsets were passed (corrupt ones too)."""
        records: list[Record] = []
        passed = size = 0
        scans = [self._scan(connection, topic, max_records) for topic in self._topics]
        for item in heapq.merge(*scans, key=lambda item: item.timestamp_ns):
            if item.record is None:
                self._corrupt(TopicPartition(item.topic), item.offset)
            else:
                size += len(item.record.value)
                if records and size > max_bytes:
                    break
                records.append(item.record)
            passed += 1
            self._positions[item.topic] = item.offset + 1
            if len(records) >= max_records:
                break
        for scan in scans:
            scan.close()
        return records, passed

    def _scan(self, connection: sqlite3.Connection, name: str, limit: int) -> Generator[_Item, None, None]:
        topic = tables.find_topic(connection, name)
        if topic is None:
            return
        start = self._positions[name]
        end = start + limit
        try:
            for offset, *columns in tables.scan(connection, topic.id, start, limit):
                yield _item(name, offset, Row(*columns))
                start = offset + 1
        except sqlite3.Error as error:
            if error_code(error) != sqlite3.SQLITE_CORRUPT:
                raise
            # A damaged page ends a scan. Its records are lost; those on other pages can be had one by one.
            for offset in range(start, min(max(end, start + 1), topic.next_offset)):
                yield _read_damaged(connection, topic.id, name, offset)


@contextlib.contextmanager
def _snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN")
    try:
        yield
    finally:
        # Nothing was written; and COMMIT fails after a read that met a damaged page.
        connection.execute("ROLLBACK")


def _item(topic: str, offset: int, row: Row) -> _Item:
    try:
        return _Item(row.timestamp_ns, topic, offset, decode(topic, offset, row))
    except CorruptRow:
        return _Item(0, topic, offset, None)


def _read_damaged(connection: sqlite3.Connection, topic_id: int, topic: str, offset: int) -> _Item:
    try:
        row = tables.read_one(connection, topic_id, offset)
    except sqlite3.Error as error:
        if error_code(error) != sqlite3.SQLITE_CORRUPT:
            raise
        row = None
    return _item(topic, offset, row) if row else _Item(0, topic, offset, None)
