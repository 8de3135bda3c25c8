"""What the engine costs: per series and window, in memory, and for a fortnight of points. Times are CPU time: it runs
on one thread, and other work on the machine should not count."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa

from benchmarks.figures import Figure
from detectors.engine import Engine
from detectors.windows.minute import MINUTE_NS, Minute
from detectors.windows.signals import SIGNALS, Form, Signal, Subject
from dimwatch.records import POINT, SIGHTING
from dimwatch.settings import Detection

_START_NS: Final = 29_000_000 * MINUTE_NS
_VARIANTS: Final = 16
"""Different minutes of points, made beforehand."""


def run() -> Iterator[Figure]:
    """10,000 series, every one with traffic in every minute; then 14 days of 1,000 series."""
    engine, minutes = Engine(Detection()), minute_tables(10_000)
    _steps(engine, minutes, 0, 300)
    began = time.process_time()
    _steps(engine, minutes, 300, 100)
    took = (time.process_time() - began) / 100
    yield Figure("detector_us_per_series_window", took / engine.series * 1e6, "us")
    yield Figure("detector_state_bytes_per_series", engine.nbytes / engine.series, "B")
    engine, minutes = Engine(Detection()), minute_tables(1_000)
    began = time.process_time()
    _steps(engine, minutes, 0, 14 * 1440)
    yield Figure("replay_14_days_1000_series_seconds", time.process_time() - began, "s")


def _steps(engine: Engine, minutes: list[pa.Table], first: int, count: int) -> None:
    sightings = SIGHTING.empty_table()
    for number in range(first, first + count):
        engine.step(Minute(_START_NS + number * MINUTE_NS, minutes[number % len(minutes)], sightings))


def minute_tables(series: int) -> list[pa.Table]:
    """Tables of `series` rows: agents with runs, tools and models, in the proportions of the signals."""
    rng = np.random.default_rng(3)
    rows: list[tuple[str, str, str, str, Signal]] = []
    agent = 0
    while len(rows) < series:
        name = f"agent-{agent}"
        for signal in SIGNALS:
            if signal.subject is Subject.RUN:
                rows.append((name, "", "", "", signal))
            elif signal.subject is Subject.TOOL:
                rows += [(name, "", "", f"tool-{(agent + tool) % 50}", signal) for tool in range(4)]
            else:
                models = [(agent + model) % 30 for model in range(2)]
                rows += [(name, f"provider-{model % 8}", f"model-{model}", "", signal) for model in models]
        agent += 1
    rows = rows[:series]
    return [_table(rows, rng, number) for number in range(_VARIANTS)]


def _table(rows: list[tuple[str, str, str, str, Signal]], rng: np.random.Generator, number: int) -> pa.Table:
    count = len(rows)
    level = np.array([row[4].form is Form.LEVEL for row in rows])
    n = rng.poisson(20, count) + 1.0
    mean = 0.5 * rng.normal(size=count) / np.sqrt(n)
    total = np.where(level, n * mean, rng.binomial(n.astype(np.int64), 0.02))
    squares = np.where(level, n * (mean**2 + 0.25), 0.0)
    text = {
        "tenant": [""] * count,
        "subject": [str(row[4].subject) for row in rows],
        "agent": [row[0] for row in rows],
        "provider": [row[1] for row in rows],
        "model": [row[2] for row in rows],
        "tool": [row[3] for row in rows],
        "release": ["1.0"] * count,
        "region": [""] * count,
        "signal": [row[4].name for row in rows],
    }
    buckets = [[-20, 0, 30] if row[4].name.endswith("latency") else [] for row in rows]
    counts = [[int(of) - 1, 1, 0] if bucket else [] for of, bucket in zip(n, buckets, strict=True)]
    columns = {
        "time": pa.array([_START_NS + number * MINUTE_NS] * count, POINT.field("time").type),
        "n": n,
        "total": total,
        "squares": squares,
        "bucket": pa.array(buckets, POINT.field("bucket").type),
        "bucket_count": pa.array(counts, POINT.field("bucket_count").type),
        **text,
    }
    return pa.table([columns[name] for name in POINT.names], schema=POINT)
