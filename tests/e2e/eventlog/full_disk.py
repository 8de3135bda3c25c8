"""Fills the disk that holds the eventlog, and checks that it can be emptied and used again."""

from __future__ import annotations

import sys
from pathlib import Path

from dimwatch.eventlog.base import TopicPartition
from dimwatch.eventlog.sqlite import SqliteEventLog
from dimwatch.eventlog.testing import after, block, fill, new, read, read_rest, values

UNBOUNDED = 2**60


def eat_the_rest(folder: Path) -> None:
    """What some other program does to a disk."""
    with (folder / "hog").open("ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


def main(folder: Path) -> None:
    log = SqliteEventLog(folder / "eventlog.sqlite", max_bytes=UNBOUNDED)
    consumer = log.consumer("g", ["t"])
    assert read_rest(consumer) == []
    for _ in range(3):
        accepted = fill(log, "t")
        assert len(accepted) > 20
        eat_the_rest(folder)
        records = read(consumer, len(accepted))
        assert values(records) == accepted
        # The disk is full to the last block, and still what was read can be committed, with outputs.
        for record in records:
            consumer.commit({TopicPartition("t"): record.offset + 1}, {"out": [new(b"output")]})
        # Now all of it may go, and senders need not wait for retention.
        for number in range(100):
            log.append({"t": [new(block(number))]})
            consumer.commit(after(read(consumer, 1)))
        log.trim("t", keep_ns=0, keep_bytes=UNBOUNDED, now_ns=1)
        (folder / "hog").unlink()
    log.close()
    log = SqliteEventLog(folder / "eventlog.sqlite", max_bytes=UNBOUNDED)
    assert len(fill(log, "t")) > 20
    assert len(read_rest(log.consumer("h", ["out"]))) > 60
    log.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
