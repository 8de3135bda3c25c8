"""A record of ours as a message of Kafka, and back.

The record's time in nanoseconds is a header. The message's own time is when the brokers got it: retention goes by
that, and a message of another producer (the Collector's exporter) has no other.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final

from kafka import KafkaProducer

from dimwatch.eventlog import topics as kinds
from dimwatch.eventlog.base import NewRecord, Record
from dimwatch.eventlog.kafka_topics import Topics
from dimwatch.eventlog.partitioning import partition_of

_TIME: Final = "dimwatch-time-ns"
_PACKED: Final = struct.Struct(">q")


def send(producer: KafkaProducer, topics: Topics, topic: str, records: Sequence[NewRecord], keyless: int) -> list[Any]:
    """Hand records to the producer, in order; return what becomes of each. Those without a key share a partition."""
    count = topics.count(topic)
    return [
        producer.send(
            topics.name(topic),
            record.value,
            # Of a compacted topic, the newest record of each key is kept: one without a key is the newest of all.
            key=record.key or (b"newest" if topic in kinds.COMPACTED else None),
            headers=[
                (_TIME, _PACKED.pack(record.timestamp_ns)),
                *((name, value.encode()) for name, value in record.headers.items()),
            ],
            partition=_partition(record, count, keyless),
        )
        for record in records
    ]


def _partition(record: NewRecord, count: int, keyless: int) -> int:
    if record.partition is not None:
        return record.partition
    return partition_of(record.key, count) if record.key else keyless % count


def received(topic: str, message: Any) -> Record:
    """The record in a message."""
    timestamp_ns = message.timestamp * 1_000_000
    headers: dict[str, str] = {}
    for name, value in message.headers:
        if name == _TIME and value is not None and len(value) == _PACKED.size:
            (timestamp_ns,) = _PACKED.unpack(value)
        else:
            headers[name] = (value or b"").decode("utf-8", "replace")
    return Record(
        topic, message.partition, message.offset, timestamp_ns, message.value or b"", message.key or b"", headers
    )
