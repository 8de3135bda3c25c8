"""An eventlog in this process's memory, under the same laws: for the replay of files, and for tests."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from dimwatch.errors import BackpressureError, InvalidError, PermanentError
from dimwatch.eventlog import topics as kinds
from dimwatch.eventlog.base import Batch, Lag, NewRecord, Offsets, Record, TopicPartition
from dimwatch.eventlog.memory_groups import NewestOwnsAll, Shared
from dimwatch.eventlog.partitioning import partition_of

_RECORD_OVERHEAD_BYTES: Final = 64
_CLOSED: Final = "the eventlog is closed"


def _size(record: NewRecord | Record) -> int:
    return len(record.value) + len(record.key) + _RECORD_OVERHEAD_BYTES


class _Partition:
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

    def __init__(self, partitions: int) -> None:
        self.many = partitions
        self.changed = threading.Condition()
        self.closed = False
        self.partitions: dict[TopicPartition, _Partition] = {}
        self.bytes = 0
        self.committed: dict[tuple[str, TopicPartition], int] = {}
        self.groups: NewestOwnsAll | Shared = Shared(self.count) if partitions > 1 else NewestOwnsAll()
        self._without_key = 0

    def count(self, topic: str) -> int:
        return kinds.partitions(topic, self.many)

    def of(self, topics: Sequence[str]) -> list[TopicPartition]:
        return [TopicPartition(topic, number) for topic in topics for number in range(self.count(topic))]

    def check_open(self) -> None:
        if self.closed:
            raise PermanentError(_CLOSED)

    def check(self, batch: Batch) -> None:
        for topic, records in batch.items():
            for record in records:
                if record.partition is not None and not 0 <= record.partition < self.count(topic):
                    raise InvalidError(f"{topic} has no partition {record.partition}")

    def append(self, batch: Batch) -> None:
        for topic, records in batch.items():
            for new in records:
                number = self._partition(topic, new)
                found = self.partitions.setdefault(TopicPartition(topic, number), _Partition())
                found.records.append(
                    Record(topic, number, found.next_offset, new.timestamp_ns, new.value, new.key, dict(new.headers))
                )
                added = _size(new)
                found.bytes += added
                self.bytes += added
        self.changed.notify_all()

    def _partition(self, topic: str, new: NewRecord) -> int:
        if new.partition is not None:
            return new.partition
        if new.key:
            return partition_of(new.key, self.count(topic))
        self._without_key += 1
        return self._without_key % self.count(topic)

    def read_by_all(self, partition: TopicPartition) -> int | None:
        """The lowest committed offset of the topic's groups, 0 if one never committed; None without groups."""
        groups = {group for group, of in self.committed if of.topic == partition.topic}
        groups |= self.groups.reading(partition.topic)
        return min((self.committed.get((group, partition), 0) for group in groups), default=None)

    def remove_read(self, excess: int) -> None:
        """Remove up to `excess` bytes that all groups have committed; the newest record of a partition stays."""
        for partition, found in sorted(self.partitions.items(), key=lambda item: -item[1].bytes):
            before = min(self.read_by_all(partition) or 0, found.next_offset - 1)
            count = 0
            for record in found.records:
                if excess <= 0 or record.offset >= before:
                    break
                excess -= _size(record)
                count += 1
            self.bytes -= found.remove(count)


