"""The sink: nothing lost, nothing blocked, nothing dropped in silence."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable

import pyarrow as pa
import pytest
from prometheus_client import REGISTRY

from dimwatch import records
from dimwatch.clock import ManualClock
from dimwatch.errors import InvalidError, PermanentError, RetryableError
from dimwatch.eventlog.base import EventLog, NewRecord, Record
from dimwatch.eventlog.memory import MemoryEventLog
from dimwatch.store.sink import GROUP, TABLES, Sink, SinkLimits, conform


class ListTarget:
    """Keeps what is inserted; `fault` may raise before."""

    def __init__(self, fault: Callable[[str, pa.Table], None] | None = None) -> None:
        self.rows: dict[str, list[dict[str, object]]] = defaultdict(list)
        self.inserts = 0
        self._fault = fault

    def insert(self, table: str, rows: pa.Table) -> None:
        if self._fault is not None:
            self._fault(table, rows)
        self.inserts += 1
        self.rows[table].extend(rows.to_pylist())


@pytest.fixture
def log() -> EventLog:
    return MemoryEventLog()


def drops(*ids: str) -> pa.Table:
    return records.table_from_rows(
        records.DROP,
        [
            {"id": i, "time": 0, "tenant": "", "stage": "d", "signal": "x", "reason": "r", "count": 1, "version": 1}
            for i in ids
        ],
    )  # fmt: skip


def observations(*ids: str) -> pa.Table:
    filled: dict[str, object] = {
        field.name: "" if pa.types.is_string(field.type) else 0 for field in records.OBSERVATION
    }
    return records.table_from_rows(records.OBSERVATION, [filled | {"id": i} for i in ids])


def append(log: EventLog, topic: str, *values: bytes) -> None:
    log.append({topic: [NewRecord(value, timestamp_ns=i, headers={"tenant": "t"}) for i, value in enumerate(values)]})


def read(log: EventLog, topic: str) -> list[Record]:
    return log.consumer("test", [topic]).poll(max_records=10_000, max_bytes=1 << 30, timeout_s=0)


def drain(log: EventLog, target: ListTarget, limits: SinkLimits | None = None) -> None:
    sink = Sink(log, target, ManualClock(5), limits)
    consumer = log.consumer(GROUP, list(TABLES))
    while sink.step(consumer, timeout_s=0):
        pass
    consumer.close()


def test_records_of_all_topics_end_in_their_tables(log: EventLog) -> None:
    append(log, records.DROPS, *(records.encode(drops(str(i))) for i in range(50)))
    append(log, records.OBSERVATIONS, records.encode(observations("a", "b")), records.encode(observations()))
    target = ListTarget()
    drain(log, target)
    assert [row["id"] for row in target.rows["drop_versions"]] == [str(i) for i in range(50)]
    assert [row["id"] for row in target.rows["observation_versions"]] == ["a", "b"]
    assert target.inserts == 2, "small records share an insert"
    drain(log, target)
    assert target.inserts == 2, "committed records are not read again"


def test_large_backlogs_come_in_bounded_batches(log: EventLog) -> None:
    append(log, records.DROPS, *(records.encode(drops(str(i))) for i in range(50)))
    target = ListTarget()
    drain(log, target, SinkLimits(batch_records=20))
    assert target.inserts == 3


def test_offsets_are_committed_after_the_insert(log: EventLog) -> None:
    append(log, records.DROPS, records.encode(drops("a")))

    def crash(_table: str, _rows: pa.Table) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drain(log, ListTarget(crash))
    target = ListTarget()
    drain(log, target)
    assert [row["id"] for row in target.rows["drop_versions"]] == ["a"]


def test_a_store_that_is_away_is_waited_for(log: EventLog) -> None:
    append(log, records.DROPS, records.encode(drops("a")))
    attempts = []

    def away(table: str, _rows: pa.Table) -> None:
        attempts.append(table)
        if len(attempts) < 4:
            raise RetryableError("away")

    target = ListTarget(away)
    drain(log, target, SinkLimits(backoff_max_s=0.01))
    assert len(attempts) == 4
    assert len(target.rows["drop_versions"]) == 1
    assert read(log, records.DEAD_LETTERS) == []


def test_stopping_ends_the_wait_without_losing_the_batch(log: EventLog) -> None:
    append(log, records.DROPS, records.encode(drops("a")))
    waiting = threading.Event()

    def away(_table: str, _rows: pa.Table) -> None:
        waiting.set()
        raise RetryableError("away")

    sink = Sink(log, ListTarget(away), ManualClock())
    caught: list[BaseException] = []

    def run() -> None:
        try:
            sink.run()
        except RetryableError as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert waiting.wait(60)
    sink.stop()
    thread.join(60)
    assert not thread.is_alive()
    target = ListTarget()
    drain(log, target)
    assert len(target.rows["drop_versions"]) == 1


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"garbage",
        records.encode(observations("x"))[:-100],
        records.encode(drops("x")),
        records.encode(observations("x").drop_columns(["rule"])),
        records.encode(observations("x").append_column("extra", pa.array([1]))),
        records.encode(observations("x").set_column(3, "confidence", pa.array(["much"]))),
    ],
    ids=["empty", "garbage", "cut", "other topic", "column missing", "column unknown", "other type"],
)
def test_an_unreadable_record_becomes_a_dead_letter_and_blocks_nothing(log: EventLog, value: bytes) -> None:
    append(log, records.OBSERVATIONS, records.encode(observations("a")), value, records.encode(observations("b")))
    target = ListTarget()
    drain(log, target)
    assert [row["id"] for row in target.rows["observation_versions"]] == ["a", "b"]
    (letter,) = read(log, records.DEAD_LETTERS)
    assert letter.value == value
    assert letter.headers["tenant"] == "t"
    assert letter.headers["topic"] == "observations"
    assert letter.headers[records.HEADER_REASON].startswith("unreadable: ")
    (drop,) = target.rows["drop_versions"]
    assert (drop["stage"], drop["signal"], drop["reason"], drop["count"], drop["tenant"]) == (
        "sink", "observations", "unreadable", 1, "t",
    )  # fmt: skip


def test_columns_in_another_order_or_narrower_type_are_read(log: EventLog) -> None:
    table = drops("a")
    turned = table.select(list(reversed(table.column_names)))
    narrow = table.set_column(6, "count", pa.array([1], pa.int32()))
    append(log, records.DROPS, records.encode(turned), records.encode(narrow))
    target = ListTarget()
    drain(log, target)
    assert len(target.rows["drop_versions"]) == 2


def test_records_of_an_older_version_lack_columns_that_may_be_null() -> None:
    schema = pa.schema([pa.field("a", pa.int64(), nullable=False), pa.field("new", pa.string())])
    old = pa.table({"a": pa.array([1, 2], pa.int64())}, schema=pa.schema([schema.field("a")]))
    assert conform(old, schema).to_pydict() == {"a": [1, 2], "new": [None, None]}
    with pytest.raises(InvalidError, match="missing: a"):
        conform(old.rename_columns(["new"]), schema)


def test_the_store_refuses_one_record_and_the_others_go_in(log: EventLog) -> None:
    append(log, records.OBSERVATIONS, *(records.encode(observations(f"{i}a", f"{i}b")) for i in range(40)))

    def refuse(_table: str, rows: pa.Table) -> None:
        if "17a" in rows.column("id").to_pylist():
            raise InvalidError("no 17a here")

    target = ListTarget(refuse)
    drain(log, target)
    assert len(target.rows["observation_versions"]) == 78
    (letter,) = read(log, records.DEAD_LETTERS)
    assert letter.headers[records.HEADER_REASON] == "refused_by_store: no 17a here"
    (drop,) = target.rows["drop_versions"]
    assert (drop["reason"], drop["count"]) == ("refused_by_store", 2)


def test_when_most_records_are_refused_the_sink_stops_and_keeps_them(log: EventLog) -> None:
    append(log, records.OBSERVATIONS, *(records.encode(observations(str(i))) for i in range(40)))

    def refuse(_table: str, _rows: pa.Table) -> None:
        raise InvalidError("no such value")

    with pytest.raises(PermanentError, match=r"40 of the last 40 records .*no such value"):
        drain(log, ListTarget(refuse))
    assert read(log, records.DEAD_LETTERS) == []
    target = ListTarget()
    drain(log, target)
    assert len(target.rows["observation_versions"]) == 40


def test_what_is_no_records_fault_gives_up_none(log: EventLog) -> None:
    append(log, records.OBSERVATIONS, *(records.encode(observations(str(i))) for i in range(3)))

    def refuse(_table: str, _rows: pa.Table) -> None:
        raise PermanentError("no such table")

    with pytest.raises(PermanentError, match="no such table"):
        drain(log, ListTarget(refuse))
    assert read(log, records.DEAD_LETTERS) == []
    target = ListTarget()
    drain(log, target)
    assert len(target.rows["observation_versions"]) == 3


def test_inserts_into_several_tables_run_side_by_side_and_all_end_before_the_commit(log: EventLog) -> None:
    append(log, records.DROPS, records.encode(drops("a")))
    append(log, records.OBSERVATIONS, records.encode(observations("o")))
    both = threading.Barrier(2, timeout=60)

    def meet(_table: str, _rows: pa.Table) -> None:
        both.wait()

    target = ListTarget(meet)
    drain(log, target, SinkLimits(parallel=2))
    assert {table: len(rows) for table, rows in target.rows.items()} == {"drop_versions": 1, "observation_versions": 1}

    append(log, records.DROPS, records.encode(drops("b")))
    append(log, records.OBSERVATIONS, b"garbage", records.encode(observations("p")))
    ended = []

    def half(table: str, _rows: pa.Table) -> None:
        if table == "drop_versions":
            raise PermanentError("no such table")
        ended.append(table)

    with pytest.raises(PermanentError):
        drain(log, ListTarget(half), SinkLimits(parallel=2))
    assert ended == ["observation_versions"]
    target = ListTarget()
    drain(log, target)
    assert target.rows["drop_versions"][0]["id"] == "b", "nothing was committed"


def test_a_refused_drop_makes_no_more_drops(log: EventLog) -> None:
    append(log, records.DROPS, b"garbage")
    target = ListTarget()
    drain(log, target)
    assert target.rows["drop_versions"] == []
    assert len(read(log, records.DEAD_LETTERS)) == 1


def test_a_backlog_of_small_records_is_not_waited_for(log: EventLog) -> None:
    append(log, records.DROPS, *(records.encode(drops(str(i))) for i in range(20)))
    target = ListTarget(lambda *_: sink.stop() if target.inserts else None)
    sink = Sink(log, target, ManualClock(5), SinkLimits(batch_records=10, linger_s=3600.0))
    thread = threading.Thread(target=sink.run)
    thread.start()
    thread.join(60)
    sink.stop()
    thread.join(60)
    assert len(target.rows["drop_versions"]) == 20


def test_lag_is_told_for_all_partitions_together() -> None:
    log = MemoryEventLog(partitions=3)
    log.append(
        {
            records.OBSERVATIONS: [
                NewRecord(records.encode(observations(str(n))), timestamp_ns=n, partition=n % 3) for n in range(6)
            ]
        }
    )
    sink = Sink(log, ListTarget(lambda *_: sink.stop()), ManualClock(5), SinkLimits(batch_records=1))
    sink.run()
    labels = {"group": GROUP, "topic": records.OBSERVATIONS}
    assert REGISTRY.get_sample_value("dimwatch_lag_records", labels) == 5
