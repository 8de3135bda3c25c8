"""An eventlog in this process's memory, under the same laws: for the replay of files, and for tests."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from dimwatch.errors import BackpressureError, InvalidError, PermanentError
from dimwatch.eventlog.base import Batch, Lag, NewRecord, Offsets, Record, TopicPartition

_RECORD_OVERHEAD_BYTES: Final = 64
_CLOSED: Final = "the eventlog is closed"


def _size(record: NewRecord | Record) -> int:
    return len(record.value) + len(record.key) + _RECORD_OVERHEAD_BYTES


class _Topic:
    """Records by offset, the oldest first; `first` is the offset of `records[0]`, or of the next one."""

    def __init__(self) -> None:
        self.first = 0
        self.records: list[Record] = []
        self.bytes = 0

    @property
    def next_offset(self) -> int:
        return self.first + len(self.records)

    def remove(self, count: int) -> int:
        """Remove the `count` oldest records; return their bytes."""
        freed = sum(_size(record) for record in self.records[:count])
        del self.records[:count]
        self.first += count
        self.bytes -= freed
        return freed

    def read_from(self, offset: int) -> Iterator[Record]:
        records = self.records
        return (records[index] for index in range(max(0, offset - self.first), len(records)))


class _State:
    """What the log and its consumers share, under one lock."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.closed = False
        self.topics: dict[str, _Topic] = {}
        self.bytes = 0
        self.committed: dict[tuple[str, str], int] = {}
        self.members: dict[tuple[str, str], MemoryConsumer] = {}
        """Who joined last, by group and topic: the only one that may commit."""

    def check_open(self) -> None:
        if self.closed:
            raise PermanentError(_CLOSED)

    def append(self, batch: Batch) -> None:
        for name, records in batch.items():
            if not records:
                continue
            topic = self.topics.setdefault(name, _Topic())
            for offset, new in enumerate(records, topic.next_offset):
                topic.records.append(Record(name, 0, offset, new.timestamp_ns, new.value, new.key, dict(new.headers)))
            added = sum(_size(record) for record in records)
            topic.bytes += added
            self.bytes += added
        self.changed.notify_all()

    def read_by_all(self, topic: str) -> int | None:
        """The lowest committed offset of the topic's groups, 0 if one never committed; None without groups."""
        groups = {group for group, name in (*self.committed, *self.members) if name == topic}
        return min((self.committed.get((group, topic), 0) for group in groups), default=None)

    def remove_read(self, excess: int) -> None:
        """Remove up to `excess` bytes that all groups have committed; the newest record of a topic stays."""
        for name, topic in sorted(self.topics.items(), key=lambda item: -item[1].bytes):
            before = min(self.read_by_all(name) or 0, topic.next_offset - 1)
            count = 0
            for record in topic.records:
                if excess <= 0 or record.offset >= before:
                    break
                excess -= _size(record)
                count += 1
            self.bytes -= topic.remove(count)


