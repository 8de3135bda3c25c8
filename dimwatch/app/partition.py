"""What a worker does for one partition: its traces, its points, and its checkpoint. It knows of no other partition.

Everything depends on the records of the partition alone, and on the clock where none are left to read or spools are
waited for, so that it makes no difference which worker has it, beside which others, and how often it moves.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import structlog
import xxhash

from detectors.traces import checkpoint
from detectors.windows.points import merged, merged_sightings, split
from dimwatch import records, telemetry
from dimwatch.app.pipeline import Output, Pipeline, Step, advance
from dimwatch.app.record_time import Watermark
from dimwatch.app.spooled import QUIET_NS, Spools
from dimwatch.clock import NS_PER_SECOND
from dimwatch.errors import InvalidError
from dimwatch.eventlog.base import EventLog, NewRecord, Offsets, Record, TopicPartition
from dimwatch.eventlog.letters import dead_letter
from dimwatch.eventlog.newest import newest
from dimwatch.settings import MIB, Settings
from ingest.normalize import Request
from ingest.otlp.topic_door import TopicDoor
from ingest.prices import Prices

SOURCES: Final = (records.OTLP_SPANS, records.OTLP_LOGS)
READ_BYTES: Final = 16 * MIB
_BEHIND_NS: Final = NS_PER_SECOND
_PARK_NS: Final = 10 * NS_PER_SECOND
"""Traces that have been open for longer are kept in the checkpoint, so that they do not hold back the offsets."""

_HEARTBEAT_NS: Final = 10 * NS_PER_SECOND
"""Record time after which the fleet stage is told how far the partition is judged, also when nothing happened."""
_OLD_NS: Final = 300 * NS_PER_SECOND
"""A watermark that is further behind the clock than that is of a backlog."""
_POINTS_A_RECORD: Final = 20_000
_PARTS: Final = 64
"""Tables of points that are kept before they are merged."""

_RESTORE_CHECKPOINTS: Final = 4
"""How many are looked at, in case that the last can not be read."""
_RESTORE_TRACES: Final = 512
"""How many records of trace rows are read after a restart, for late spans to be added to."""

Outputs = dict[str, list[NewRecord]]
"""Records to append, by topic."""

_log = structlog.get_logger()


def source(partition: int) -> str:
    """Names a partition on the points that are written for it: the same on every worker."""
    return f"worker-{partition}"


@dataclass(frozen=True, slots=True)
class _Read:
    """A run of records: its number, its first and last record time, and the offsets at which to read it again."""

    sequence: int
    first_ns: int
    time_ns: int
    offsets: dict[TopicPartition, int]


class Shared:
    """What the tasks of a worker have in common: it is loaded once."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.prices = Prices.load(settings.prices.file)
        self.door = TopicDoor(settings)


