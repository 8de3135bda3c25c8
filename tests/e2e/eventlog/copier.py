"""Copies records from topic `in` to topic `out`, a few at a time, until it is killed."""

from __future__ import annotations

import sys
from pathlib import Path

from dimwatch.eventlog.base import NewRecord, TopicPartition
from dimwatch.eventlog.sqlite import SqliteEventLog


def main(path: Path) -> None:
    log = SqliteEventLog(path, max_bytes=10**10)
    consumer = log.consumer("copier", ["in"])
    print("ready", flush=True)
    while True:
        records = consumer.poll(max_records=7, max_bytes=10**6, timeout_s=1.0)
        if records:
            outputs = [NewRecord(record.value, record.timestamp_ns) for record in records]
            consumer.commit({TopicPartition("in"): records[-1].offset + 1}, {"out": outputs})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
