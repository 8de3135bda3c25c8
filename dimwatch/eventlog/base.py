"""The eventlog seam: topics of records, consumer groups, durable appends.

Behind it stand SQLite (embedded), memory (tests, replay of files) and Kafka (production).
`dimwatch.eventlog.testing` holds the contract suite that all of them pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol


class TopicPartition(NamedTuple):
    """One ordered part of a topic. The embedded eventlogs have one partition (0) a topic."""

    topic: str
    partition: int = 0


@dataclass(frozen=True, slots=True)
class NewRecord:
    """What a producer appends. `timestamp_ns` is the record's time, given by the producer's clock."""

    value: bytes
    timestamp_ns: int
    key: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


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
    """One member of a consumer group. Not safe to share between threads."""

    def poll(self, *, max_records: int, max_bytes: int, timeout_s: float) -> list[Record]:
        """Return the next records in offset order (ties between topics by record time), oldest first.

        Blocks up to `timeout_s` while there is nothing; at least one record is returned if there is one, even
        when it alone is over `max_bytes`. Moves the position, never the committed offset.
        """
        ...

    def commit(self, offsets: Offsets, outputs: Batch | None = None) -> None:
        """Make `offsets` (next to read) the group's, and append `outputs`, in one atomic durable step."""
        ...

    def committed(self) -> Offsets:
        """The group's committed offsets; a partition that never was committed is absent."""
        ...

    def seek(self, offsets: Offsets) -> None:
        """Read on from `offsets`. An offset that retention has removed means the oldest kept record."""
        ...

    def lag(self) -> Mapping[TopicPartition, Lag]:
        """How far the committed offsets are behind the end, by partition."""
        ...

    def close(self) -> None:
        """Leave the group. What was polled and not committed is read again by the next member."""
        ...


class EventLog(Protocol):
    """A durable, ordered log of records by topic. Safe to share between threads."""

    def append(self, batch: Batch) -> None:
        """Append all records of `batch`, atomically; returns when they are durable.

        Raises BackpressureError when the log is full or the disk refuses, RetryableError when it is locked.
        """
        ...

    def consumer(self, group: str, topics: Sequence[str]) -> Consumer:
        """A consumer that starts at the group's committed offsets, or at the oldest record kept."""
        ...

    def trim(self, topic: str, *, keep_ns: int, keep_bytes: int, now_ns: int) -> int:
        """Remove the oldest records that are over `keep_ns` old or beyond `keep_bytes`; return how many.

        Records that some consumer group of the topic has not committed are never removed by age, only by size,
        and a removal of unread records is counted by the caller as a drop.
        """
        ...

    def close(self) -> None:
        """Release files and connections. Idempotent."""
        ...
