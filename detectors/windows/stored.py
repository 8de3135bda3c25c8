"""Closed windows that were written down, as the minutes that they were."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from detectors.windows.minute import MINUTE_NS, Minute
from detectors.windows.points import in_windows, merged, merged_sightings, times_of
from detectors.windows.windower import MOST_EMPTY
from dimwatch.clock import NS_PER_SECOND
from dimwatch.records import POINT, SIGHTING

MINUTE_S: Final = MINUTE_NS // NS_PER_SECOND
"""`width_s` of the rows that make minutes."""


def minutes_of(points: pa.Table, sightings: pa.Table, until_ns: int) -> Iterator[Minute]:
    """Minutes in order, from the first that has anything to the one that ends at `until_ns`, empty ones too as the
    windower makes them; rows in any order. `points` (`dimwatch.records.POINT`) begin at whole minutes."""
    points, sightings = points.select(POINT.names), in_windows(sightings.select(SIGHTING.names), MINUTE_NS)
    points, at = _by_time(points)
    sightings, seen_at = _by_time(sightings)
    begins = np.unique(np.concatenate([at, seen_at]))
    begins = begins[begins < until_ns]
    next_ns = int(begins[0]) if len(begins) else until_ns
    for begin in [*begins.tolist(), until_ns]:
        empty = min((begin - next_ns) // MINUTE_NS, MOST_EMPTY)
        for number in range(empty):
            yield Minute(next_ns + number * MINUTE_NS, POINT.empty_table(), SIGHTING.empty_table())
        if begin < until_ns:
            yield Minute(begin, merged([_of(points, at, begin)]), merged_sightings([_of(sightings, seen_at, begin)]))
        next_ns = begin + MINUTE_NS


def _by_time(rows: pa.Table) -> tuple[pa.Table, npt.NDArray[np.int64]]:
    times = times_of(rows)
    order = np.argsort(times, kind="stable")
    return rows.take(pa.array(order)), times[order]


def _of(rows: pa.Table, times: npt.NDArray[np.int64], begin: int) -> pa.Table:
    first, last = np.searchsorted(times, [begin, begin + MINUTE_NS])
    return rows.slice(first, last - first)
