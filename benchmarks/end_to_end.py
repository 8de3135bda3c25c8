"""End to end, embedded, on this machine: OTLP over HTTP sent at a rate, until the rows are visible by SQL.

The rate is stepped up; the figure is the highest rate that Dimwatch sustains: all sent is acknowledged in time, and
the 95th percentile of the age of the newest visible row stays under five seconds.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure
from benchmarks.running import ROLES, Running
from benchmarks.stepping import SPANS_A_REQUEST, Sent, send, step_up
from dimwatch.clock import NS_PER_SECOND, SystemClock
from dimwatch.simulate.load import LoadPool

RATES = (5_000, 10_000, 15_000, 20_000, 25_000, 30_000, 40_000)
MAX_AGE_S = 5.0


@dataclass(frozen=True, slots=True)
class Round:
    """What came of one rate."""

    sent: Sent
    age_p50_s: float
    age_p95_s: float

    @property
    def sustained(self) -> bool:
        """Did Dimwatch keep up?"""
        return self.sent.in_time and self.age_p95_s < MAX_AGE_S

    def __str__(self) -> str:
        return (
            f"wanted {self.sent.wanted:,.0f} spans/s: acknowledged {self.sent.rate:,.0f}, "
            f"age of the newest row p50 {self.age_p50_s:.2f} s, p95 {self.age_p95_s:.2f} s"
        )


def run(seconds: float = 30.0) -> Iterator[Figure]:
    """Step the rate up until Dimwatch does not keep up; then let it drain, and count."""
    with tempfile.TemporaryDirectory() as folder, Running(Path(folder)) as dimwatch:
        load = LoadPool(SPANS_A_REQUEST)
        best, spans = step_up(RATES, lambda rate: _round(dimwatch, load, rate, seconds))
        dimwatch.drain(300.0)
        visible, distinct = dimwatch.rows("SELECT count(), uniqExact(trace_id, span_id) FROM spans")[0]
        resident = sum(dimwatch.peak_bytes(role) for role in ROLES)
        disk = _disk_bytes(dimwatch)
    if best is not None:
        yield Figure("end_to_end_embedded_spans_per_s", best.sent.rate, "spans/s")
        yield Figure("end_to_end_embedded_age_p50", best.age_p50_s, "s")
        yield Figure("end_to_end_embedded_age_p95", best.age_p95_s, "s")
    else:
        yield Figure("end_to_end_embedded_spans_per_s", 0.0, "spans/s")
    yield Figure("end_to_end_embedded_lost", float(spans - int(visible)), "spans")
    yield Figure("end_to_end_embedded_doubles", float(int(visible) - int(distinct)), "spans")
    yield Figure("store_bytes_per_span", disk / max(int(visible), 1), "B")
    yield Figure("resident_memory_all_processes", resident / 2**20, "MiB")


def _round(dimwatch: Running, load: LoadPool, rate: float, seconds: float) -> Round:
    """Send at `rate` spans a second for a while, and watch how old the newest visible row is."""
    ages: list[float] = []
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(dimwatch, ages, stop))
    watcher.start()
    try:
        sent = send(dimwatch.http, load, rate, seconds)
    finally:
        stop.set()
        watcher.join()
    return Round(sent, float(np.percentile(ages, 50)), float(np.percentile(ages, 95)))


def _watch(dimwatch: Running, ages: list[float], stop: threading.Event) -> None:
    """Note the age of the newest visible row four times a second: rows become visible in order of arrival."""
    clock = SystemClock()
    while not stop.wait(0.25):
        asked_ns = clock.now_ns()
        newest = int(
            dimwatch.value(
                "SELECT toUnixTimestamp64Nano(max(received_time)) FROM span_versions WHERE start_time > now() - 60"
            )
        )
        if newest:
            ages.append((asked_ns - newest) / NS_PER_SECOND)


def _disk_bytes(dimwatch: Running) -> float:
    """Bytes of the span rows on disk, once the parts have been merged for a while."""
    time.sleep(10.0)
    folder = dimwatch.data / "store"
    return float(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))
