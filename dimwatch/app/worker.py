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

import pyarrow as pa
import structlog
import xxhash

from detectors.traces import checkpoint
from detectors.windows.points import merged, merged_sightings, split
from dimwatch import records, telemetry
from dimwatch.app.pipeline import Output, Pipeline
from dimwatch.app.standalone import Health
from dimwatch.clock import NS_PER_SECOND, Clock, SystemClock
from dimwatch.errors import InvalidError
from dimwatch.eventlog import open_eventlog
from dimwatch.eventlog.base import EventLog, NewRecord, Record, TopicPartition
from dimwatch.eventlog.newest import newest
from dimwatch.settings import MIB, Settings
from dimwatch.tracing import span
from ingest.normalize import Request

GROUP: Final = "worker"
SOURCE: Final = "worker"
"""Names the worker on the points that it writes: the same after a restart."""
SOURCES: Final = (records.OTLP_SPANS, records.OTLP_LOGS)
_POLL_RECORDS: Final = 256
_POLL_BYTES: Final = 16 * MIB
_POLL_S: Final = 0.25
_BEHIND_NS: Final = NS_PER_SECOND
_CHECKPOINT_NS: Final = 2 * NS_PER_SECOND
_PARK_NS: Final = 10 * NS_PER_SECOND
"""Traces that have been open for longer are kept in the checkpoint, so that they do not hold back the offsets."""
_PARKED_BYTES_PER_NS: Final = 4 * MIB / NS_PER_SECOND
"""A checkpoint of this many bytes more comes a nanosecond later: large ones must not fill the log."""

_HEARTBEAT_NS: Final = 10 * NS_PER_SECOND
"""Record time after which the fleet stage is told how far the worker has judged, also when nothing happened."""
_POINTS_A_RECORD: Final = 20_000
_PARTS: Final = 64
"""Tables of points that are kept before they are merged."""

