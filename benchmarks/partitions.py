"""What one worker takes where its log has one partition, and where it has twelve; and what one fleet process takes.

`python -m benchmarks partitions`. Processor time of one thread: eventlog in memory, encoding and commits included,
brokers not.
"""

from __future__ import annotations

import gc
import resource
import time
from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
import pyarrow as pa

from benchmarks.engine import minute_tables
from benchmarks.figures import Figure
from detectors.windows.minute import MINUTE_NS
from detectors.windows.points import NO_SIGHTINGS, with_times
from dimwatch import records
from dimwatch.app.fleet import FleetStage
from dimwatch.app.partition import source
from dimwatch.app.worker import Worker
from dimwatch.clock import NS_PER_SECOND, ManualClock
from dimwatch.eventlog.base import NewRecord
from dimwatch.eventlog.memory import MemoryEventLog
from dimwatch.settings import Settings
from dimwatch.simulate.load import LoadPool
from ingest.otlp.admission import Piece
from ingest.otlp.signals import TRACES
from ingest.otlp.spread import spread

_START_NS: Final = 29_000_000 * MINUTE_NS
_PARTITIONS: Final = 12
_OURS: Final = {records.HEADER_ADMITTED: "1"}
"""Of our own receiver: what others put into the topic is admitted and masked by the worker."""
_SPANS_A_REQUEST: Final = 512
_REQUESTS_A_SECOND: Final = 96
_SPANS_A_TRACE: Final = 8
_TRACES_A_SECOND: Final = 2_000
_SECONDS: Final = 8
_WARM_S: Final = 4
_SERIES: Final = 10_000
_MINUTES: Final = 14
_WARM_MINUTES: Final = 6


def run() -> Iterator[Figure]:
    """The worker over one partition and twelve, then the fleet stage at 10,000 series and twelve sources."""
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    for partitions in (1, _PARTITIONS):
        before = _resident()
        spans_per_s, topics = _worker(partitions, _REQUESTS_A_SECOND)
        yield Figure(f"worker_{partitions}_partitions_spans_per_s_core", spans_per_s, "spans/s")
        yield Figure(f"worker_{partitions}_partitions_memory_growth", _resident() - before, "MiB")
        for topic, size in topics.items():
            yield Figure(f"worker_{partitions}_partitions_{topic}_bytes_per_span", size, "B")
    seconds_a_span = 1 / _worker(_PARTITIONS, 1)[0]
    yield Figure("worker_small_batch_of_a_partition", 1e3 * seconds_a_span * _SPANS_A_REQUEST / _PARTITIONS, "ms")
    spans_per_s, _ = _worker(1, _TRACES_A_SECOND, _SPANS_A_TRACE, ours=False)
    yield Figure("worker_message_a_trace_of_a_collector_us_a_span", 1e6 / spans_per_s, "us")
    yield from _fleet()


def _resident() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _worker(
    partitions: int, requests: int, spans_a_request: int = _SPANS_A_REQUEST, *, ours: bool = True
) -> tuple[float, dict[str, float]]:
    """Spans a second of processor time, and the bytes a span that it writes to each topic.

    So many requests a second come as one batch for each partition, from our receiver or from somebody else.
    """
    log, clock, load = MemoryEventLog(partitions=partitions), ManualClock(_START_NS), LoadPool(spans_a_request)
    worker = Worker(Settings(), log, clock)
    took, spans = 0.0, 0
    for second in range(_SECONDS):
        now_ns = _START_NS + second * NS_PER_SECOND
        sent = append(log, load, requests, now_ns, partitions, _OURS if ours else {})
        spans += sent if second >= _WARM_S else 0
        clock.advance_to(now_ns)
        gc.collect()
        began = time.process_time()
        while worker.step(0.0):
            pass
        took += time.process_time() - began if second >= _WARM_S else 0.0
    every = spans * _SECONDS / (_SECONDS - _WARM_S)
    topics = (records.SPANS, records.TRACES, records.OBSERVATIONS, records.POINTS, records.CHECKPOINTS)
    sizes = {topic: size_of(log, topic) / every for topic in topics}
    return spans / took, sizes


def append(
    log: MemoryEventLog, load: LoadPool, requests: int, now_ns: int, partitions: int, headers: Mapping[str, str] = _OURS
) -> int:
    """Requests as the receiver appends them; return how many spans they hold."""
    spans = 0
    for _ in range(requests):
        body, count = load.request(now_ns)
        pieces = spread([Piece(body, b"")], TRACES, partitions)
        log.append({records.OTLP_SPANS: [NewRecord(of.body, now_ns, of.key, headers=headers) for of in pieces]})
        spans += count
    return spans


def size_of(log: MemoryEventLog, topic: str) -> int:
    """Bytes of all records of a topic."""
    consumer = log.consumer("size", [topic])
    size = 0
    while batch := consumer.poll(max_records=1_000, max_bytes=1 << 30, timeout_s=0.0):
        size += sum(len(record.value) for record in batch)
    consumer.close()
    return size


def _fleet() -> Iterator[Figure]:
    """Twelve sources that tell of the same series every two seconds, as twelve partitions do."""
    log, clock = MemoryEventLog(max_bytes=4 << 30), ManualClock(_START_NS)
    stage, tables = FleetStage(Settings(), log, clock), minute_tables(_SERIES)
    took = points = 0.0
    rng = np.random.default_rng(1)
    for minute in range(_MINUTES):
        for beat in range(6):
            mark_ns = _START_NS + minute * MINUTE_NS + (beat + 1) * 10 * NS_PER_SECOND
            for number in range(_PARTITIONS):
                rows = tables[(minute + number) % len(tables)]
                rows = rows.filter(pa.array(rng.random(rows.num_rows) < 1 / 3))
                times = np.full(rows.num_rows, mark_ns - 10 * NS_PER_SECOND, dtype=np.int64)
                headers = {records.HEADER_SOURCE: source(number), records.HEADER_SOURCES: str(_PARTITIONS)}
                log.append(
                    {
                        topic: [NewRecord(records.encode(table), mark_ns, headers=headers)]
                        for topic, table in (
                            (records.POINTS, with_times(rows, times)),
                            (records.SIGHTINGS, NO_SIGHTINGS),
                        )
                    }
                )
                points += rows.num_rows if minute >= _WARM_MINUTES else 0
            clock.advance_to(mark_ns)
            began = time.process_time()
            while stage.step(0.0):
                pass
            took += time.process_time() - began if minute >= _WARM_MINUTES else 0.0
    minutes = _MINUTES - _WARM_MINUTES
    yield Figure("fleet_points_per_s_core", points / took, "points/s")
    yield Figure("fleet_10000_series_seconds_per_minute", took / minutes, "s")
    yield Figure("fleet_points_per_minute_offered", points / minutes, "points")
