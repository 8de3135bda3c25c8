"""The worker process: reads OTLP from the eventlog, writes spans, traces, observations, points and drops to it.

It has a task for each partition that the group gives it. What all of them give is one commit. Outputs are appended
as they come and are idempotent by content; the group's offsets move only with a checkpoint, and never past a record
that an open trace still needs. What a crash undoes, or a move to another worker, is read and judged again, with the
same result. docs/adr/0003 and 0011 say why that is right at every point.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from typing import Final

import structlog

from dimwatch import records, telemetry
from dimwatch.app.partition import READ_BYTES, SOURCES, Outputs, PartitionTask, Shared, read_all
from dimwatch.app.standalone import Health
from dimwatch.app.stopping import Stop
from dimwatch.clock import NS_PER_SECOND, Clock, SystemClock
from dimwatch.eventlog import open_eventlog
from dimwatch.eventlog.base import EventLog, Record, TopicPartition
from dimwatch.settings import MIB, Settings
from dimwatch.tracing import span

GROUP: Final = "worker"
_POLL_RECORDS: Final = 256
_MOST_SHARES: Final = 16
_POLL_S: Final = 0.25
_MUCH: Final = 0.4
"""Of what a read may bring: then there may be more, and the next follows at once."""
_REST: Final = 6.0
_REST_MAX_S: Final = 0.5
"""Else a worker rests so many times as long as it worked, and no longer than that: a few records cost nearly as much as
many."""
_LOOK_NS: Final = NS_PER_SECOND // 4
"""While some partitions are busy, the others are looked at after that."""
_CHECKPOINT_NS: Final = 2 * NS_PER_SECOND
_PARKED_BYTES_PER_NS: Final = 4 * MIB / NS_PER_SECOND
"""A checkpoint of this many bytes more comes a nanosecond later: large ones must not fill the log."""

_log = structlog.get_logger()


class Worker:
    """One member of the group of workers."""

    def __init__(self, settings: Settings, log: EventLog, clock: Clock) -> None:
        self._shared = Shared(settings)
        self._log = log
        self._clock = clock
        self._consumer = log.consumer(GROUP, SOURCES)
        self._tasks: dict[int, PartitionTask] = {}
        """By partition."""
        self._assigned: frozenset[TopicPartition] = frozenset()
        self.rest_s = 0.0
        """How long to let records gather before the next step."""
        self._looked_ns = 0
        self._checked_ns = 0
        self._pause_ns = 0
        """The next checkpoint is due so long after that of `_checked_ns`."""

    def step(self, timeout_s: float = _POLL_S) -> int:
        """Read and process one batch; return how many records it had."""
        # More for more partitions: what is done with few records at a time costs nearly as much as with many.
        share = min(max(len(self._tasks), 1), _MOST_SHARES)
        most, most_bytes = share * _POLL_RECORDS, min(share, 4) * READ_BYTES
        batch = self._consumer.poll(max_records=most, max_bytes=most_bytes, timeout_s=timeout_s)
        began = time.monotonic()
        self._follow(self._consumer.assignment())
        outputs: Outputs = {}
        now_ns = self._clock.now_ns()
        runs = self._runs(batch)
        waiting = self._waiting(runs.keys(), now_ns)
        if batch:
            with telemetry.STAGE_SECONDS.labels("worker").time(), span("worker.batch"):
                read_all(runs, waiting, now_ns, outputs)
            now_ns = self._clock.now_ns()
        else:
            read_all({}, waiting, now_ns, outputs)
        telemetry.OPEN_TRACES.set(sum(task.open_traces for task in self._tasks.values()))
        if self._due(now_ns) and (dirty := [task for task in self._tasks.values() if task.dirty]):
            self._checkpoint(dirty, now_ns, outputs)
        else:
            for task in self._tasks.values():
                if task.silent():
                    task.tell(now_ns, outputs)  # it has no points that wait
            if outputs:
                # Through the group, and not as any producer: a worker that was taken over can not write any more, and
                # a full log can not keep the worker from the work that empties it.
                self._consumer.commit({}, outputs)
        much = len(batch) > _MUCH * most or sum(len(record.value) for record in batch) > _MUCH * most_bytes
        self.rest_s = 0.0 if much else min(_REST * (time.monotonic() - began), _REST_MAX_S)
        return len(batch)

    def close(self) -> None:
        """Write a last checkpoint and leave the group."""
        self._checkpoint(self._tasks.values(), self._clock.now_ns(), {})
        self._consumer.close()

    def _follow(self, assigned: frozenset[TopicPartition]) -> None:
        """Begin with the partitions that have come, and drop the work on those that have gone, as in a crash."""
        if assigned == self._assigned:
            return
        self._assigned = assigned
        numbers = {partition.partition for partition in assigned}
        for number in self._tasks.keys() - numbers:
            del self._tasks[number]
        self._begin(sorted(numbers - self._tasks.keys()))
        _log.info("partitions of this worker", partitions=sorted(numbers))

    def _begin(self, numbers: Sequence[int]) -> None:
        """Begin with these partitions where their last checkpoint was."""
        committed = self._consumer.committed() if numbers else {}
        of = self._log.partitions(records.OTLP_SPANS)
        for number in numbers:
            self._tasks[number] = PartitionTask(self._shared, self._log, number, of, committed)

    def _runs(self, batch: Sequence[Record]) -> dict[PartitionTask, list[Record]]:
        """The records by partition."""
        runs: dict[int, list[Record]] = {}
        for record in batch:
            runs.setdefault(record.partition, []).append(record)
        return {self._tasks[number]: run for number, run in sorted(runs.items())}

    def _waiting(self, busy: Collection[PartitionTask], now_ns: int) -> list[PartitionTask]:
        """Where nothing came and nothing is left to read: record time goes on there."""
        idle = {number: task for number, task in self._tasks.items() if task not in busy}
        if not idle or (busy and 0 <= now_ns - self._looked_ns < _LOOK_NS):
            return []
        self._looked_ns = now_ns
        drained = self._consumer.drained()
        unread = {partition.partition for partition in self._assigned - drained}
        return [idle[number] for number in sorted(idle.keys() - unread)]

    def _due(self, now_ns: int) -> bool:
        # A clock that was set back must not put off the next one by as much.
        return not 0 <= now_ns - self._checked_ns < self._pause_ns

    def _checkpoint(self, tasks: Iterable[PartitionTask], now_ns: int, outputs: Outputs) -> None:
        """Commit what these need to go on from here, with their offsets, and what all have found."""
        offsets: dict[TopicPartition, int] = {}
        size = 0
        for task in tasks:
            moved, bytes_ = task.checkpoint(now_ns, outputs)
            offsets.update(moved)
            size += bytes_
        self._consumer.commit(offsets, outputs)
        self._log.trim(records.CHECKPOINTS, keep_ns=60 * NS_PER_SECOND, keep_bytes=512 * MIB, now_ns=now_ns)
        self._checked_ns = now_ns
        self._pause_ns = _CHECKPOINT_NS + int(size / _PARKED_BYTES_PER_NS)


def run(settings: Settings, health: Health) -> None:
    """Work until SIGTERM or SIGINT, then write a checkpoint."""
    stop = Stop.by_signals()
    log = open_eventlog(settings)
    worker = Worker(settings, log, SystemClock())
    try:
        while not stop.requested:
            worker.step()
            health.beat()
            stop.sleep(worker.rest_s)
        health.drain()
        worker.close()
    finally:
        log.close()