class MemoryEventLog:
    """Keeps records as they come, uncopied. A full log gives up what all groups have read, then refuses."""

    def __init__(self, *, max_bytes: int = 1024 * 1024 * 1024) -> None:
        self._max_bytes = max_bytes
        self._state = _State()

    def append(self, batch: Batch) -> None:
        """Append all records of `batch`, atomically."""
        state = self._state
        needed = sum(_size(record) for records in batch.values() for record in records)
        with state.changed:
            state.check_open()
            if state.bytes + needed > self._max_bytes:
                # Some more than needed, so that the lists are not moved for each append.
                state.remove_read(state.bytes + needed - self._max_bytes + self._max_bytes // 8)
            if state.bytes + needed > self._max_bytes:
                raise BackpressureError(
                    f"the eventlog is full ({self._max_bytes} bytes): records wait to be read",
                    retry_after_s=1.0,
                )
            state.append(batch)

    def consumer(self, group: str, topics: Sequence[str]) -> MemoryConsumer:
        """A consumer that joins the group at its first poll."""
        with self._state.changed:
            self._state.check_open()
        return MemoryConsumer(self._state, group, topics)

    def trim(self, topic: str, *, keep_ns: int, keep_bytes: int, now_ns: int) -> int:
        """Remove the oldest records that are over `keep_ns` old or beyond `keep_bytes`; return how many."""
        state = self._state
        with state.changed:
            state.check_open()
            found = state.topics.get(topic)
            if found is None:
                return 0
            read = state.read_by_all(topic)
            size = found.bytes
            count = 0
            for record in found.records:
                unread = read is not None and record.offset >= read
                too_old = record.timestamp_ns < now_ns - keep_ns and not unread
                if not too_old and size <= keep_bytes:
                    break
                size -= _size(record)
                count += 1
            state.bytes -= found.remove(count)
            return count

    def close(self) -> None:
        """Refuse what comes later and wake consumers that wait. Idempotent."""
        with self._state.changed:
            self._state.closed = True
            self._state.changed.notify_all()


class MemoryConsumer:
    """A member of a group. The newest member owns the group's topics: an older one may not commit any more."""

    def __init__(self, state: _State, group: str, topics: Sequence[str]) -> None:
        self._state = state
        self._group = group
        self._topics = list(dict.fromkeys(topics))
        self._positions: dict[str, int] = {}
        self._joined = False
        self._closed = False

    def poll(self, *, max_records: int, max_bytes: int, timeout_s: float) -> list[Record]:
        """Return the next records; see `dimwatch.eventlog.base.Consumer.poll`."""
        deadline = time.monotonic() + timeout_s
        with self._state.changed:
            while True:
                self._check_open()
                if not self._joined:
                    self._join()
                records = self._read(max_records, max_bytes)
                remaining = deadline - time.monotonic()
                if records or remaining <= 0:
                    return records
                self._state.changed.wait(remaining)

    def commit(self, offsets: Offsets, outputs: Batch | None = None) -> None:
        """Commit `offsets` and append `outputs` in one step."""
        next_offsets = self._by_topic(offsets)
        with self._state.changed:
            self._check_open()
            for topic in self._topics if self._joined else ():
                if self._state.members.get((self._group, topic)) is not self:
                    raise PermanentError(
                        f"another consumer of group {self._group} has taken over {topic}: this one must stop"
                    )
            for topic, offset in next_offsets.items():
                self._state.committed[self._group, topic] = offset
            self._state.append(outputs or {})

    def committed(self) -> Offsets:
        """The group's committed offsets."""
        with self._state.changed:
            self._check_open()
            found = {topic: self._state.committed.get((self._group, topic)) for topic in self._topics}
        return {TopicPartition(topic): offset for topic, offset in found.items() if offset is not None}

    def seek(self, offsets: Offsets) -> None:
        """Read on from `offsets`."""
        self._positions.update(self._by_topic(offsets))

    def lag(self) -> Mapping[TopicPartition, Lag]:
        """How far the committed offsets are behind, by topic."""
        with self._state.changed:
            self._check_open()
            return {TopicPartition(topic): self._lag(topic) for topic in self._topics}

    def _lag(self, name: str) -> Lag:
        topic = self._state.topics.get(name)
        if topic is None or not topic.records:
            return Lag(0, 0.0)
        start = max(topic.first, self._state.committed.get((self._group, name), 0))
        if start >= topic.next_offset:
            return Lag(0, 0.0)
        age_ns = topic.records[-1].timestamp_ns - topic.records[start - topic.first].timestamp_ns
        return Lag(topic.next_offset - start, max(0, age_ns) / 1e9)

    def close(self) -> None:
        """Leave the group. Idempotent."""
        with self._state.changed:
            self._closed = True
            for topic in self._topics:
                key = (self._group, topic)
                if self._state.members.get(key) is self and key not in self._state.committed:
                    del self._state.members[key]  # without a commit, the group holds no records back
            self._state.changed.notify_all()

    def _check_open(self) -> None:
        self._state.check_open()
        if self._closed:
            raise PermanentError(_CLOSED)

    def _by_topic(self, offsets: Offsets) -> dict[str, int]:
        for topic, partition in offsets:
            if topic not in self._topics or partition != 0:
                raise InvalidError(f"{topic}/{partition} is not read by this consumer of group {self._group}")
        return {partition.topic: offset for partition, offset in offsets.items()}

    def _join(self) -> None:
        self._joined = True
        for topic in self._topics:
            key = (self._group, topic)
            self._state.members[key] = self
            self._positions.setdefault(topic, self._state.committed.get(key, 0))

    def _read(self, max_records: int, max_bytes: int) -> list[Record]:
        found = [
            topic.read_from(self._positions[name])
            for name in self._topics
            if (topic := self._state.topics.get(name)) is not None
        ]
        records: list[Record] = []
        size = 0
        for record in heapq.merge(*found, key=lambda record: record.timestamp_ns):
            size += len(record.value)
            if records and (len(records) >= max_records or size > max_bytes):
                break
            records.append(record)
            self._positions[record.topic] = record.offset + 1
        return records
