"""The last records of a topic, for a process that finds its state there."""

from __future__ import annotations

from dimwatch.eventlog.base import EventLog, Record, TopicPartition


def newest(log: EventLog, topic: str, count: int, *, max_bytes: int, partition: int = 0) -> list[Record]:
    """The last `count` records of a partition, or a few less where some can not be read back; oldest first.

    `max_bytes` is how much is read at a time.
    """
    part = TopicPartition(topic, partition)
    reader = log.reader([part])
    try:
        oldest = reader.poll(max_records=1, max_bytes=max_bytes, timeout_s=0.0)
        if not oldest:
            return []
        first, end = oldest[0].offset, reader.ends()[part]
        back = count
        while True:
            start = max(end - back, first)
            reader.seek({part: start})
            found: list[Record] = []
            while batch := reader.poll(max_records=back, max_bytes=max_bytes, timeout_s=0.0):
                found += batch
            if len(found) >= count or start == first:
                return found[-count:]
            back *= 4  # marks of transactions and what was compacted away take offsets too
    finally:
        reader.close()
