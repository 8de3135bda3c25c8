"""Records of several partitions, fetched ahead and merged by record time."""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Collection, Mapping
from typing import Any, Final

import structlog
from kafka import KafkaConsumer, errors
from kafka import TopicPartition as KafkaPartition

from dimwatch import telemetry
from dimwatch.eventlog.base import Record, TopicPartition
from dimwatch.eventlog.kafka_records import received
from dimwatch.eventlog.kafka_topics import Topics

_AHEAD_BYTES: Final = 32 * 1024 * 1024
"""About how much is fetched ahead: enough to merge partitions by time."""
_AHEAD_RECORDS: Final = 10_000
_MERGE_WAIT_S: Final = 0.02
"""How long a poll with records waits for the first of other partitions, which may be older."""
_MERGE_WAIT_MOST_S: Final = 2.0
"""The same while records of some partitions come."""
_MERGE_SHARE: Final = 2.0
"""It may take so much of the bounds meanwhile."""

_log = structlog.get_logger(__name__)


class Fetch:
    """What was fetched and not yet handed out. Positions are those of what was handed out."""

    def __init__(self, client: KafkaConsumer, topics: Topics) -> None:
        self._client = client
        self._topics = topics
        self._ahead: dict[TopicPartition, deque[Record]] = {}
        self._bytes = 0

    def _holds(self, share: float) -> bool:
        """Whether so much of the bounds is taken."""
        return self._bytes >= share * _AHEAD_BYTES or sum(map(len, self._ahead.values())) >= share * _AHEAD_RECORDS

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """Drop what was fetched of these."""
        for partition in partitions:
            self._bytes -= sum(len(record.value) for record in self._ahead.pop(partition, ()))

    def seek(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Read on from these; they must be assigned."""
        self.forget(offsets.keys())
        for partition, offset in offsets.items():
            self._client.seek(self._topics.on_broker(partition), offset)

    def position(self, partition: TopicPartition) -> int | None:
        """The next offset that will be handed out; None while it is not known."""
        if ahead := self._ahead.get(partition):
            return ahead[0].offset
        return self._position(self._topics.on_broker(partition), timeout_ms=1_000)

    def _position(self, part: KafkaPartition, timeout_ms: int) -> int | None:
        try:
            found: int | None = self._client.position(part, timeout_ms=timeout_ms)
        except errors.NoOffsetForPartitionError as error:  # the group has committed nothing yet
            self._client.seek_to_beginning(*_partitions(error))
            return None
        return found

    def fetch(self, timeout_s: float) -> bool:
        """Fetch more; True if something came. At the bounds, it only keeps the client alive."""
        full = self._holds(1.0)
        try:
            found = self._client.poll(
                timeout_ms=0 if full else max(1, int(timeout_s * 1000)), max_records=1 if full else _AHEAD_RECORDS
            )
        except errors.NoOffsetForPartitionError as error:
            self._client.seek_to_beginning(*_partitions(error))
            return False
        except errors.OffsetOutOfRangeError as error:
            self._go_on_with_the_oldest(_partitions(error))
            return False
        for part, messages in found.items():
            topic = self._topics.topic(part.topic)
            records = [received(topic, message) for message in messages]
            self._ahead.setdefault(TopicPartition(topic, part.partition), deque()).extend(records)
            self._bytes += sum(len(record.value) for record in records)
        return bool(found)

    def take(self, max_records: int, max_bytes: int) -> list[Record]:
        """The next records within the bounds, merged by their time; at least one if there is one."""
        records: list[Record] = []
        size = 0
        heads = [(ahead[0].timestamp_ns, partition) for partition, ahead in self._ahead.items() if ahead]
        heapq.heapify(heads)
        while heads:
            _, partition = heads[0]
            ahead = self._ahead[partition]
            size += len(ahead[0].value)
            if records and (len(records) >= max_records or size > max_bytes):
                break
            record = ahead.popleft()
            records.append(record)
            self._bytes -= len(record.value)
            if ahead:
                heapq.heapreplace(heads, (ahead[0].timestamp_ns, partition))
            else:
                heapq.heappop(heads)
        return records

    def complete(self, partitions: Collection[TopicPartition]) -> None:
        """With something fetched: wait a moment for those of which there is more and nothing is here yet.

        Longer while others come, but within the bounds: the broker of one may be away, and there may be much of others.
        """
        began = time.monotonic()
        while not self._holds(_MERGE_SHARE) and any(self._ahead.values()) and any(map(self._is_missing, partitions)):
            patience_s = _MERGE_WAIT_MOST_S if self.fetch(0.01) else _MERGE_WAIT_S
            if time.monotonic() > began + patience_s:
                return

    def _is_missing(self, partition: TopicPartition) -> bool:
        if self._ahead.get(partition):
            return False
        part = self._topics.on_broker(partition)
        end = self._client.highwater(part)
        return end is None or (self._position(part, timeout_ms=100) or 0) < end

    def _go_on_with_the_oldest(self, parts: Collection[KafkaPartition]) -> None:
        oldest = self._client.beginning_offsets(list(parts))
        for part, offset in oldest.items():
            lost = max(0, offset - (self._position(part, timeout_ms=1_000) or 0))
            topic = self._topics.topic(part.topic)
            telemetry.DROPPED.labels(stage="eventlog", signal=topic, reason="retention").inc(lost)
            _log.error(
                "records were removed by Kafka's retention before they were read",
                topic=topic,
                partition=part.partition,
                offsets=lost,
                remedy="raise eventlog.kafka.retention_hours, or the topic's retention.ms",
            )
            self._client.seek(part, offset)


def _partitions(error: Any) -> list[KafkaPartition]:
    return list(error.args[0])
