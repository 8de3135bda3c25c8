"""The contract of an eventlog whose partitions many members share, as tests: more than `testing` has for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from dimwatch import records as records_
from dimwatch.errors import PermanentError
from dimwatch.eventlog.base import Consumer, EventLog, NewRecord, Record, TopicPartition
from dimwatch.eventlog.partitioning import partition_of
from dimwatch.eventlog.testing import FOREVER, EventLogContract, after, new, read, read_rest, refused, until, values

MANY: Final = 4
SPREAD: Final = records_.SPANS
BESIDE: Final = records_.TRACES
SINGLE: Final = records_.INCIDENTS


class Group:
    """Members of a group over partitions, polled in turn as their processes would."""

    def __init__(self, log: EventLog, topics: Sequence[str]) -> None:
        self._log = log
        self._topics = topics
        self.members: list[Consumer] = []
        self.read: dict[Consumer, list[Record]] = {}

    def add(self, count: int) -> None:
        """Members that join with the next poll."""
        for _ in range(count):
            member = self._log.consumer("group", self._topics)
            self.members.append(member)
            self.read[member] = []

    def poll(self) -> None:
        """Poll each once, at the same time: that is when members give up and take partitions."""

        def poll(member: Consumer) -> None:
            self.read[member] += member.poll(max_records=1000, max_bytes=FOREVER, timeout_s=0.1)

        with ThreadPoolExecutor(len(self.members)) as threads:
            for done in [threads.submit(poll, member) for member in self.members]:
                done.result()

    def poll_until(self, happened: Callable[[], bool]) -> None:
        """Poll until it is true."""

        def look() -> bool:
            self.poll()
            return happened()

        until(look)

    def settle(self) -> None:
        """Until every partition is with one member, in shares as equal as can be."""
        every = {TopicPartition(topic, n) for topic in self._topics for n in range(self._log.partitions(topic))}

        def settled() -> bool:
            shares = [member.assignment() for member in self.members]
            numbers = [len({partition.partition for partition in share}) for share in shares]
            return sum(map(len, shares)) == len(every) == len(set().union(*shares)) and max(numbers) - min(numbers) < 2

        self.poll_until(settled)

    def close(self) -> None:
        """All leave."""
        for member in self.members:
            member.close()


class SharedEventLogContract(EventLogContract):
    """What the eventlogs keep whose members of a group share partitions.

    It needs one more fixture: `shared`, an eventlog with `MANY` partitions of the topics that are partitioned.
    """

    def test_partitioned_topics_have_many_partitions_and_others_one(self, shared: EventLog) -> None:
        assert (shared.partitions(SPREAD), shared.partitions(BESIDE), shared.partitions(SINGLE)) == (MANY, MANY, 1)
        records = [NewRecord(b"%d" % n, n, partition=n) for n in range(MANY)]
        shared.append({SPREAD: records})
        assert {(record.partition, record.value) for record in read(shared.consumer("g", [SPREAD]), MANY)} == {
            (n, b"%d" % n) for n in range(MANY)
        }

    def test_a_key_is_always_on_the_partition_that_kafka_gives_it(self, shared: EventLog) -> None:
        keys = [b"%032x" % n for n in range(40)]
        for _ in range(2):
            shared.append({SPREAD: [NewRecord(b"", 0, key=key) for key in keys]})
        records = read(shared.consumer("g", [SPREAD]), 80)
        assert {(record.key, record.partition) for record in records} == {
            (key, partition_of(key, MANY)) for key in keys
        }
        assert len({record.partition for record in records}) > 1

    def test_members_share_the_same_partitions_of_every_topic(self, shared: EventLog) -> None:
        group = Group(shared, [SPREAD, BESIDE, SINGLE])
        group.add(2)
        group.settle()
        one, two = (member.assignment() for member in group.members)
        for topic in (SPREAD, BESIDE):
            assert sorted(len([p for p in share if p.topic == topic]) for share in (one, two)) == [MANY // 2] * 2
        for share in (one, two):
            numbers = {p.partition for p in share if p.topic == SPREAD}
            assert numbers == {p.partition for p in share if p.topic == BESIDE}
            assert {p.partition for p in share if p.topic == SINGLE} == numbers & {0}
        group.close()

    def test_a_member_that_comes_takes_only_its_share(self, shared: EventLog) -> None:
        group = Group(shared, [SPREAD])
        group.add(2)
        group.settle()
        before = [member.assignment() for member in group.members]
        group.add(1)
        group.settle()
        after_all = [member.assignment() for member in group.members]
        assert sorted(len(share) for share in after_all) == [1, 1, 2]
        assert all(now <= was for now, was in zip(after_all, before, strict=False))
        group.close()

    def test_what_a_member_leaves_is_read_on_from_its_commit(self, shared: EventLog) -> None:
        group = Group(shared, [SPREAD])
        group.add(2)
        group.settle()
        leaver, stayer = group.members
        mine = {partition.partition for partition in leaver.assignment()}
        shared.append({SPREAD: [NewRecord(b"%d" % n, n, partition=n % MANY) for n in range(20)]})
        group.poll_until(lambda: len(group.read[leaver]) == len(group.read[stayer]) == 10)
        leaver.commit(after([record for record in group.read[leaver] if record.timestamp_ns < 10]))
        leaver.close()
        group.members.remove(leaver)
        group.read[stayer].clear()
        left = [n for n in range(10, 20) if n % MANY in mine]
        group.poll_until(lambda: len(group.read[stayer]) >= len(left))
        assert sorted(record.timestamp_ns for record in group.read[stayer]) == left
        group.close()

    def test_records_of_all_partitions_come_by_record_time(self, shared: EventLog) -> None:
        shared.append({SPREAD: [NewRecord(b"%d" % n, n, partition=(7 * n) % MANY) for n in range(50)]})
        assert values(read(shared.consumer("g", [SPREAD]), 50)) == [b"%d" % n for n in range(50)]

    def test_a_member_that_lost_its_partitions_commits_nothing(
        self, shared: EventLog, lose: Callable[[EventLog, Consumer], None]
    ) -> None:
        shared.append({SPREAD: [NewRecord(b"%d" % n, n, partition=n % MANY) for n in range(8)]})
        paused = shared.consumer("g", [SPREAD])
        records = read(paused, 8)
        lose(shared, paused)
        other = shared.consumer("g", [SPREAD])
        assert values(read(other, 8)) == values(records)
        with refused(PermanentError):
            paused.commit(after(records), {SINGLE: [new(b"twice")]})
        other.commit(after(records[:4]), {SINGLE: [new(b"once")]})
        assert other.committed() == after(records[:4])
        assert values(read_rest(shared.consumer("h", [SINGLE]))) == [b"once"]
