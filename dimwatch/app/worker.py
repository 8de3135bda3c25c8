"""The worker process: reads OTLP from the eventlog, writes spans, traces, observations and drops to it.

Outputs are appended as they come and are idempotent by content; the group's offsets move only with a checkpoint,
and never past a record that an open trace still needs. What a crash undoes is read and judged again, with the same
result. docs/adr/0003 says why that is right at every point.
"""

from __future__ import annotations

import signal
import threading
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog
import xxhash

from detectors.traces import checkpoint
from dimwatch import records, telemetry
from dimwatch.app.health import Heart
from dimwatch.app.pipeline import Output, Pipeline
from dimwatch.app.ticks import TickClock, by_tick
from dimwatch.clock import NS_PER_SECOND, Clock, SystemClock
from dimwatch.eventlog import open_eventlog
from dimwatch.eventlog.base import EventLog, NewRecord, Record, TopicPartition
from dimwatch.settings import MIB, Settings
from ingest.normalize import Request

GROUP: Final = "worker"
SOURCES: Final = (records.OTLP_SPANS, records.OTLP_LOGS)
_POLL_RECORDS: Final = 256
_POLL_BYTES: Final = 16 * MIB
_POLL_S: Final = 0.25
_IDLE_NS: Final = NS_PER_SECOND // 2
"""Without records the clock moves record time on, this long after the tick's end: a record may still be on its way."""
_CHECKPOINT_NS: Final = 2 * NS_PER_SECOND
_PARK_NS: Final = 10 * NS_PER_SECOND
"""Traces that have been open for longer are kept in the checkpoint, so that they do not hold back the offsets."""
_PARKED_BYTES_PER_NS: Final = 4 * MIB / NS_PER_SECOND
"""A checkpoint of this many bytes more comes a nanosecond later: large ones must not fill the log."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Read:
    """A run of records: its number, its record time, and the offsets at which to read it again."""

    sequence: int
    time_ns: int
    offsets: dict[TopicPartition, int]


class Worker:
    """One worker over one eventlog."""

    def __init__(self, settings: Settings, log: EventLog, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._pipeline = Pipeline(settings)
        self._consumer = log.consumer(GROUP, SOURCES)
        self._tick = TickClock()
        self._tick_drops: Counter[tuple[str, str]] = Counter()
        self._sequence = 0
        self._read: deque[_Read] = deque()
        """What was read since the oldest open trace that is not in the checkpoint."""
        self._replay_until: dict[str, int] = {}
        """By topic: records before this offset were processed by the process before this one."""
        self._dirty = False
        self._next: dict[TopicPartition, int] = dict(self._consumer.committed())
        self._checkpoint_due_ns = 0
        self._restore()

    def step(self, timeout_s: float = _POLL_S) -> int:
        """Read and process one batch; return how many records it had."""
        batch = self._consumer.poll(max_records=_POLL_RECORDS, max_bytes=_POLL_BYTES, timeout_s=timeout_s)
        for tick, run in by_tick(batch, lambda record: record.timestamp_ns):
            self._finish_tick(tick)
            self._process(run)
        now_ns = self._clock.now_ns()
        if not batch and now_ns >= self._tick.end_ns + _IDLE_NS:
            self._finish_tick((now_ns - _IDLE_NS) // NS_PER_SECOND)
        if now_ns >= self._checkpoint_due_ns and self._dirty:
            self.checkpoint()
        return len(batch)

    def checkpoint(self) -> None:
        """Move the committed offsets as far as the open traces allow, with what is needed to go on from there."""
        assembler = self._pipeline.assembler
        now_ns = self._clock.now_ns()
        young = next((at.sequence for at in self._read if at.time_ns >= now_ns - _PARK_NS), self._sequence)
        oldest = assembler.oldest_record(since=young)
        base = self._sequence if oldest is None else oldest
        while self._read and self._read[0].sequence < base:
            self._read.popleft()
        offsets = self._read[0].offsets if self._read else dict(self._next)
        read_until = {topic: next_ for (topic, _), next_ in self._next.items()}
        value = checkpoint.encode(assembler.snapshot(base), read_until)
        self._consumer.commit(offsets, {records.CHECKPOINTS: [NewRecord(value=value, timestamp_ns=now_ns)]})
        self._log.trim(records.CHECKPOINTS, keep_ns=60 * NS_PER_SECOND, keep_bytes=512 * MIB, now_ns=now_ns)
        self._checkpoint_due_ns = now_ns + _CHECKPOINT_NS + int(len(value) / _PARKED_BYTES_PER_NS)
        self._dirty = False

    def close(self) -> None:
        """Write a last checkpoint and leave the group."""
        self.checkpoint()
        self._consumer.close()

    def _restore(self) -> None:
        reader = self._log.consumer("worker-restore", [records.CHECKPOINTS])
        newest: Record | None = None
        while batch := reader.poll(max_records=64, max_bytes=_POLL_BYTES, timeout_s=0.0):
            newest = batch[-1]
        reader.close()
        if newest is not None:
            state, self._replay_until = checkpoint.read(newest.value)
            self._pipeline.assembler.restore(state)
            _log.info("worker restored", open_traces=self._pipeline.assembler.open_traces)

    def _process(self, run: Sequence[Record]) -> None:
        now_ns = max(record.timestamp_ns for record in run)
        self._read.append(_Read(self._sequence, now_ns, dict(self._next)))
        self._dirty = True
        requests: dict[str, list[Request]] = {topic: [] for topic in SOURCES}
        again = False
        for record in run:
            requests[record.topic].append(
                Request(record.value, record.timestamp_ns, record.headers.get(records.HEADER_TENANT, ""))
            )
            self._next[TopicPartition(record.topic, record.partition)] = record.offset + 1
            again = again or record.offset < self._replay_until.get(record.topic, 0)
        if not again:
            self._pipeline.assembler.caught_up()
        with telemetry.STAGE_SECONDS.labels("decode").time():
            output = self._pipeline.add(
                requests[records.OTLP_SPANS], requests[records.OTLP_LOGS], now_ns=now_ns, record=self._sequence
            )
        self._sequence += 1
        self._write(output, now_ns)

    def _finish_tick(self, tick: int) -> None:
        """Judge what is over at the end of the current tick, and go on to `tick`."""
        end_ns = self._tick.end_ns
        if not self._tick.moves(tick * NS_PER_SECOND):
            return
        with telemetry.STAGE_SECONDS.labels("judge").time():
            output = self._pipeline.advance(end_ns)
        self._dirty = self._dirty or bool(output.closed)
        self._write(output, end_ns)
        self._write_drops(end_ns)
        # A clock that jumps (no traffic for a while) passes over ticks in which nothing could come to an end
        # but what was open: judge that too.
        if tick * NS_PER_SECOND > end_ns:
            self._write(self._pipeline.advance(tick * NS_PER_SECOND), tick * NS_PER_SECOND)
        telemetry.OPEN_TRACES.set(self._pipeline.assembler.open_traces)

    def _write(self, output: Output, now_ns: int) -> None:
        batch: dict[str, list[NewRecord]] = {}
        for topic, tables in (
            (records.SPANS, output.spans),
            (records.TRACES, output.traces),
            (records.OBSERVATIONS, output.observations),
        ):
            values = [records.encode(table) for table in tables if table.num_rows]
            if values:
                batch[topic] = [NewRecord(value=value, timestamp_ns=now_ns) for value in values]
        for request, reason in output.malformed:
            self._tick_drops["requests", "malformed"] += 1
            batch.setdefault(records.DEAD_LETTERS, []).append(
                NewRecord(request.body, now_ns, headers={records.HEADER_REASON: reason[:500]})
            )
        self._tick_drops.update(output.dropped)
        if batch:
            self._log.append(batch)
        _count(output)

    def _write_drops(self, tick_end_ns: int) -> None:
        if not self._tick_drops:
            return
        rows = [
            {
                "id": xxhash.xxh3_128_hexdigest(f"worker\x1f{tick_end_ns}\x1f{signal_}\x1f{reason}".encode()),
                "time": tick_end_ns,
                "tenant": "",
                "stage": "worker",
                "signal": signal_,
                "reason": reason,
                "count": count,
                "version": tick_end_ns,
            }
            for (signal_, reason), count in self._tick_drops.items()
        ]
        for row in rows:
            telemetry.DROPPED.labels("worker", row["signal"], row["reason"]).inc(float(str(row["count"])))
        value = records.encode(records.table_from_rows(records.DROP, rows))
        self._log.append({records.DROPS: [NewRecord(value=value, timestamp_ns=tick_end_ns)]})
        self._tick_drops.clear()


def _count(output: Output) -> None:
    for cause, count in output.closed.items():
        telemetry.CLOSED_TRACES.labels(cause).inc(count)
    for table in output.observations:
        for rule, count in Counter(table["rule"].to_pylist()).items():
            telemetry.OBSERVATIONS_FOUND.labels(rule).inc(count)
    first_rows = output.spans[:1] if not output.closed else []
    telemetry.PROCESSED_SPANS.inc(sum(table.num_rows for table in first_rows))


def run(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT, then write a checkpoint."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    log = open_eventlog(settings)
    worker = Worker(settings, log, SystemClock())
    heart = Heart(settings.data, "worker")
    try:
        while not stop.is_set():
            worker.step()
            heart.beat()
        worker.close()
    finally:
        log.close()