class PartitionTask:
    """The work on one partition. What comes out is added to `Outputs`; who calls it commits that, or drops the task."""

    def __init__(self, shared: Shared, log: EventLog, number: int, of: int, committed: Offsets) -> None:
        """`number` of `of` partitions; `committed` are the offsets of the group. Goes on from the last checkpoint."""
        self._number = number
        self._headers = {records.HEADER_SOURCE: source(number), records.HEADER_SOURCES: str(of)}
        self._pipeline = Pipeline(_share(shared.settings, of), recoverable=True, prices=shared.prices)
        self._door = shared.door
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
        self._watermark = Watermark()
        eventlog = shared.settings.eventlog
        self._spools = Spools(QUIET_NS if eventlog.backend == "kafka" and eventlog.kafka.spool else 0)
        self._told_ns = 0
        """The watermark that was written last."""
        self._next = {partition: next_ for partition, next_ in committed.items() if partition.partition == number}
        self._restore(log)

    @property
    def open_traces(self) -> int:
        """Traces that wait for more spans."""
        return self._pipeline.assembler.open_traces

    @property
    def dirty(self) -> bool:
        """Whether anything happened since the last checkpoint."""
        return self._dirty

    def known(self, record: Record) -> bool:
        """Whether the process before this one had processed a record."""
        return record.offset < self._replay_until.get(record.topic, 0)

    def reads(self, run: Sequence[Record], clock_ns: int, *, again: bool) -> Step:
        """Take in the next records of the partition, all of them known (`again`) or none: what is to be done for it."""
        times = [record.timestamp_ns for record in run]
        for record in run:
            # What is older is late, whether others wait or not.
            if records.HEADER_SPOOLED in record.headers and record.timestamp_ns > self._watermark.at_ns:
                self._spools.sent(record.timestamp_ns, clock_ns)
        self._read.append(_Read(self._sequence, min(times), max(times), dict(self._next)))
        self._dirty = True
        requests: dict[str, list[Request]] = {}
        for topic in SOURCES:
            of_topic = [record for record in run if record.topic == topic]
            requests[topic] = list(self._door.requests(of_topic))
            if of_topic:
                self._next[TopicPartition(topic, self._number)] = of_topic[-1].offset + 1
        if not again:
            self._drops.update(self._door.dropped)
        self._door.dropped.clear()
        self._sequence += 1
        return Step(
            self._pipeline,
            requests[records.OTLP_SPANS],
            requests[records.OTLP_LOGS],
            now_ns=max(times),
            record=self._sequence - 1,
            again=again,
        )

    def waits(self, clock_ns: int) -> Step:
        """Nothing is left to read: the clock moves record time on, a little behind, as a record may be on its way."""
        now_ns = self._spools.allow(clock_ns - _BEHIND_NS, self._watermark.at_ns, clock_ns)
        return Step(self._pipeline, (), (), now_ns=now_ns, record=self._sequence)

    def took(self, step: Step, output: Output, clock_ns: int, outputs: Outputs) -> None:
        """What came of that."""
        read = step.record < self._sequence  # else it waits
        self._write(output, step.now_ns if read else clock_ns, outputs)
        self._judged(step.now_ns, clock_ns, read=read)

    def checkpoint(self, now_ns: int, outputs: Outputs) -> tuple[Offsets, int]:
        """How far the offsets may move for the open traces, with what is needed to go on from there among `outputs`;
        and the bytes of that."""
        assembler = self._pipeline.assembler
        young = next((at.sequence for at in self._read if at.time_ns >= now_ns - _PARK_NS), self._sequence)
        oldest = assembler.oldest_record(since=young)
        base = self._sequence if oldest is None else oldest
        while self._read and self._read[0].sequence < base:
            self._read.popleft()
        offsets = self._read[0].offsets if self._read else dict(self._next)
        read_until = Counter({topic: next_ for (topic, _), next_ in self._next.items()})
        # Killed while it reads again, it still knows how far the process before it had come.
        since_ns = min((at.first_ns for at in self._read), default=now_ns)
        value = checkpoint.encode(
            assembler.snapshot(base, since_ns), dict(read_until | Counter(self._replay_until)), self._watermark.at_ns
        )
        key = str(self._number).encode()
        outputs.setdefault(records.CHECKPOINTS, []).append(NewRecord(value, now_ns, key=key, partition=self._number))
        if self._drops:
            outputs.setdefault(records.DROPS, []).append(self._record(self._drop_rows(now_ns), now_ns))
        self.tell(now_ns, outputs)
        self._drops.clear()
        self._points.clear()
        self._sightings.clear()
        self._dirty = False
        return offsets, len(value)

    def tell(self, clock_ns: int, outputs: Outputs) -> None:
        """Points and sightings since the last checkpoint. Only the last record of each tells the new watermark: what
        is before it is not all there yet."""
        at_ns = self._watermark.at_ns
        headers = self._headers | ({records.HEADER_BEHIND: "1"} if clock_ns - at_ns > _OLD_NS else {})
        for topic, rows in (
            (records.POINTS, merged(self._points)),
            (records.SIGHTINGS, merged_sightings(self._sightings)),
        ):
            parts = split(rows, _POINTS_A_RECORD)
            marks = [min(self._told_ns, at_ns)] * (len(parts) - 1) + [at_ns]
            outputs.setdefault(topic, []).extend(
                NewRecord(records.encode(part), mark, headers=headers) for part, mark in zip(parts, marks, strict=True)
            )
        self._told_ns = at_ns

    def silent(self) -> bool:
        """Whether the fleet stage waits for a word, and everything that is over by the watermark is in the log."""
        return not self._points and abs(self._watermark.at_ns - self._told_ns) >= _HEARTBEAT_NS

    def _restore(self, log: EventLog) -> None:
        found = newest(log, records.CHECKPOINTS, _RESTORE_CHECKPOINTS, max_bytes=READ_BYTES, partition=self._number)
        if not found:
            return
        try:
            state, self._replay_until, watermark_ns = checkpoint.read(found[-1].value)
        except InvalidError as error:
            # What was open then is judged without the spans that came before the offsets, which people can see.
            _log.error("the checkpoint is not used", partition=self._number, error=str(error))
            self._drops["checkpoints", "unreadable"] += 1
            return
        self._watermark = Watermark(watermark_ns)
        self._told_ns = watermark_ns
        self._pipeline.assembler.restore(state)
        traces = newest(log, records.TRACES, _RESTORE_TRACES, max_bytes=READ_BYTES, partition=self._number)
        for record in traces:
            self._pipeline.remember(records.decode(record.value))
        _log.info("partition restored", partition=self._number, open_traces=self.open_traces)

    def _judged(self, judged_ns: int, clock_ns: int, *, read: bool) -> None:
        before_ns = self._watermark.at_ns
        judged_ns = self._spools.allow(judged_ns, before_ns, clock_ns)
        if self._watermark.tell(judged_ns, clock_ns, read=read):
            telemetry.CLOCK_SET_BACK.inc()
            _log.warning(
                "a clock was set back: so is the watermark",
                partition=self._number,
                seconds=(before_ns - self._watermark.at_ns) / NS_PER_SECOND,
            )

    def _record(self, table: pa.Table, time_ns: int) -> NewRecord:
        return NewRecord(records.encode(table), time_ns, partition=self._number)

    def _write(self, output: Output, now_ns: int, outputs: Outputs) -> None:
        for topic, tables in (
            (records.SPANS, output.spans),
            (records.TRACES, output.traces),
            (records.OBSERVATIONS, output.observations),
            (records.CANARIES, output.canaries),
        ):
            if found := [self._record(table, now_ns) for table in tables if table.num_rows]:
                outputs.setdefault(topic, []).extend(found)
        for request, reason in output.malformed:
            self._drops["requests", "malformed"] += 1
            if request.origin is not None:
                letter = dead_letter(request.origin, "worker", reason, now_ns)
                outputs.setdefault(records.DEAD_LETTERS, []).append(letter)
        self._drops.update(output.dropped)
        self._dirty = self._dirty or bool(output.closed) or bool(output.dropped)
        self._gather(output)
        _count(output)

    def _gather(self, output: Output) -> None:
        """Keep points and sightings for the next checkpoint."""
        self._points += [table for table in output.points if table.num_rows]
        self._sightings += [table for table in output.sightings if table.num_rows]
        if len(self._points) > _PARTS:
            self._points, self._sightings = [merged(self._points)], [merged_sightings(self._sightings)]

    def _drop_rows(self, now_ns: int) -> pa.Table:
        """What was dropped since the last checkpoint. Written with the offsets, so that it is counted once."""
        rows: list[dict[str, object]] = []
        for (signal_name, reason), count in self._drops.items():
            telemetry.DROPPED.labels("worker", signal_name, reason).inc(count)
            name = f"{source(self._number)}\x1f{now_ns}\x1f{signal_name}\x1f{reason}"
            rows.append(
                {
                    "id": xxhash.xxh3_128_hexdigest(name.encode()),
                    "time": now_ns,
                    "tenant": "",
                    "stage": "worker",
                    "signal": signal_name,
                    "reason": reason,
                    "count": count,
                    "version": now_ns,
                }
            )
        return records.table_from_rows(records.DROP, rows)