class MemoryEventLog:
    """Keeps records as they come, uncopied. A full log gives up what all groups have read, then refuses.

    With several `partitions` (of the topics that are partitioned on Kafka), members of a group share them, as
    there; with one, the newest member owns all, as embedded.
    """

    def __init__(self, *, max_bytes: int = 1024 * 1024 * 1024, partitions: int = 1) -> None:
        self._max_bytes = max_bytes
        self._state = _State(partitions)

    def append(self, batch: Batch) -> None:
        """Append all records of `batch`, atomically."""
        state = self._state
        needed = sum(_size(record) for records in batch.values() for record in records)
        with state.changed:
            state.check_open()
            state.check(batch)
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
        return MemoryConsumer(self._state, group, self._state.of(list(dict.fromkeys(topics))))

    def reader(self, partitions: Sequence[TopicPartition]) -> MemoryConsumer:
        """A consumer of these partitions that is in no group."""
        with self._state.changed:
            self._state.check_open()
        return MemoryConsumer(self._state, None, partitions)

    def partitions(self, topic: str) -> int:
        """How many partitions the topic has."""
        return self._state.count(topic)

    def end_session(self, consumer: MemoryConsumer) -> None:
        """As when a member was not heard of for too long: others get what it read, and it may commit no more."""
        with self._state.changed:
            self._state.groups.leave(consumer)
            self._state.changed.notify_all()

    def trim(self, topic: str, *, keep_ns: int, keep_bytes: int, now_ns: int) -> int:
        """Remove the oldest records that are over `keep_ns` old or beyond `keep_bytes`; return how many."""
        state = self._state
        with state.changed:
            state.check_open()
            count = state.count(topic)
            return sum(self._trim(partition, now_ns - keep_ns, keep_bytes // count) for partition in state.of([topic]))

    def _trim(self, partition: TopicPartition, before_ns: int, keep_bytes: int) -> int:
        found = self._state.partitions.get(partition)
        if found is None:
            return 0
        read = self._state.read_by_all(partition)
        size = found.bytes
        count = 0
        for record in found.records:
            unread = read is not None and record.offset >= read
            too_old = record.timestamp_ns < before_ns and not unread
            if not too_old and size <= keep_bytes:
                break
            size -= _size(record)
            count += 1
        self._state.bytes -= found.remove(count)
        return count

    def close(self) -> None:
        """Refuse what comes later and wake consumers that wait. Idempotent."""
        with self._state.changed:
            self._state.closed = True
            self._state.changed.notify_all()


class MemoryConsumer:
    """A member of a group, or with `group` None a reader of its own."""

    def __init__(self, state: _State, group: str | None, partitions: Sequence[TopicPartition]) -> None:
        self._state = state
        self.group = group
        self._partitions = list(partitions)
        self.topics = {partition.topic for partition in partitions}
        self._assigned: frozenset[TopicPartition] = frozenset()
        self._positions: dict[TopicPartition, int] = {}
        self._joined = False
        self._closed = False

    def assignment(self) -> frozenset[TopicPartition]:
        """What this member reads now."""
        return self._assigned

    def drained(self) -> frozenset[TopicPartition]:
        """The part of the assignment of which everything was read."""
        with self._state.changed:
            found = self._state.partitions
            return frozenset(
                partition
                for partition in self._assigned
                if partition not in found
                or max(self._positions[partition], found[partition].first) >= found[partition].next_offset
            )

    def poll(self, *, max_records: int, max_bytes: int, timeout_s: float) -> list[Record]:
        """Return the next records; see `dimwatch.eventlog.base.Consumer.poll`."""
        deadline = time.monotonic() + timeout_s
        with self._state.changed:
            while True:
                self._check_open()
                if not self._take_part():
                    return []
                records = self._read(max_records, max_bytes)
                remaining = deadline - time.monotonic()
                if records or remaining <= 0:
                    return records
                self._state.changed.wait(remaining)

    def commit(self, offsets: Offsets, outputs: Batch | None = None) -> None:
        """Commit `offsets` and append `outputs` in one step."""
        self._check_known(offsets)
        with self._state.changed:
            self._check_open()
            if self.group is None:
                raise PermanentError("a reader is in no group and commits nothing")
            if self._joined:
                self._state.groups.check(self, offsets)
            self._state.check(outputs or {})
            for partition, offset in offsets.items():
                self._state.committed[self.group, partition] = offset
            self._state.append(outputs or {})

    def committed(self) -> Offsets:
        """The group's committed offsets."""
        with self._state.changed:
            self._check_open()
            return self._committed()

    def _committed(self) -> dict[TopicPartition, int]:
        if self.group is None:
            return {}
        found = {partition: self._state.committed.get((self.group, partition)) for partition in self._partitions}
        return {partition: offset for partition, offset in found.items() if offset is not None}

    def seek(self, offsets: Offsets) -> None:
        """Read on from `offsets`."""
        self._check_known(offsets)
        self._positions.update(offsets)

    def lag(self) -> Mapping[TopicPartition, Lag]:
        """How far the committed offsets are behind, by partition."""
        with self._state.changed:
            self._check_open()
            committed = self._committed()
            return {partition: self._lag(partition, committed.get(partition, 0)) for partition in self._partitions}

    def behind(self) -> Mapping[TopicPartition, int]:
        """The records of lag()."""
        return {partition: lag.records for partition, lag in self.lag().items()}

    def ends(self) -> Offsets:
        """The offset after the newest record, by partition."""
        with self._state.changed:
            self._check_open()
            found = self._state.partitions
            return {part: found[part].next_offset if part in found else 0 for part in self._partitions}

    def _lag(self, partition: TopicPartition, committed: int) -> Lag:
        found = self._state.partitions.get(partition)
        if found is None or not found.records:
            return Lag(0, 0.0)
        start = max(found.first, committed)
        if start >= found.next_offset:
            return Lag(0, 0.0)
        age_ns = found.records[-1].timestamp_ns - found.records[start - found.first].timestamp_ns
        return Lag(found.next_offset - start, max(0, age_ns) / 1e9)

    def close(self) -> None:
        """Leave the group. Idempotent."""
        with self._state.changed:
            self._closed = True
            if self.group is not None:
                self._state.groups.leave(self, forget=not self._committed())
            self._state.changed.notify_all()

    def _check_open(self) -> None:
        self._state.check_open()
        if self._closed:
            raise PermanentError(_CLOSED)

    def _check_known(self, offsets: Offsets) -> None:
        for partition in offsets:
            if partition not in self._partitions:
                raise InvalidError(
                    f"{partition.topic}/{partition.partition} is not read by this consumer of group {self.group}"
                )

    def _take_part(self) -> bool:
        """Join at the first poll; later give up what goes to others and take what comes.

        False when something was lost: the caller is to see that before anything comes back.
        """
        before = self._assigned
        if self.group is None:
            self._assigned = frozenset(self._partitions)
        elif self._state.groups.has(self):
            self._assigned = self._state.groups.assigned(self)
        else:
            self._state.groups.join(self)
            self._assigned = frozenset() if before else self._state.groups.assigned(self)
        if before - self._assigned:
            self._assigned &= before
            self._state.changed.notify_all()  # others may take it now
            return False
        committed = self._committed() if self._assigned != before else {}
        for partition in self._assigned - before:
            if self._joined:
                self._positions.pop(partition, None)
            self._positions.setdefault(partition, committed.get(partition, 0))
        self._joined = True
        return True

    def _read(self, max_records: int, max_bytes: int) -> list[Record]:
        found = [
            self._state.partitions[partition].read_from(self._positions[partition])
            for partition in self._partitions
            if partition in self._assigned and partition in self._state.partitions
        ]
        records: list[Record] = []
        size = 0
        for record in heapq.merge(*found, key=lambda record: record.timestamp_ns):
            size += len(record.value)
            if records and (len(records) >= max_records or size > max_bytes):
                break
            records.append(record)
            self._positions[TopicPartition(record.topic, record.partition)] = record.offset + 1
        return records
