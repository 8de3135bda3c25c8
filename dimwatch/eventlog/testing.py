"""The contract that every eventlog keeps, as tests.

Subclass `EventLogContract` in a test module that has two pytest fixtures: `eventlog`, a new and empty one, and
`reopen`, a function that closes an eventlog and opens the same records again.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from dimwatch.errors import BackpressureError, DimwatchError, InvalidError, PermanentError
from dimwatch.eventlog.base import Consumer, EventLog, NewRecord, Record, TopicPartition
from dimwatch.eventlog.newest import newest

DEADLINE_S: Final = 60.0
KEY: Final = b"one key, so one partition"
SECOND: Final = 1_000_000_000
FOREVER: Final = 2**62


def new(value: bytes, timestamp_ns: int = 0) -> NewRecord:
    """A record that goes to the same partition as all others made here."""
    return NewRecord(value, timestamp_ns, key=KEY)


def read(consumer: Consumer, count: int, *, max_records: int = 1000) -> list[Record]:
    """Poll until `count` records came; fail after `DEADLINE_S`."""
    deadline = time.monotonic() + DEADLINE_S
    records: list[Record] = []
    while len(records) < count:
        assert time.monotonic() < deadline, f"{len(records)} of {count} records came"
        records += consumer.poll(max_records=max_records, max_bytes=FOREVER, timeout_s=0.2)
    return records


def read_rest(consumer: Consumer) -> list[Record]:
    """Poll until everything that is there was read."""
    records: list[Record] = []

    def rest() -> bool:
        more = consumer.poll(max_records=1000, max_bytes=FOREVER, timeout_s=0.2)
        records.extend(more)
        return not more and bool(consumer.assignment()) and consumer.drained() == consumer.assignment()

    until(rest)
    return records


def until(happened: Callable[[], object]) -> None:
    """Call until it is true; fail after `DEADLINE_S`."""
    deadline = time.monotonic() + DEADLINE_S
    while not happened():
        assert time.monotonic() < deadline, "it never happened"


def values(records: Sequence[Record]) -> list[bytes]:
    """The records' values."""
    return [record.value for record in records]


def after(records: Sequence[Record]) -> dict[TopicPartition, int]:
    """The offsets to commit when `records` are done."""
    return {TopicPartition(record.topic, record.partition): record.offset + 1 for record in records}


@contextlib.contextmanager
def refused(kind: type[DimwatchError]) -> Iterator[None]:
    """The block raises `kind`."""
    try:
        yield
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was not raised")


SMALL_BYTES: Final = 2 * 1024 * 1024


def block(number: int) -> bytes:
    """128 KiB that do not compress."""
    return hashlib.shake_256(b"%d" % number).digest(128 * 1024)


def fill(log: EventLog, topic: str) -> list[bytes]:
    """Append until the log asks to wait; return what was accepted."""
    accepted: list[bytes] = []
    with refused(BackpressureError):
        while len(accepted) < 1000:
            value = block(len(accepted))
            log.append({topic: [new(value)]})
            accepted.append(value)
    return accepted


