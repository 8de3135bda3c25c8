"""The eventlog seam: topics of records, consumer groups, durable appends.

Behind it stand SQLite (embedded), memory (tests, replay of files) and Kafka (production).
`dimwatch.eventlog.testing` holds the contract suite that all of them pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol


class TopicPartition(NamedTuple):
    """One ordered part of a topic. The embedded eventlog has one partition (0) a topic."""

    topic: str
    partition: int = 0


@dataclass(frozen=True, slots=True)
class NewRecord:
    """What a producer appends. `timestamp_ns` is the record's time, given by the producer's clock.

    Without `partition`, records of the same key go to the same partition of a topic, those without a key to any.
    """

    value: bytes
    timestamp_ns: int
    key: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """What a consumer reads; `offset` is this record's own, so the next one to read is `offset + 1`."""

    topic: str
    partition: int
    offset: int
    timestamp_ns: int
    value: bytes
    key: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a group is behind on one partition: records not yet committed, and the age span of them."""

    records: int
    seconds: float


Offsets = Mapping[TopicPartition, int]
"""Next offset to read, by partition."""
Batch = Mapping[str, Sequence[NewRecord]]
"""Records to append, by topic."""


class Consumer(Protocol):
    """One member of a consumer group. Not safe to share between threads, but for close().

    It joins the group at its first poll, and its position starts at the group's committed offsets, or at the
    oldest record kept. Embedded, the newest member owns all partitions. Kafka shares them among the members, so
    that partition p of every topic of the group is with the same member.
    """

    def assignment(self) -> frozenset[TopicPartition]:
        """What this member reads now: nothing before its first poll. It changes only inside poll().

        A partition that comes (also one that comes back) is read from the group's committed offset on. One that
        goes was given up inside poll(): only after that another member reads it, unless this one was not heard of for
        too long. Whatever was lost, even for a moment, is missing after some poll, which returns no records.
        """
        ...

    def drained(self) -> frozenset[TopicPartition]:
        """The part of the assignment of which polls have returned everything that the log had at the time of this call.

        Nothing that was appended before the call is still to come from these.
        """
        ...

    def poll(self, *, max_records: int, max_bytes: int, timeout_s: float) -> list[Record]:
        """Return the next records: by offset within a partition, partitions merged by record time, oldest first.

        On Kafka they are merged as far as they have been fetched.

        Blocks up to `timeout_s` while there is nothing; at least one record is returned if there is one, even
        when it alone is over `max_bytes` (of values). Moves the position, never the committed offset. A record
        that can not be read back is skipped and counted. Raises RetryableError for a lock or a disk in trouble.
        """
        ...

    def commit(self, offsets: Offsets, outputs: Batch | None = None) -> None:
        """Make `offsets` (next to read) the group's, and append `outputs`, in one atomic durable step.

        After RetryableError it may be called again, after PermanentError only a new consumer can go on.

        It is never refused for the log's size: only commits can empty a full log. Raises BackpressureError when
        the disk refuses, RetryableError when the log is locked, PermanentError when another member of the group
        has taken over, InvalidError for a partition that does not exist or is of another topic. Then nothing was
        committed or appended.
        """
        ...

    def committed(self) -> Offsets:
        """The group's committed offsets, on all partitions of its topics; where it never committed, none."""
        ...

    def seek(self, offsets: Offsets) -> None:
        """Read on from `offsets`. An offset that retention has removed means the oldest kept record.

        Before the first poll, it says where to begin. Later it is for partitions of the assignment.
        """
        ...

    def lag(self) -> Mapping[TopicPartition, Lag]:
        """How far the committed offsets are behind the end, on all partitions of its topics. Joins no group."""
        ...

    def behind(self) -> Mapping[TopicPartition, int]:
        """The records of lag() alone, which take no reading. On Kafka, the marks of transactions count as records."""
        ...

    def ends(self) -> Offsets:
        """The offset after the newest record, on all partitions of its topics. Joins no group.

        It is not what was read first plus lag(): Kafka counts what compaction has removed, too.
        """
        ...

    def close(self) -> None:
        """Leave the group. What was polled and not committed is read again by the next member.

        Where the group never committed it is forgotten with its last member, and holds no records back any more.
        """
        ...


class EventLog(Protocol):
    """A durable, ordered log of records by topic. Safe to share between threads.

    Offsets of a partition only grow, also when everything before was removed. After close() every call
    raises PermanentError, but for another close().
    """

    def append(self, batch: Batch) -> None:
        """Append all records of `batch`, atomically; returns when they are durable.

        On Kafka atomic for each partition only: what has to come whole over partitions is output of a commit.
        A log that is full gives up the oldest records that all groups of their topic have committed (never the
        newest of a topic). Raises BackpressureError when it is still full or the disk refuses, RetryableError
        when it is locked, InvalidError for a record that is too big for any eventlog or names a partition
        that does not exist. After an error, the batch
        may be appended again: at worst (an error of the disk in the last moment) its records are there twice.
        """
        ...

    def consumer(self, group: str, topics: Sequence[str]) -> Consumer:
        """A consumer that starts at the group's committed offsets, or at the oldest record kept."""
        ...

    def reader(self, partitions: Sequence[TopicPartition]) -> Consumer:
        """A consumer of these partitions that is in no group: it starts at the oldest record kept.

        It holds no records back, has committed nothing, and commit() raises PermanentError. Its poll() comes back
        empty only at the end.
        """
        ...

    def partitions(self, topic: str) -> int:
        """How many partitions the topic has, or would have: they count from 0."""
        ...

    def trim(self, topic: str, *, keep_ns: int, keep_bytes: int, now_ns: int) -> int:
        """Remove the oldest records that are over `keep_ns` old or beyond `keep_bytes`; return how many.

        On Kafka this is nothing: the brokers do it, by the topic's own retention or compaction.
        Bytes are those that the records take in the log, compressed. Records that some consumer group of the
        topic has not committed are never removed by age, only by size, and a removal of unread records is
        counted by the caller as a drop. A consumer of removed offsets goes on with the oldest record kept.
        """
        ...

    def close(self) -> None:
        """Release files and connections. Idempotent."""
        ...
