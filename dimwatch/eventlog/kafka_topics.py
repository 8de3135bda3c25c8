"""The topics on the brokers: made where they are missing, and asked for their ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

import structlog
from kafka import KafkaAdminClient, errors
from kafka import TopicPartition as KafkaPartition
from kafka.protocol.consumer import OffsetSpec

from dimwatch.errors import PermanentError
from dimwatch.eventlog import topics as kinds
from dimwatch.eventlog.base import TopicPartition
from dimwatch.eventlog.kafka_client import OVERHEAD_BYTES, connection, explained, opened
from dimwatch.settings import Kafka

_SEGMENT_BYTES: Final = 256 * 1024 * 1024
_COMPACTED_SEGMENT_MS: Final = 600_000
"""Only closed segments are compacted: a topic of states is at most so much larger than its newest ones."""

_T = TypeVar("_T")
_log = structlog.get_logger(__name__)


class Topics:
    """Topics by Dimwatch's names; on the brokers the prefix stands before them. Safe to share between threads."""

    def __init__(self, settings: Kafka) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._client: KafkaAdminClient | None = None
        self._closed = False
        self._there: set[str] = set()

    def name(self, topic: str) -> str:
        """What the brokers call it."""
        return self._settings.topic_prefix + topic

    def topic(self, name: str) -> str:
        """What Dimwatch calls it."""
        return name[len(self._settings.topic_prefix) :]

    def count(self, topic: str) -> int:
        """How many partitions it has."""
        return kinds.partitions(topic, self._settings.partitions)

    def of(self, topics: Iterable[str]) -> list[TopicPartition]:
        """Their partitions."""
        return [TopicPartition(topic, number) for topic in topics for number in range(self.count(topic))]

    def on_broker(self, partition: TopicPartition) -> KafkaPartition:
        """The partition as the client names it."""
        return KafkaPartition(self.name(partition.topic), partition.partition)

    def ensure(self, topics: Iterable[str]) -> None:
        """Make those that are missing.

        Raises RetryableError when the brokers do not answer, PermanentError when they refuse or when a topic is there
        with another number of partitions: the same key would be on another partition, and a trace in two parts.
        """
        missing = sorted(set(topics) - self._there)
        if not missing:
            return
        with explained(f"making topics {', '.join(missing)}"):
            self._run(lambda client: self._ensure(client, missing))
        self._there.update(missing)

    def _ensure(self, client: KafkaAdminClient, topics: Sequence[str]) -> None:
        found = _counts(client, map(self.name, topics))
        wanted = {self.name(topic): topic for topic in topics}
        new = {name: self._specification(topic) for name, topic in wanted.items() if name not in found}
        if new:
            try:
                client.create_topics(new, wait_for_metadata=True)
                _log.info("topics made", topics=sorted(new))
            except errors.TopicAlreadyExistsError:
                client.wait_for_topics(list(new))  # another process was faster with some
                rest = new.keys() - _counts(client, new).keys()
                if rest:
                    return self._ensure(client, [wanted[name] for name in rest])
            found |= _counts(client, new)
        for name, topic in wanted.items():
            if found[name] != self.count(topic):
                raise PermanentError(
                    f"the topic {name} has {found[name]} partitions and should have {self.count(topic)}: set"
                    " eventlog.kafka.partitions to what the topics have, or another eventlog.kafka.topic_prefix"
                )
        return None

    def _specification(self, topic: str) -> dict[str, Any]:
        settings = self._settings
        configs = {
            # The brokers' time: a record that is written late, or by a clock that is wrong, is kept as long as others.
            "message.timestamp.type": "LogAppendTime",
            "max.message.bytes": str(int(settings.max_message) + OVERHEAD_BYTES),
            "segment.bytes": str(_SEGMENT_BYTES),
        }
        if topic in kinds.COMPACTED:
            configs |= {
                "cleanup.policy": "compact",
                "segment.ms": str(_COMPACTED_SEGMENT_MS),
                "min.cleanable.dirty.ratio": "0.1",
                "delete.retention.ms": "60000",
            }
        else:
            configs |= {
                "cleanup.policy": "delete",
                "retention.ms": str(int(settings.retention_hours * 3_600_000)),
                "retention.bytes": str(int(settings.retention_bytes) or -1),
            }
        if settings.min_insync_replicas is not None:
            configs["min.insync.replicas"] = str(settings.min_insync_replicas)
        return {
            "num_partitions": self.count(topic),
            "replication_factor": settings.replication,
            "configs": configs,
        }

    def oldest(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """The offset of the oldest record kept."""
        return self._offsets(partitions, OffsetSpec.EARLIEST)

    def ends(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """The offset after the newest record, also of one whose transaction is not over."""
        return self._offsets(partitions, OffsetSpec.LATEST)

    def there(self, topics: Iterable[str]) -> list[TopicPartition]:
        """The partitions that the brokers have of these topics. Makes none."""
        names = [self.name(topic) for topic in topics]
        with explained("asking for topics"):
            counts = self._run(lambda client: _counts(client, names))
        return [TopicPartition(self.topic(name), number) for name in counts for number in range(counts[name])]

    def committed(self, group: str, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """What the group has committed; where it never did, none."""
        if not partitions:
            return {}
        name, wanted = self.name(group), [self.on_broker(partition) for partition in partitions]
        with explained("asking for committed offsets"):
            noted = self._run(lambda client: client.list_group_offsets({name: wanted}))[name]
        offsets = {partition: noted[part].offset for partition, part in zip(partitions, wanted, strict=True)}
        return {partition: offset for partition, offset in offsets.items() if offset >= 0}

    def _offsets(self, partitions: Sequence[TopicPartition], spec: OffsetSpec) -> dict[TopicPartition, int]:
        if not partitions:
            return {}
        wanted = {self.on_broker(partition): spec for partition in partitions}
        with explained("asking for the ends of topics"):
            found = self._run(lambda client: client.list_partition_offsets(wanted))
        return {partition: found[self.on_broker(partition)].offset for partition in partitions}

    def _run(self, call: Callable[[KafkaAdminClient], _T]) -> _T:
        with self._lock:
            if self._closed:
                raise PermanentError("the eventlog is closed")
            if self._client is None:
                self._client = opened(KafkaAdminClient, connection(self._settings, "admin"))
            return call(self._client)

    def close(self) -> None:
        """Close the connections. Idempotent."""
        with self._lock:
            self._closed = True
            if self._client is not None:
                self._client.close()
                self._client = None


def _counts(client: KafkaAdminClient, names: Iterable[str]) -> dict[str, int]:
    return {
        found["name"]: len(found["partitions"]) for found in client.describe_topics(list(names)) if found["partitions"]
    }