class EventLogContract:
    """What the rest of Dimwatch relies on."""

    def test_records_come_back_as_they_were_appended(self, eventlog: EventLog) -> None:
        appended = [
            NewRecord(b"", 0),
            NewRecord(b"short", 1, key=b"", headers={"tenant": "acme"}),
            NewRecord(b"compressible " * 10_000, 2, headers={"reason": "größe", "empty": ""}),
            NewRecord(b"\xff\xff\xff\xff" + bytes(range(256)) * 100, 3),
            NewRecord(bytes(range(256)), 2**62, key=b"\x00\xff"),
        ]
        for record in appended:
            eventlog.append({"t": [record]})
        records = read(eventlog.consumer("g", ["t"]), len(appended))
        records.sort(key=lambda record: record.timestamp_ns)
        assert [NewRecord(r.value, r.timestamp_ns, r.key, r.headers) for r in records] == appended
        assert {record.topic for record in records} == {"t"}

    def test_records_come_in_the_order_of_their_offsets(self, eventlog: EventLog) -> None:
        # Record times that go backwards change nothing within a topic.
        for start in range(0, 100, 10):
            eventlog.append({"t": [new(b"%d" % n, 1000 - n) for n in range(start, start + 10)]})
        records = read(eventlog.consumer("g", ["t"]), 100, max_records=7)
        assert values(records) == [b"%d" % n for n in range(100)]
        offsets = [record.offset for record in records]
        assert offsets == sorted(set(offsets))

    def test_several_topics_are_merged_by_record_time(self, eventlog: EventLog) -> None:
        eventlog.append({"a": [new(b"a1", 1), new(b"a4", 4)], "b": [new(b"b2", 2)], "c": [new(b"c3", 3)]})
        consumer = eventlog.consumer("g", ["c", "b", "a"])
        assert values(read(consumer, 4)) == [b"a1", b"b2", b"c3", b"a4"]

    def test_a_batch_of_several_topics_is_one_append(self, eventlog: EventLog) -> None:
        eventlog.append({"a": [new(b"1")], "b": [new(b"2"), new(b"3")], "none": []})
        eventlog.append({})
        records = read(eventlog.consumer("g", ["a", "b", "none"]), 3)
        assert sorted(values(records)) == [b"1", b"2", b"3"]

    def test_what_was_appended_is_there_after_a_restart(
        self, eventlog: EventLog, reopen: Callable[[EventLog], EventLog]
    ) -> None:
        eventlog.append({"t": [new(b"1"), new(b"2"), new(b"3")]})
        consumer = eventlog.consumer("g", ["t"])
        first = read(consumer, 1, max_records=1)
        consumer.commit(after(first))
        consumer.close()
        eventlog = reopen(eventlog)
        eventlog.append({"t": [new(b"4")]})
        assert values(read(eventlog.consumer("g", ["t"]), 3)) == [b"2", b"3", b"4"]
        eventlog.close()

    def test_poll_keeps_its_bounds(self, eventlog: EventLog) -> None:
        eventlog.append({"t": [new(bytes([n]) * 100) for n in range(10)]})
        consumer = eventlog.consumer("g", ["t"])
        assert len(read(consumer, 1, max_records=3)) == 3
        assert len(consumer.poll(max_records=100, max_bytes=250, timeout_s=DEADLINE_S)) == 2
        assert len(consumer.poll(max_records=100, max_bytes=10_000, timeout_s=DEADLINE_S)) == 5

    def test_a_record_over_max_bytes_comes_alone(self, eventlog: EventLog) -> None:
        eventlog.append({"t": [new(b"x" * 5000), new(b"y")]})
        consumer = eventlog.consumer("g", ["t"])
        polls = [consumer.poll(max_records=10, max_bytes=100, timeout_s=DEADLINE_S) for _ in range(2)]
        assert [values(records) for records in polls] == [[b"x" * 5000], [b"y"]]

    def test_poll_waits_for_a_record_but_not_longer(self, eventlog: EventLog) -> None:
        consumer = eventlog.consumer("g", ["t"])
        assert consumer.poll(max_records=1, max_bytes=1, timeout_s=0.05) == []
        appender = threading.Timer(0.1, eventlog.append, [{"t": [new(b"late")]}])
        appender.start()
        assert values(consumer.poll(max_records=1, max_bytes=1, timeout_s=DEADLINE_S)) == [b"late"]
        appender.join()

    def test_commit_and_outputs_are_one_step(self, eventlog: EventLog) -> None:
        eventlog.append({"in": [new(b"1"), new(b"2")]})
        consumer = eventlog.consumer("g", ["in"])
        records = read(consumer, 2)
        consumer.commit(after(records), {"out": [new(b"sum"), new(b"count")], "drops": [new(b"none")]})
        assert consumer.committed() == after(records)
        assert sorted(values(read(eventlog.consumer("h", ["out", "drops"]), 3))) == [b"count", b"none", b"sum"]

    def test_what_was_not_committed_is_read_again(self, eventlog: EventLog) -> None:
        eventlog.append({"t": [new(b"%d" % n) for n in range(5)]})
        first = eventlog.consumer("g", ["t"])
        assert first.committed() == {}
        records = read(first, 5)
        first.commit(after(records[:2]))
        first.close()
        second = eventlog.consumer("g", ["t"])
        assert second.committed() == after(records[:2])
        assert values(read(second, 3)) == [b"2", b"3", b"4"]

    def test_groups_do_not_see_each_other(self, eventlog: EventLog) -> None:
        eventlog.append({"t": [new(b"1"), new(b"2")]})
        one, two = eventlog.consumer("one", ["t"]), eventlog.consumer("two", ["t"])
        one.commit(after(read(one, 2)))
        assert two.committed() == {}
        assert values(read(two, 2)) == [b"1", b"2"]

    def test_seek_moves_the_position_and_not_the_commit(self, eventlog: EventLog) -> None:
        eventlog.append({"t": [new(b"1"), new(b"2"), new(b"3")]})
        consumer = eventlog.consumer("g", ["t"])
        records = read(consumer, 3)
        consumer.commit(after(records))
        consumer.seek(after(records[:1]))
        assert values(read(consumer, 2)) == [b"2", b"3"]
        assert consumer.committed() == after(records)

    def test_a_foreign_partition_is_refused(self, eventlog: EventLog) -> None:
        consumer = eventlog.consumer("g", ["t"])
        with refused(InvalidError):
            consumer.seek({TopicPartition("other"): 0})
        with refused(InvalidError):
            consumer.commit({TopicPartition("other"): 0})

    def test_the_assignment_is_there_with_the_first_poll(self, eventlog: EventLog) -> None:
        consumer = eventlog.consumer("g", ["s", "t"])
        assert consumer.assignment() == frozenset()
        until(lambda: consumer.poll(max_records=1, max_bytes=1, timeout_s=0.1) or consumer.assignment())
        expected = {TopicPartition(topic, n) for topic in ("s", "t") for n in range(eventlog.partitions(topic))}
        assert consumer.assignment() == expected

    def test_what_is_drained_has_nothing_more_to_come(self, eventlog: EventLog) -> None:
        eventlog.append({"a": [new(b"1"), new(b"2")]})
        consumer = eventlog.consumer("g", ["a", "b"])
        assert consumer.drained() == frozenset()
        read(consumer, 1, max_records=1)
        assert TopicPartition("a") not in consumer.drained()
        read(consumer, 1)
        until(lambda: consumer.drained() == consumer.assignment())
        eventlog.append({"b": [new(b"3")]})
        assert consumer.drained() == consumer.assignment() - {TopicPartition("b", 0)}
        read(consumer, 1)
        until(lambda: consumer.drained() == consumer.assignment())

    def test_a_partition_can_be_named(self, eventlog: EventLog) -> None:
        last = eventlog.partitions("t") - 1
        eventlog.append({"t": [NewRecord(b"1", 0, key=KEY, partition=last)]})
        (record,) = read(eventlog.consumer("g", ["t"]), 1)
        assert record.partition == last
        for missing in (last + 1, -1):
            with refused(InvalidError):
                eventlog.append({"t": [NewRecord(b"2", 0, partition=missing)]})
        with refused(InvalidError):
            eventlog.consumer("g", ["t"]).seek({TopicPartition("t", last + 1): 0})

    def test_a_reader_is_in_no_group(self, eventlog: EventLog) -> None:
        eventlog.append({"t": [new(b"%d" % n, n) for n in range(3)]})
        member = eventlog.consumer("g", ["t"])
        records = read(member, 3)
        part = TopicPartition("t", records[0].partition)
        one, two = eventlog.reader([part]), eventlog.reader([part])
        assert values(read(one, 3)) == values(read(two, 3)) == [b"0", b"1", b"2"]
        assert one.assignment() == {part}
        one.seek({part: records[1].offset})
        assert values(read(one, 2)) == [b"1", b"2"]
        assert (one.committed(), one.lag()[part].records) == ({}, 3)
        with refused(PermanentError):
            one.commit({part: 1})
        member.commit(after(records))  # which nobody took over

    def test_the_newest_records_are_found(self, eventlog: EventLog) -> None:
        assert newest(eventlog, "t", 3, max_bytes=FOREVER) == []
        part = eventlog.partitions("t") - 1
        eventlog.append({"t": [NewRecord(b"%d" % n, n, partition=part) for n in range(10)]})
        found = newest(eventlog, "t", 3, max_bytes=FOREVER, partition=part)
        assert values(found) == [b"7", b"8", b"9"]
        assert len(newest(eventlog, "t", 100, max_bytes=1, partition=part)) == 10

    def test_the_end_is_after_the_newest_record_whatever_is_gone_before_it(self, eventlog: EventLog) -> None:
        reader = eventlog.reader([TopicPartition("t")])
        assert reader.ends() == {TopicPartition("t"): 0}
        eventlog.append({"t": [NewRecord(b"%d" % n, n, partition=0) for n in range(10)]})
        eventlog.trim("t", keep_ns=0, keep_bytes=0, now_ns=SECOND)
        assert reader.ends() == eventlog.consumer("g", ["t"]).ends() == {TopicPartition("t"): 10}

    def test_a_topic_may_come_into_being_later(self, eventlog: EventLog) -> None:
        consumer = eventlog.consumer("g", ["later"])
        assert consumer.poll(max_records=1, max_bytes=1, timeout_s=0.01) == []
        eventlog.append({"later": [new(b"1")]})
        assert values(read(consumer, 1)) == [b"1"]

    def test_lag_counts_what_is_not_committed(self, eventlog: EventLog) -> None:
        consumer = eventlog.consumer("g", ["t", "empty"])
        assert sum(lag.records for lag in consumer.lag().values()) == sum(consumer.behind().values()) == 0
        eventlog.append({"t": [new(b"%d" % n, n * SECOND) for n in range(11)]})
        records = read(consumer, 11)
        partition = TopicPartition("t", records[0].partition)
        assert (consumer.lag()[partition].records, consumer.lag()[partition].seconds) == (11, 10.0)
        consumer.commit(after(records[:4]))
        assert (consumer.lag()[partition].records, consumer.lag()[partition].seconds) == (7, 6.0)
        assert {part: behind for part, behind in consumer.behind().items() if behind} == {partition: 7}
        consumer.commit(after(records))
        assert (consumer.lag()[partition].records, consumer.lag()[partition].seconds) == (0, 0.0)

    def test_trim_of_an_unknown_topic_is_nothing(self, eventlog: EventLog) -> None:
        assert eventlog.trim("never", keep_ns=0, keep_bytes=0, now_ns=0) == 0

    def test_many_appenders_at_once_lose_nothing(self, eventlog: EventLog) -> None:
        threads, each = 16, 25

        def append(thread: int) -> None:
            for n in range(each):
                eventlog.append({"t": [new(b"%d/%d" % (thread, n)), new(b"%d/%d second" % (thread, n))]})

        workers = [threading.Thread(target=append, args=[n]) for n in range(threads)]
        for worker in workers:
            worker.start()
        found = values(read(eventlog.consumer("g", ["t"]), threads * each * 2))
        for worker in workers:
            worker.join()
        assert len(found) == len(set(found)) == threads * each * 2
        for thread in range(threads):
            mine = [value for value in found if value.startswith(b"%d/" % thread)]
            assert mine == [b"%d/%d%s" % (thread, n, end) for n in range(each) for end in (b"", b" second")]

    def test_a_closed_consumer_refuses(self, eventlog: EventLog) -> None:
        consumer = eventlog.consumer("g", ["t"])
        consumer.close()
        consumer.close()
        with refused(PermanentError):
            consumer.poll(max_records=1, max_bytes=1, timeout_s=0.0)

    def test_a_closed_log_refuses(self, eventlog: EventLog) -> None:
        eventlog.append({"t": [new(b"1")]})
        consumer = eventlog.consumer("g", ["t"])
        read(consumer, 1)
        eventlog.close()
        eventlog.close()
        with refused(PermanentError):
            eventlog.append({"t": [new(b"2")]})
        with refused(PermanentError):
            eventlog.consumer("g", ["t"])
        with refused(PermanentError):
            consumer.poll(max_records=1, max_bytes=1, timeout_s=0.0)
        with refused(PermanentError):
            consumer.commit({})


