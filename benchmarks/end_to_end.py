"""End to end, embedded, on this machine: OTLP over HTTP sent at a rate, until the rows are visible by SQL.

The rate is stepped up; the figure is the highest rate that Dimwatch sustains: all sent is acknowledged in time, and
the 95th percentile of the age of the newest visible row stays under five seconds.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np

from benchmarks.figures import Figure
from benchmarks.running import ROLES, Running
from dimwatch.clock import NS_PER_SECOND, SystemClock
from dimwatch.simulate.load import LoadPool

RATES = (5_000, 10_000, 15_000, 20_000, 25_000, 30_000, 40_000)
MAX_AGE_S = 5.0
_SPANS_A_REQUEST = 512
_SENDERS = 4


@dataclass(frozen=True, slots=True)
class Round:
    """What came of one rate."""

    wanted: float
    acknowledged: int
    seconds: float
    age_p50_s: float
    age_p95_s: float

    @property
    def rate(self) -> float:
        """Spans acknowledged a second."""
        return self.acknowledged / self.seconds

    @property
    def sustained(self) -> bool:
        """Did Dimwatch keep up?"""
        return self.rate >= 0.97 * self.wanted and self.age_p95_s < MAX_AGE_S


def run(seconds: float = 30.0) -> Iterator[Figure]:
    """Step the rate up until Dimwatch does not keep up; then let it drain, and count."""
    best: Round | None = None
    with tempfile.TemporaryDirectory() as folder, Running(Path(folder)) as dimwatch:
        load = LoadPool(_SPANS_A_REQUEST)
        sent = 0
        for rate in RATES:
            result = _round(dimwatch, load, rate, seconds)
            sent += result.acknowledged
            print(
                f"wanted {result.wanted:,.0f} spans/s: acknowledged {result.rate:,.0f}, "
                f"age of the newest row p50 {result.age_p50_s:.2f} s, p95 {result.age_p95_s:.2f} s",
                file=sys.stderr,
            )
            if not result.sustained:
                break
            best = result
        dimwatch.drain(300.0)
        visible, distinct = dimwatch.rows("SELECT count(), uniqExact(trace_id, span_id) FROM spans")[0]
        resident = sum(dimwatch.peak_bytes(role) for role in ROLES)
        disk = _disk_bytes(dimwatch)
    if best is not None:
        yield Figure("end_to_end_embedded_spans_per_s", best.rate, "spans/s")
        yield Figure("end_to_end_embedded_age_p50", best.age_p50_s, "s")
        yield Figure("end_to_end_embedded_age_p95", best.age_p95_s, "s")
    else:
        yield Figure("end_to_end_embedded_spans_per_s", 0.0, "spans/s")
    yield Figure("end_to_end_embedded_lost", float(sent - int(visible)), "spans")
    yield Figure("end_to_end_embedded_doubles", float(int(visible) - int(distinct)), "spans")
    yield Figure("store_bytes_per_span", disk / max(int(visible), 1), "B")
    yield Figure("resident_memory_all_processes", resident / 2**20, "MiB")


def _round(dimwatch: Running, load: LoadPool, rate: float, seconds: float) -> Round:
    """Send at `rate` spans a second for a while, and watch how old the newest visible row is."""
    ages: list[float] = []
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(dimwatch, ages, stop))
    acknowledged = 0
    with httpx.Client(limits=httpx.Limits(max_connections=_SENDERS)) as client, ThreadPoolExecutor(_SENDERS) as pool:
        started = time.monotonic()
        watcher.start()
        pending: list[Future[int]] = []
        due = 0
        while (elapsed := time.monotonic() - started) < seconds:
            if due > elapsed * rate or len(pending) > 4 * _SENDERS:
                time.sleep(0.002)
            else:
                body, spans = load.request(SystemClock().now_ns())
                pending.append(pool.submit(_send, client, dimwatch.http, body, spans))
                due += spans
            acknowledged += sum(future.result() for future in pending if future.done())
            pending = [future for future in pending if not future.done()]
        acknowledged += sum(future.result() for future in pending)
        took = time.monotonic() - started
        stop.set()
        watcher.join()
    return Round(rate, acknowledged, took, float(np.percentile(ages, 50)), float(np.percentile(ages, 95)))


def _send(client: httpx.Client, address: str, body: bytes, spans: int) -> int:
    headers = {"content-type": "application/x-protobuf"}
    while True:
        answer = client.post(f"{address}/v1/traces", content=body, headers=headers, timeout=30.0)
        if answer.status_code not in (429, 503):
            answer.raise_for_status()
            return spans
        time.sleep(float(answer.headers.get("retry-after", "1")))


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
