"""What a collector keeps on its own disk comes to the other side, whatever goes wrong on the way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dimwatch.errors import DimwatchError, PermanentError, RetryableError
from dimwatch.eventlog.base import Batch, NewRecord, Record, TopicPartition
from dimwatch.eventlog.memory import MemoryEventLog
from dimwatch.eventlog.spool import SpooledEventLog
from dimwatch.records import HEADER_SPOOLED

TOPIC = "otlp_metrics"


class Brokers(MemoryEventLog):
    """As Kafka, with a trouble that can be switched on."""

    trouble: Exception | None = None
    meanwhile: Callable[[], None] | None = None
    """Happens once, while they are asked whether they answer."""

    def append(self, batch: Batch) -> None:
        self.probe()
        super().append(batch)

    def check(self, batch: Batch) -> None:
        pass

    def probe(self) -> None:
        if self.trouble is not None:
            raise self.trouble
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()


def records(brokers: MemoryEventLog) -> list[Record]:
    return brokers.reader([TopicPartition(TOPIC)]).poll(max_records=1_000_000, max_bytes=1 << 30, timeout_s=0.0)


def read(brokers: MemoryEventLog) -> list[bytes]:
    return [record.value for record in records(brokers)]


def until(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60.0
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_was_accepted_arrives_in_order_whatever_the_trouble_was(tmp_path: Path) -> None:
    brokers = Brokers()
    spooled = SpooledEventLog(brokers, tmp_path / "spool.sqlite", max_bytes=64 << 20)  # type: ignore[arg-type]
    until(lambda: not spooled._behind)
    wanted: list[bytes] = []
    troubles: tuple[DimwatchError | Exception, ...] = (
        RetryableError("away"),
        PermanentError("another password"),
        ValueError("a fault of the client"),
    )
    for trouble in troubles:
        for number in range(5):
            value = f"{trouble} {number}".encode()
            if number == 1:
                brokers.trouble = trouble
                if not isinstance(trouble, DimwatchError):
                    spooled._behind = True  # something waits already, when the mover meets it
            spooled.append({TOPIC: [NewRecord(value, len(wanted))]})
            wanted.append(value)
        brokers.trouble = None
        until(lambda: len(read(brokers)) == len(wanted) and not spooled._behind)
    assert read(brokers) == wanted
    found = records(brokers)
    assert [record.timestamp_ns for record in found] == list(range(15)), "each of the time at which it was received"
    assert {record.value[-1:] for record in found if HEADER_SPOOLED in record.headers} >= {b"1", b"2", b"3", b"4"}
    assert not [record for record in found if record.headers.keys() - {HEADER_SPOOLED}]
    spooled.close()


def test_what_comes_to_the_file_while_it_seems_empty_is_moved_before_others_pass_it(tmp_path: Path) -> None:
    brokers, made = Brokers(), threading.Event()

    def comes() -> None:
        assert made.wait(60)
        spooled.append({TOPIC: [NewRecord(b"1", 1)]})

    brokers.meanwhile = comes
    spooled = SpooledEventLog(brokers, tmp_path / "spool.sqlite", max_bytes=64 << 20)  # type: ignore[arg-type]
    made.set()
    until(lambda: not spooled._behind)
    spooled.append({TOPIC: [NewRecord(b"2", 2)]})
    assert read(brokers) == [b"1", b"2"]
    spooled.close()


def test_traffic_that_never_pauses_goes_to_the_brokers_again_in_order(tmp_path: Path) -> None:
    brokers = Brokers()
    spooled = SpooledEventLog(brokers, tmp_path / "spool.sqlite", max_bytes=64 << 20)  # type: ignore[arg-type]
    until(lambda: not spooled._behind)
    ended = threading.Event()

    def send(sender: int) -> int:
        count = 0
        while not ended.is_set():
            spooled.append({TOPIC: [NewRecord(b"%d %d" % (sender, count), count)]})
            count += 1
            time.sleep(0.001)
        return count

    with ThreadPoolExecutor(4) as senders:
        sent = [senders.submit(send, sender) for sender in range(4)]
        try:
            for _ in range(3):
                brokers.trouble = RetryableError("away")
                until(lambda: spooled._behind)
                brokers.trouble = None
                until(lambda: not spooled._behind)
        finally:
            ended.set()
    found = list(dict.fromkeys(read(brokers)))
    for sender, count in enumerate(sent):
        mine = [value for value in found if value.startswith(b"%d " % sender)]
        assert mine == [b"%d %d" % (sender, number) for number in range(count.result())]
    spooled.close()
