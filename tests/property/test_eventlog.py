"""Any sequence of calls leaves an eventlog as a list and a few numbers would be."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from dimwatch.eventlog.base import Consumer, EventLog, NewRecord, Record, TopicPartition
from dimwatch.eventlog.memory import MemoryEventLog
from dimwatch.eventlog.sqlite import SqliteEventLog

TOPICS = ("a", "b")
GROUPS = ("g", "h")

new_records = st.builds(
    NewRecord,
    value=st.one_of(st.binary(max_size=40), st.integers(200, 2000).map(lambda size: b"text " * size)),
    timestamp_ns=st.integers(0, 20),
    key=st.binary(max_size=4),
    headers=st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=2),
)
batches = st.dictionaries(st.sampled_from(TOPICS), st.lists(new_records, max_size=4))
topics = st.sampled_from(TOPICS)
groups = st.sampled_from(GROUPS)


class EventLogMachine(RuleBasedStateMachine):
    """The model: all records ever appended, the oldest kept, and each group's committed and read offsets."""

    def __init__(self) -> None:
        super().__init__()
        self.log = self.make()
        self.records: dict[str, list[NewRecord]] = {topic: [] for topic in TOPICS}
        self.oldest = dict.fromkeys(TOPICS, 0)
        self.committed: dict[tuple[str, str], int] = {}
        self.positions: dict[tuple[str, str], int] = {}
        self.joined: set[str] = set()
        self.consumers: dict[str, Consumer] = {}
        self.restart_consumers()

    def make(self) -> EventLog:
        raise NotImplementedError

    def restart_consumers(self) -> None:
        for group in GROUPS:
            self.restart_consumer(group)

    def teardown(self) -> None:
        self.log.close()

    @rule(batch=batches)
    def append(self, batch: dict[str, list[NewRecord]]) -> None:
        self.log.append(batch)
        for topic, records in batch.items():
            self.records[topic] += records

    @rule(group=groups, max_records=st.integers(1, 6), max_bytes=st.sampled_from([1, 60, 10**9]))
    def poll(self, group: str, max_records: int, max_bytes: int) -> None:
        for topic in TOPICS:  # the position is decided at the first poll, if no seek did
            self.positions.setdefault((group, topic), self.committed.get((group, topic), 0))
        found = self.consumers[group].poll(max_records=max_records, max_bytes=max_bytes, timeout_s=0)
        self.joined.add(group)
        expected: list[Record] = []
        size = 0
        while len(expected) < max_records:
            heads = []
            for topic in TOPICS:
                offset = max(self.positions[group, topic], self.oldest[topic])
                if offset < len(self.records[topic]):
                    head = self.records[topic][offset]
                    heads.append(Record(topic, 0, offset, head.timestamp_ns, head.value, head.key, head.headers))
            if not heads:
                break
            following = min(heads, key=lambda record: record.timestamp_ns)
            size += len(following.value)
            if expected and size > max_bytes:
                break
            expected.append(following)
            self.positions[group, following.topic] = following.offset + 1
        assert found == expected

    @rule(group=groups, topic=topics, back=st.integers(0, 3), outputs=batches)
    def commit(self, group: str, topic: str, back: int, outputs: dict[str, list[NewRecord]]) -> None:
        offset = max(0, self.positions.get((group, topic), 0) - back)
        self.consumers[group].commit({TopicPartition(topic): offset}, outputs)
        self.committed[group, topic] = offset
        for name, records in outputs.items():
            self.records[name] += records

    @rule(group=groups, topic=topics, offset=st.integers(0, 30))
    def seek(self, group: str, topic: str, offset: int) -> None:
        self.consumers[group].seek({TopicPartition(topic): offset})
        self.positions[group, topic] = offset

    @rule(group=groups)
    def restart_consumer(self, group: str) -> None:
        if group in self.consumers:
            self.consumers[group].close()
        self.joined.discard(group)
        self.consumers[group] = self.log.consumer(group, TOPICS)
        for topic in TOPICS:
            self.positions.pop((group, topic), None)

    @rule(topic=topics, keep_ns=st.integers(0, 20), keep_bytes=st.sampled_from([0, 10**12]))
    def trim(self, topic: str, keep_ns: int, keep_bytes: int) -> None:
        removed = self.log.trim(topic, keep_ns=keep_ns, keep_bytes=keep_bytes, now_ns=20)
        reading = [
            self.committed.get((group, topic), 0)
            for group in GROUPS
            if group in self.joined or (group, topic) in self.committed
        ]
        expected = 0
        for offset in range(self.oldest[topic], len(self.records[topic])):
            old = self.records[topic][offset].timestamp_ns < 20 - keep_ns
            if keep_bytes and not (old and all(offset < committed for committed in reading)):
                break
            expected += 1
        assert removed == expected
        self.oldest[topic] += expected

    @rule(group=groups)
    def look(self, group: str) -> None:
        consumer = self.consumers[group]
        assert consumer.committed() == {
            TopicPartition(topic): self.committed[group, topic] for topic in TOPICS if (group, topic) in self.committed
        }
        for topic in TOPICS:
            start = max(self.oldest[topic], self.committed.get((group, topic), 0))
            unread = self.records[topic][start:]
            lag = consumer.lag()[TopicPartition(topic)]
            assert lag.records == len(unread)
            span = unread[-1].timestamp_ns - unread[0].timestamp_ns if unread else 0
            assert lag.seconds == max(0, span) / 1e9


class MemoryMachine(EventLogMachine):
    def make(self) -> EventLog:
        return MemoryEventLog()


class SqliteMachine(EventLogMachine):
    def make(self) -> EventLog:
        self.folder = tempfile.TemporaryDirectory()
        return SqliteEventLog(Path(self.folder.name) / "eventlog.sqlite", max_bytes=10**9)

    @precondition(lambda self: any(self.records.values()))
    @rule()
    def reopen(self) -> None:
        self.log.close()
        self.log = SqliteEventLog(Path(self.folder.name) / "eventlog.sqlite", max_bytes=10**9)
        self.restart_consumers()

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()


TestMemory = MemoryMachine.TestCase
TestMemory.settings = settings(max_examples=30, deadline=None)
TestSqlite = SqliteMachine.TestCase
TestSqlite.settings = settings(
    max_examples=20, deadline=None, stateful_step_count=40, suppress_health_check=[HealthCheck.too_slow]
)
