"""Overlapping spans on one time axis."""

from __future__ import annotations

import numpy as np

from detectors.traces.batch import Rows


def latest_end_before(trace: Rows, start: Rows, end: Rows) -> Rows:
    """For rows ordered by trace and start: the latest end among the earlier rows of the same trace, or the row's own
    start where it is the first."""
    # Ranks of end times keep traces apart without leaving 64 bits.
    order = np.argsort(end, kind="stable")
    rank = np.empty(len(end), dtype=np.int64)
    rank[order] = np.arange(len(end))
    running = np.maximum.accumulate(trace * np.int64(len(end)) + rank)
    result = start.copy()
    same = trace[1:] == trace[:-1]
    previous = end[order[running[:-1] % len(end)]]
    result[1:] = np.where(same, previous, start[1:])
    return result
