"""The eventlog on Kafka: many processes, on many machines; see docs/kafka.md."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Final

from kafka import KafkaProducer, errors

from dimwatch import records
from dimwatch.errors import BackpressureError, InvalidError, PermanentError
from dimwatch.eventlog.base import Batch, NewRecord, TopicPartition
from dimwatch.eventlog.kafka_client import explained, opened, producing
from dimwatch.eventlog.kafka_consumer import KafkaMember
from dimwatch.eventlog.kafka_records import send
from dimwatch.eventlog.kafka_topics import Topics
from dimwatch.settings import Kafka

_QUEUE_BYTES: Final = 64 * 1024 * 1024
"""Most bytes that wait for the brokers; one larger append still passes."""
_RECORD_OVERHEAD_BYTES: Final = 64


class KafkaEventLog:
    """An eventlog on a Kafka cluster. It connects at the first call that needs it; do not fork with it open.

    append() is atomic for each partition and not beyond: after an error some records of the batch may be there. What
    has to come whole comes by `Consumer.commit`. A full log is the brokers' matter; retention is too.
    """

    def __init__(self, settings: Kafka) -> None:
        self._settings = settings
        self._topics = Topics(settings)
        self._lock = threading.Lock()
        self._closed = False
        self._producer: KafkaProducer | None = None
        self._members: set[KafkaMember] = set()
        self._waiting_bytes = 0
        self._appends = 0

    def append(self, batch: Batch) -> None:
        """Append all records of `batch`; returns when all replicas in sync have them."""
        batch = {topic: found for topic, found in batch.items() if found}
        size = sum(_size(record) for found in batch.values() for record in found)
        self.check(batch)
        with self._lock:
            self._check_open()
            if self._waiting_bytes and self._waiting_bytes + size > _QUEUE_BYTES:
                raise BackpressureError(f"{self._waiting_bytes} bytes wait for Kafka", retry_after_s=1.0)
            self._waiting_bytes += size
            self._appends += 1
            keyless = self._appends
        try:
            with explained("appending", sender=True):
                self._topics.ensure(batch)
                self._deliver(batch, keyless)
        finally:
            with self._lock:
                self._waiting_bytes -= size

    def _deliver(self, batch: Batch, keyless: int) -> None:
        producer = self._open()
        deadline = time.monotonic() + self._settings.delivery_timeout_s + 1.0
        try:
            sent = [
                future
                for topic, found in batch.items()
                for future in send(producer, self._topics, topic, found, keyless)
            ]
            for future in sent:
                future.get(timeout=max(0.0, deadline - time.monotonic()))
        except errors.KafkaError:
            # kafka-python 3.0 does not find back after a record that timed out: every later one times out, too.
            with self._lock:
                if self._producer is producer:
                    self._producer = None
            producer.close(timeout=0)
            raise

    def check(self, batch: Batch) -> None:
        """Raise InvalidError for a record that is too big or names a partition that does not exist."""
        for topic, found in batch.items():
            count = self.partitions(topic)
            for record in found:
                if record.partition is not None and not 0 <= record.partition < count:
                    raise InvalidError(f"{topic} has no partition {record.partition}")
                if len(record.value) > self._settings.max_message:
                    raise InvalidError(
                        f"a record of {len(record.value)} bytes is over eventlog.kafka.max_message"
                        f" ({self._settings.max_message} bytes)"
                    )

    def probe(self) -> None:
        """Raise RetryableError when the brokers do not answer."""
        self._topics.ensure([records.OTLP_SPANS])
        self._topics.ends([TopicPartition(records.OTLP_SPANS)])

    def consumer(self, group: str, topics: Sequence[str]) -> KafkaMember:
        """A consumer that joins the group at its first poll."""
        return self._member(group, self._topics.of(dict.fromkeys(topics)))

    def reader(self, partitions: Sequence[TopicPartition]) -> KafkaMember:
        """A consumer of these partitions that is in no group."""
        return self._member(None, partitions)

    def _member(self, group: str | None, partitions: Sequence[TopicPartition]) -> KafkaMember:
        with self._lock:
            self._check_open()
            member = KafkaMember(self._settings, self._topics, group, partitions, closed=self._forget)
            self._members.add(member)
            return member

    def partitions(self, topic: str) -> int:
        """How many partitions the topic has."""
        return self._topics.count(topic)

    def trim(self, topic: str, *, keep_ns: int, keep_bytes: int, now_ns: int) -> int:
        """Nothing: the brokers remove old records, by the topic's retention or compaction."""
        return 0

    def close(self) -> None:
        """Send what waits, leave all groups, close the connections. Idempotent."""
        with self._lock:
            self._closed = True
            members = list(self._members)
            producer, self._producer = self._producer, None
        for member in members:
            member.close()
        if producer is not None:
            producer.close(timeout=self._settings.delivery_timeout_s)
        self._topics.close()

    def _forget(self, member: KafkaMember) -> None:
        with self._lock:
            self._members.discard(member)

    def _check_open(self) -> None:
        if self._closed:
            raise PermanentError("the eventlog is closed")

    def _open(self) -> KafkaProducer:
        with self._lock:
            self._check_open()
            if self._producer is None:
                self._producer = opened(KafkaProducer, producing(self._settings, "appends"))
            return self._producer


def _size(record: NewRecord) -> int:
    return len(record.value) + len(record.key) + _RECORD_OVERHEAD_BYTES
