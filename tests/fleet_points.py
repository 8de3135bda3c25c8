"""Points of small made-up fleets, minute by minute, for the tests of the engine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from detectors.windows.histogram import bucket_of
from detectors.windows.minute import MINUTE_NS, Minute
from detectors.windows.signals import BY_NAME
from dimwatch.records import POINT, SIGHTING

START = 29_001_600
"""The first minute: midnight, UTC."""


@dataclass(frozen=True)
class Row:
    """One point."""

    signal: str
    n: float
    total: float = 0.0
    squares: float = 0.0
    agent: str = "shop"
    provider: str = ""
    model: str = ""
    tool: str = ""
    release: str = ""
    region: str = ""
    logs: tuple[float, ...] = ()
    """Measurements, for the histogram."""


def minute(number: int, rows: Iterable[Row], *, shuffle: int | None = None) -> Minute:
    """The closed minute `number` after START, rows in the order of their keys unless they are to be shuffled."""
    ordered = sorted(rows, key=lambda row: (row.agent, row.provider, row.model, row.tool, row.release, row.signal))
    if shuffle is not None:
        np.random.default_rng(shuffle).shuffle(ordered)
    buckets = [np.unique(bucket_of(np.array(row.logs)), return_counts=True) for row in ordered]
    columns = {
        "tenant": ["" for _ in ordered],
        "time": [(START + number) * MINUTE_NS for _ in ordered],
        "subject": [str(BY_NAME[row.signal].subject) for row in ordered],
        **{
            name: [getattr(row, name) for row in ordered]
            for name in ("agent", "provider", "model", "tool", "release", "region", "signal", "n", "total", "squares")
        },
        "bucket": [bucket.tolist() for bucket, _ in buckets],
        "bucket_count": [count.tolist() for _, count in buckets],
    }
    table = pa.table({name: pa.array(columns[name], POINT.field(name).type) for name in POINT.names}, schema=POINT)
    return Minute((START + number) * MINUTE_NS, table, SIGHTING.empty_table())


def measured(signal: str, logs: np.ndarray[tuple[int], np.dtype[np.float64]], **where: str) -> Row:
    """A point of measurements whose logarithms these are."""
    return Row(signal, float(len(logs)), float(logs.sum()), float((logs**2).sum()), logs=tuple(logs.tolist()), **where)