_RESTORE_CHECKPOINTS: Final = 4
"""How many are looked at, in case that the last can not be read."""
_RESTORE_TRACES: Final = 512
"""How many records of trace rows are read after a restart, for late spans to be added to."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Read:
    """A run of records: its number, its first and last record time, and the offsets at which to read it again."""

    sequence: int
    first_ns: int
    time_ns: int
    offsets: dict[TopicPartition, int]


class Worker:
    """One worker over one eventlog."""

    def __init__(self, settings: Settings, log: EventLog, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._pipeline = Pipeline(settings, recoverable=True)
        self._consumer = log.consumer(GROUP, SOURCES)
        self._drops: Counter[tuple[str, str]] = Counter()
        self._sequence = 0
        self._read: deque[_Read] = deque()
        """What was read since the oldest open trace that is not in the checkpoint."""
        self._replay_until: dict[str, int] = {}
        """By topic: records before this offset were processed by the process before this one."""
        self._dirty = False
        self._points: list[pa.Table] = []
        self._sightings: list[pa.Table] = []
        """What was judged since the last checkpoint. It is written with the next one: after a crash it is judged again,
        and was not counted yet."""
        self._watermark_ns = 0
        """Everything that was over at this record time has been judged."""
        self._told_ns = 0
        """The watermark that was written last."""
        self._next: dict[TopicPartition, int] = dict(self._consumer.committed())
        self._checkpoint_due_ns = 0
        self._restore()

    def step(self, timeout_s: float = _POLL_S) -> int:
        """Read and process one batch; return how many records it had."""
        batch = self._consumer.poll(max_records=_POLL_RECORDS, max_bytes=_POLL_BYTES, timeout_s=timeout_s)
        again, new = self._told_apart(batch)
        if again:
            self._process(again, again=True)
        if new:
            self._process(new, again=False)
        now_ns = self._clock.now_ns()
        if not batch:
            # Without records the clock moves record time on, a little behind: a record may still be on its way.
            output = self._pipeline.add((), (), now_ns=now_ns - _BEHIND_NS, record=self._sequence)
            self._write(output, now_ns, judged_ns=now_ns - _BEHIND_NS)
        telemetry.OPEN_TRACES.set(self._pipeline.assembler.open_traces)
        if now_ns >= self._checkpoint_due_ns and self._dirty:
            self.checkpoint()
        elif not self._points and self._watermark_ns - self._told_ns >= _HEARTBEAT_NS:
            # Whatever is over by the watermark has been judged and is in the log, or this is not reached.
            self._consumer.commit({}, self._window_records())
            self._told_ns = self._watermark_ns
        return len(batch)

    def _told_apart(self, batch: Sequence[Record]) -> tuple[list[Record], list[Record]]:
        """Records that were processed before a restart, and new ones."""
        again = [record for record in batch if record.offset < self._replay_until.get(record.topic, 0)]
        new = [record for record in batch if record.offset >= self._replay_until.get(record.topic, 0)]
        return again, new

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
        read_until = Counter({topic: next_ for (topic, _), next_ in self._next.items()})
        # Killed while it reads again, it still knows how far the process before it had come.
        since_ns = min((at.first_ns for at in self._read), default=now_ns)
        value = checkpoint.encode(assembler.snapshot(base, since_ns), dict(read_until | Counter(self._replay_until)))
        outputs = {records.CHECKPOINTS: [NewRecord(value=value, timestamp_ns=now_ns)]}
        if drops := self._drop_rows(now_ns):
            outputs[records.DROPS] = drops
        self._consumer.commit(offsets, outputs | self._window_records())
        self._drops.clear()
        self._points.clear()
        self._sightings.clear()
        self._told_ns = self._watermark_ns
        self._log.trim(records.CHECKPOINTS, keep_ns=60 * NS_PER_SECOND, keep_bytes=512 * MIB, now_ns=now_ns)
        self._checkpoint_due_ns = now_ns + _CHECKPOINT_NS + int(len(value) / _PARKED_BYTES_PER_NS)
        self._dirty = False

    def close(self) -> None:
        """Write a last checkpoint and leave the group."""
        self.checkpoint()
        self._consumer.close()

    def _restore(self) -> None:
        checkpoints = newest(self._log, records.CHECKPOINTS, _RESTORE_CHECKPOINTS, max_bytes=_POLL_BYTES)
        if not checkpoints:
            return
        try:
            state, self._replay_until = checkpoint.read(checkpoints[-1].value)
        except InvalidError as error:
            # What was open then is judged without the spans that came before the offsets, which people can see.
            _log.error("the checkpoint is not used", error=str(error))
            self._drops["checkpoints", "unreadable"] += 1
            return
        self._pipeline.assembler.restore(state)
        for record in newest(self._log, records.TRACES, _RESTORE_TRACES, max_bytes=_POLL_BYTES):
            self._pipeline.remember(records.decode(record.value))
        _log.info("worker restored", open_traces=self._pipeline.assembler.open_traces)

    def _process(self, run: Sequence[Record], *, again: bool) -> None:
        times = [record.timestamp_ns for record in run]
        now_ns = max(times)
        self._read.append(_Read(self._sequence, min(times), now_ns, dict(self._next)))
        self._dirty = True
        requests: dict[str, list[Request]] = {topic: [] for topic in SOURCES}
        for record in run:
            requests[record.topic].append(
                Request(record.value, record.timestamp_ns, record.headers.get(records.HEADER_TENANT, ""))
            )
            self._next[TopicPartition(record.topic, record.partition)] = record.offset + 1
        with telemetry.STAGE_SECONDS.labels("worker").time(), span("worker.batch"):
            output = self._pipeline.add(
                requests[records.OTLP_SPANS],
                requests[records.OTLP_LOGS],
                now_ns=now_ns,
                record=self._sequence,
                again=again,
            )
        self._sequence += 1
        self._write(output, now_ns, judged_ns=now_ns)

    def _write(self, output: Output, now_ns: int, *, judged_ns: int) -> None:
        batch: dict[str, list[NewRecord]] = {}
        for topic, tables in (
            (records.SPANS, output.spans),
            (records.TRACES, output.traces),
            (records.OBSERVATIONS, output.observations),
            (records.CANARIES, output.canaries),
        ):
            values = [records.encode(table) for table in tables if table.num_rows]
            if values:
                batch[topic] = [NewRecord(value=value, timestamp_ns=now_ns) for value in values]
        for request, reason in output.malformed:
            self._drops["requests", "malformed"] += 1
            batch.setdefault(records.DEAD_LETTERS, []).append(
                NewRecord(request.body, now_ns, headers={records.HEADER_REASON: reason[:500]})
            )
        self._drops.update(output.dropped)
        self._dirty = self._dirty or bool(output.closed) or bool(output.dropped)
        if batch:
            # Through the group, and not as any producer: a worker that was taken over can not write any more, and a
            # full log can not keep the worker from the work that empties it.
            self._consumer.commit({}, batch)
        self._gather(output)
        self._watermark_ns = max(self._watermark_ns, judged_ns)
        _count(output)

    def _gather(self, output: Output) -> None:
        """Keep points and sightings for the next checkpoint."""
        self._points += [table for table in output.points if table.num_rows]
        self._sightings += [table for table in output.sightings if table.num_rows]
        if len(self._points) > _PARTS:
            self._points, self._sightings = [merged(self._points)], [merged_sightings(self._sightings)]

    def _window_records(self) -> dict[str, list[NewRecord]]:
        """Points and sightings since the last checkpoint. Only the last record of each tells the new watermark: what
        is before it is not all there yet."""
        batch = {}
        for topic, rows in (
            (records.POINTS, merged(self._points)),
            (records.SIGHTINGS, merged_sightings(self._sightings)),
        ):
            parts = split(rows, _POINTS_A_RECORD)
            marks = [self._told_ns] * (len(parts) - 1) + [self._watermark_ns]
            headers = {records.HEADER_SOURCE: SOURCE}
            batch[topic] = [
                NewRecord(records.encode(part), mark, headers=headers) for part, mark in zip(parts, marks, strict=True)
            ]
        return batch

    def _drop_rows(self, now_ns: int) -> list[NewRecord]:
        """What was dropped since the last checkpoint. Written with the offsets, so that it is counted once."""
        if not self._drops:
            return []
        rows: list[dict[str, object]] = []
        for (signal_name, reason), count in self._drops.items():
            telemetry.DROPPED.labels("worker", signal_name, reason).inc(count)
            rows.append(
                {
                    "id": xxhash.xxh3_128_hexdigest(f"worker\x1f{now_ns}\x1f{signal_name}\x1f{reason}".encode()),
                    "time": now_ns,
                    "tenant": "",
                    "stage": "worker",
                    "signal": signal_name,
                    "reason": reason,
                    "count": count,
                    "version": now_ns,
                }
            )
        return [NewRecord(value=records.encode(records.table_from_rows(records.DROP, rows)), timestamp_ns=now_ns)]


def _count(output: Output) -> None:
    for cause, count in output.closed.items():
        telemetry.CLOSED_TRACES.labels(cause).inc(count)
    for table in output.observations:
        for rule, count in Counter(table["rule"].to_pylist()).items():
            telemetry.OBSERVATIONS_FOUND.labels(rule).inc(count)
    telemetry.PROCESSED_SPANS.inc(output.arrived)


def run(settings: Settings, health: Health) -> None:
    """Work until SIGTERM or SIGINT, then write a checkpoint."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    log = open_eventlog(settings)
    worker = Worker(settings, log, SystemClock())
    try:
        while not stop.is_set():
            worker.step()
            health.beat()
        health.drain()
        worker.close()
    finally:
        log.close()
