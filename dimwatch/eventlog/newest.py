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
        found = reader.poll(max_records=1, max_bytes=max_bytes, timeout_s=0.0)
        if found:
            # A reader commits nothing, so its lag counts from the oldest record.
            end = found[0].offset + reader.lag()[part].records
            reader.seek({part: max(end - count, found[0].offset)})
            found.clear()
        while batch := reader.poll(max_records=count, max_bytes=max_bytes, timeout_s=0.0):
            found += batch
        return found
    finally:
        reader.close()