class EmbeddedEventLogContract(EventLogContract):
    """What the eventlogs of one machine keep beside: one partition a topic, and bounds and retention of their own.

    It needs one more fixture: `small`, an eventlog that is full at `SMALL_BYTES`.
    """

    def test_a_consumer_that_was_replaced_commits_nothing(self, eventlog: EventLog) -> None:
        eventlog.append({"in": [new(b"1")]})
        old = eventlog.consumer("g", ["in"])
        records = read(old, 1)
        newer = eventlog.consumer("g", ["in"])
        assert values(read(newer, 1)) == [b"1"]
        with refused(PermanentError):
            old.commit(after(records), {"out": [new(b"twice")]})
        assert newer.committed() == {}
        assert read_rest(eventlog.consumer("h", ["out"])) == []

    def test_trim_by_age_keeps_what_a_group_has_not_committed(self, eventlog: EventLog) -> None:
        eventlog.append({"t": [new(b"%d" % n, n * SECOND) for n in range(10)]})
        consumer = eventlog.consumer("g", ["t"])
        consumer.commit(after(read(consumer, 10)[:6]))

        def trim(keep_s: int) -> int:
            return eventlog.trim("t", keep_ns=keep_s * SECOND, keep_bytes=FOREVER, now_ns=10 * SECOND)

        assert trim(keep_s=7) == 3  # those of the seconds 0, 1 and 2
        assert trim(keep_s=7) == 0
        assert trim(keep_s=0) == 3  # not those that the group has not committed
        assert values(read(eventlog.consumer("h", ["t"]), 4)) == [b"6", b"7", b"8", b"9"]

    def test_trim_by_size_removes_unread_records_too(self, eventlog: EventLog) -> None:
        eventlog.append({"t": [new(b"%d" % n) for n in range(10)]})
        consumer = eventlog.consumer("g", ["t"])
        first = read(consumer, 1, max_records=1)
        consumer.commit(after(first))
        assert eventlog.trim("t", keep_ns=FOREVER, keep_bytes=0, now_ns=0) == 10
        eventlog.append({"t": [new(b"next")]})
        # The consumer goes on with the oldest record that is left, and offsets are never given twice.
        (record,) = read(consumer, 1)
        assert record.value == b"next"
        assert record.offset > first[0].offset + 8
        consumer.seek(after(first))
        assert values(read(consumer, 1)) == [b"next"]
        assert sum(lag.records for lag in consumer.lag().values()) == 1

    def test_offsets_are_dense_also_after_a_trim(self, eventlog: EventLog) -> None:
        eventlog.append({"t": [new(b"0"), new(b"1")]})
        eventlog.trim("t", keep_ns=FOREVER, keep_bytes=0, now_ns=0)
        eventlog.append({"t": [new(b"2"), new(b"3")]})
        eventlog.append({"t": [new(b"4")]})
        assert [record.offset for record in read(eventlog.consumer("g", ["t"]), 3)] == [2, 3, 4]

    def test_a_group_that_polled_and_never_committed_protects_its_records(self, eventlog: EventLog) -> None:
        eventlog.append({"t": [new(b"0", 0), new(b"1", 1)]})
        consumer = eventlog.consumer("g", ["t"])
        read(consumer, 2)
        assert eventlog.trim("t", keep_ns=0, keep_bytes=FOREVER, now_ns=SECOND) == 0
        consumer.close()  # somebody who only had a look
        assert eventlog.trim("t", keep_ns=0, keep_bytes=FOREVER, now_ns=SECOND) == 2

    def test_a_full_log_refuses_and_goes_on_when_it_was_read(self, small: EventLog) -> None:
        consumer = small.consumer("g", ["t"])
        assert read_rest(consumer) == []
        appended = fill(small, "t")
        assert len(appended) > 5
        # What works the backlog off is never refused, or the log would stay full for good.
        records = read(consumer, 3, max_records=3)
        consumer.commit(after(records), {"out": [new(block(n)) for n in range(3)]})
        records += read_rest(consumer)
        consumer.commit(after(records))
        assert values(records) == appended
        more = fill(small, "t")
        assert len(more) > 3
        assert values(read(consumer, len(more))) == more
        assert values(read_rest(small.consumer("h", ["out"]))) == [block(n) for n in range(3)]