def read_all(
    runs: Mapping[PartitionTask, Sequence[Record]], waiting: Sequence[PartitionTask], clock_ns: int, outputs: Outputs
) -> None:
    """Take in the next records of several partitions together, and let the clock move on those that wait."""
    known = {task: [record for record in run if task.known(record)] for task, run in runs.items()}
    new = {task: [record for record in run if not task.known(record)] for task, run in runs.items()}
    _take([(task, task.reads(run, clock_ns, again=True)) for task, run in known.items() if run], clock_ns, outputs)
    steps = [(task, task.reads(run, clock_ns, again=False)) for task, run in new.items() if run]
    _take(steps + [(task, task.waits(clock_ns)) for task in waiting], clock_ns, outputs)


def _take(steps: Sequence[tuple[PartitionTask, Step]], clock_ns: int, outputs: Outputs) -> None:
    for (task, step), output in zip(steps, advance([step for _, step in steps]), strict=True):
        task.took(step, output, clock_ns, outputs)


def _share(settings: Settings, of: int) -> Settings:
    """The bounds of memory are for all partitions together: a partition's share is the same on every worker."""
    assembly = settings.assembly
    share = {
        "max_open_traces": max(1, assembly.max_open_traces // of),
        "max_open_bytes": max(1, assembly.max_open_bytes // of),
        "max_judged_traces": max(1, assembly.max_judged_traces // of),
    }
    return settings.model_copy(update={"assembly": assembly.model_copy(update=share)})


def _count(output: Output) -> None:
    for cause, count in output.closed.items():
        telemetry.CLOSED_TRACES.labels(cause).inc(count)
    for table in output.observations:
        for rule, count in Counter(table["rule"].to_pylist()).items():
            telemetry.OBSERVATIONS_FOUND.labels(rule).inc(count)
    telemetry.PROCESSED_SPANS.inc(output.arrived)
