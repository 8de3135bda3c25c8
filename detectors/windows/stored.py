"""Closed windows that were written down, as the minutes that they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import pyarrow as pa

from detectors.windows.minute import MINUTE_NS, Minute
from detectors.windows.points import in_windows, merged, merged_sightings
from detectors.windows.windower import MOST_EMPTY, by_minute

CHUNK_NS: Final = 60 * MINUTE_NS
"""How much is read at a time."""

Read = Callable[[int, int], tuple[pa.Table, pa.Table]]
"""Points (`dimwatch.records.POINT`, in windows of a minute) and sightings from one time until before another."""


def stored_minutes(read: Read, start_ns: int, end_ns: int) -> Iterator[Minute]:
    """The minutes from `start_ns` until before `end_ns`, both whole, as the windower made them: in order, from the
    first in which anything happened, and empty ones for a day at most."""
    empty = MOST_EMPTY
    for chunk_ns in range(start_ns, end_ns, CHUNK_NS):
        until_ns = min(chunk_ns + CHUNK_NS, end_ns)
        begins = np.arange(chunk_ns, until_ns, MINUTE_NS)
        points, sightings = (by_minute(rows, begins) for rows in read(chunk_ns, until_ns))
        for minute_ns, own, seen in zip(begins.tolist(), points, sightings, strict=True):
            empty = 0 if own.num_rows or seen.num_rows else empty + 1
            if empty <= MOST_EMPTY:
                yield Minute(minute_ns, merged([own]), merged_sightings([in_windows(seen, MINUTE_NS)]))
