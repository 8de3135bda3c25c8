"""The sink: topics of `records.SCHEMAS` into their tables.

Small records are gathered into inserts by size and age, so that a row is visible within a second or two of its
record and the engine still gets large parts under load. Offsets are committed after the insert has returned;
what a crash in between repeats is the same rows, which the tables hold once.

A record that cannot be read, or that the store refuses for good, goes to `dead_letters` and is counted in
`drops`. When most of what comes is refused, the fault is ours and the sink stops before it empties the topic.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

import pyarrow as pa
import structlog
import xxhash

from dimwatch import records, telemetry
from dimwatch.clock import Clock
from dimwatch.errors import InvalidError, PermanentError, RetryableError
from dimwatch.eventlog.base import Consumer, EventLog, NewRecord, Record, TopicPartition
from dimwatch.eventlog.letters import dead_letter

T = TypeVar("T")

GROUP: Final = "store"
TABLES: Final = {
    records.SPANS: "span_versions",
    records.TRACES: "trace_versions",
    records.OBSERVATIONS: "observation_versions",
    records.DROPS: "drop_versions",
    records.WINDOWS: "window_versions",
    records.WINDOW_SIGHTINGS: "sighting_versions",
    records.CHANGES: "change_versions",
    records.INCIDENTS: "incident_versions",
    records.ORDERS: "order_versions",
    records.SHADOW_ALERTS: "shadow_alert_versions",
    records.DELIVERIES: "delivery_versions",
    records.CANARIES: "canary_versions",
}
VIEWS: Final = {topic: f"{table.removesuffix('_versions')}s".replace("ys", "ies") for topic, table in TABLES.items()}
"""What people read: each row once."""

_LOOK_S: Final = 10.0
"""How often the lag is told: on Kafka it is a dozen questions to the brokers."""
_FULL: Final = 0.5
"""A batch that fills so much of its bounds, in bytes or records, is followed by the next at once: more waits."""

_log = structlog.get_logger()


class Target(Protocol):
    """Where rows go: `EngineTarget`, or `StoreClient` for a ClickHouse server."""

    def insert(self, table: str, rows: pa.Table) -> None:
        """Insert, and return when the rows are on disk.

        Raises RetryableError when it may work later, InvalidError when these rows are at fault, PermanentError when
        every insert would fail.
        """
        ...


@dataclass(frozen=True, slots=True)
class SinkLimits:
    """How much is gathered, and how much may be wrong."""

    batch_bytes: int = 8 << 20
    """Of encoded records; the rows are about three times as large."""
    batch_records: int = 4_000
    linger_s: float = 0.4
    """Least time between two inserts, to gather what comes one by one."""
    invalid_window: int = 100
    invalid_ratio: float = 0.5
    backoff_max_s: float = 15.0
    parallel: int = 1
    """Inserts into different tables at the same time: for a server, whose answers take their time."""


@dataclass(slots=True)
class _Refused:
    record: Record
    reason: str
    detail: str
    rows: int


@dataclass(slots=True)
class _Batch:
    """What one insert a table takes, and what cannot be inserted."""

    tables: dict[str, list[tuple[Record, pa.Table]]] = field(default_factory=lambda: defaultdict(list))
    refused: list[_Refused] = field(default_factory=list)
    offsets: dict[TopicPartition, int] = field(default_factory=dict)


class Sink:
    """Moves records into tables until it is stopped. Runs in one thread; `stop` may come from another."""

    def __init__(self, eventlog: EventLog, target: Target, clock: Clock, limits: SinkLimits | None = None) -> None:
        self._eventlog = eventlog
        self._target = target
        self._clock = clock
        self._limits = limits or SinkLimits()
        self._stop = threading.Event()
        parallel = self._limits.parallel
        self._pool = ThreadPoolExecutor(parallel, thread_name_prefix="insert") if parallel > 1 else None
        self._verdicts: deque[bool] = deque(maxlen=self._limits.invalid_window)
        """Whether each of the last records was refused."""

    def stop(self) -> None:
        """Ask `run` to finish the batch at hand and return."""
        self._stop.set()

    def run(self) -> None:
        """Consume until stopped. Raises PermanentError when going on would lose records."""
        consumer = self._eventlog.consumer(GROUP, list(TABLES))
        try:
            look_at = 0.0
            while not self._stop.is_set():
                started = time.monotonic()
                share = self.step(consumer, timeout_s=0.2)
                if time.monotonic() >= look_at:
                    self._look(consumer)
                    look_at = time.monotonic() + _LOOK_S
                if 0 < share < _FULL:
                    self._stop.wait(max(0.0, self._limits.linger_s - (time.monotonic() - started)))
        finally:
            consumer.close()

    def step(self, consumer: Consumer, *, timeout_s: float) -> float:
        """Move one batch, if there is one, and return its share of the bounds. Waits as long as the store is away."""
        polled = self._retrying(
            lambda: consumer.poll(
                max_records=self._limits.batch_records,
                max_bytes=self._limits.batch_bytes,
                timeout_s=timeout_s,
            ),
            "eventlog",
        )
        if not polled:
            return 0.0
        with telemetry.STAGE_SECONDS.labels(stage="sink").time():
            batch = self._read(polled)
            self._insert_all(batch)
            self._judge(polled, batch.refused)
            outputs = self._outputs(batch.refused)
            self._retrying(lambda: consumer.commit(batch.offsets, outputs), "eventlog")
        self._report(batch.refused)
        size = sum(len(record.value) for record in polled)
        return max(len(polled) / self._limits.batch_records, size / self._limits.batch_bytes)

    def _read(self, polled: Sequence[Record]) -> _Batch:
        batch = _Batch()
        for record in polled:
            batch.offsets[TopicPartition(record.topic, record.partition)] = record.offset + 1
            try:
                table = conform(records.decode(record.value), records.SCHEMAS[record.topic])
            except InvalidError as error:
                batch.refused.append(_Refused(record, "unreadable", str(error), 1))
                continue
            if table.num_rows:
                batch.tables[record.topic].append((record, table))
        return batch

    def _insert_all(self, batch: _Batch) -> None:
        """One insert a table. All have ended when this returns or raises, so that none runs on into the next batch."""
        if self._pool is None:
            for topic, parts in batch.tables.items():
                self._insert(topic, parts, batch.refused)
            return
        inserts = [
            self._pool.submit(self._insert, topic, parts, batch.refused) for topic, parts in batch.tables.items()
        ]
        wait(inserts)
        for insert in inserts:
            insert.result()

    def _insert(self, topic: str, parts: list[tuple[Record, pa.Table]], refused: list[_Refused]) -> None:
        """Insert all parts; if the store refuses them together, halve until the ones at fault stand alone.

        Raises PermanentError for what is no record's fault: then none is given up.
        """
        table = TABLES[topic]
        # In one piece: the engine takes as long for a block of a few rows as for one of many.
        rows = pa.concat_tables([part for _, part in parts]).combine_chunks()
        try:
            self._retrying(lambda: self._target.insert(table, rows), table)
        except PermanentError:
            telemetry.SINK_ERRORS.labels(table=table, kind="permanent").inc()
            raise
        except InvalidError as error:
            telemetry.SINK_ERRORS.labels(table=table, kind="poison").inc()
            if len(parts) == 1:
                refused.append(_Refused(parts[0][0], "refused_by_store", str(error), rows.num_rows))
                return
            middle = len(parts) // 2
            self._insert(topic, parts[:middle], refused)
            self._insert(topic, parts[middle:], refused)
        else:
            telemetry.SINK_ROWS.labels(table=table).inc(rows.num_rows)

    def _judge(self, polled: Sequence[Record], refused: Sequence[_Refused]) -> None:
        """Raise PermanentError when so many records are refused that the fault must be on our side."""
        bad = {(r.record.topic, r.record.partition, r.record.offset) for r in refused}
        for record in polled:
            self._verdicts.append((record.topic, record.partition, record.offset) in bad)
        if bad and len(self._verdicts) >= 10 and sum(self._verdicts) > self._limits.invalid_ratio * len(self._verdicts):
            share = f"{sum(self._verdicts)} of the last {len(self._verdicts)} records"
            self._verdicts.clear()
            raise PermanentError(
                f"the sink stops: {share} were refused ({refused[-1].detail[:300]}). Nothing was skipped. Is"
                " the database migrated, and do worker and store run the same version?"
            )

    def _outputs(self, refused: Sequence[_Refused]) -> dict[str, list[NewRecord]]:
        """Dead letters, and the rows of `drops` that count them."""
        if not refused:
            return {}
        letters, rows = [], []
        for item in refused:
            record = item.record
            letters.append(dead_letter(record, "sink", f"{item.reason}: {item.detail}", self._clock.now_ns()))
            if record.topic != records.DROPS:  # a drop of a drop would never end
                rows.append(_drop_row(item))
        outputs = {records.DEAD_LETTERS: letters}
        if rows:
            table = records.table_from_rows(records.DROP, rows)
            outputs[records.DROPS] = [NewRecord(records.encode(table), self._clock.now_ns())]
        return outputs

    def _report(self, refused: Sequence[_Refused]) -> None:
        for item in refused:
            labels = {"stage": "sink", "signal": item.record.topic, "reason": item.reason}
            telemetry.DROPPED.labels(**labels).inc(item.rows)
            _log.warning("record moved to dead letters", offset=item.record.offset, detail=item.detail[:300], **labels)

    def _look(self, consumer: Consumer) -> None:
        """Tell how far behind the group is."""
        behind: Counter[str] = Counter()
        try:
            for partition, count in consumer.behind().items():
                behind[partition.topic] += count
        except RetryableError:
            telemetry.SINK_ERRORS.labels(table="eventlog", kind="retryable").inc()
            return
        for topic, count in behind.items():
            telemetry.LAG_RECORDS.labels(group=GROUP, topic=topic).set(count)

    def _retrying(self, call: Callable[[], T], what: str) -> T:
        """Call until it succeeds, waiting longer each time; gives up only when stopped."""
        for wait_s in _waits(self._limits.backoff_max_s):
            try:
                return call()
            except RetryableError as error:
                telemetry.SINK_ERRORS.labels(table=what, kind="retryable").inc()
                _log.warning("sink waits", on=what, retry_in_s=wait_s, error=str(error)[:500])
                if self._stop.wait(wait_s):
                    raise
        raise AssertionError("unreachable")


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table in the schema's columns and types. Raises InvalidError when it lacks some or holds others.

    A column that may be null may also be missing: a record of an older version does not know it.
    """
    if table.schema.equals(schema):
        return table
    names = set(table.column_names)
    for column in schema:
        if column.name not in names and column.nullable:
            table = table.append_column(column, pa.nulls(table.num_rows, column.type))
            names.add(column.name)
    if missing := [name for name in schema.names if name not in names]:
        raise InvalidError(f"columns are missing: {', '.join(missing)}")
    if unknown := names - set(schema.names):
        raise InvalidError(f"columns are unknown: {', '.join(sorted(unknown))}")
    try:
        return table.select(schema.names).cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise InvalidError(f"columns have other types: {error}") from error


def _drop_row(item: _Refused) -> dict[str, object]:
    record = item.record
    place = f"{record.topic}/{record.partition}/{record.offset}"
    return {
        "id": xxhash.xxh3_128_hexdigest(f"sink {place} {record.timestamp_ns}".encode()),
        "time": record.timestamp_ns,
        "tenant": record.headers.get(records.HEADER_TENANT, ""),
        "stage": "sink",
        "signal": record.topic,
        "reason": item.reason,
        "count": item.rows,
        "version": 1,
    }


def _waits(longest_s: float) -> Iterator[float]:
    wait_s = 0.1
    while True:
        yield wait_s
        wait_s = min(2 * wait_s, longest_s)
