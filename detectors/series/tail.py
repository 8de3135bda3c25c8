"""The slow tail: calls above what was their 95th percentile when it was frozen, as hits of a further signal.

One call in ten that takes four times as long hardly moves a mean of logarithms, but doubles or triples this count. The
mark is mean + 1.645 standard deviations of the log at the time: what share of calls lies above it is for the baseline
of the hits to learn, so it need not be exact, only stay where it is.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa

from detectors.series.arrays import FloatArray, IntArray, add_up
from detectors.series.level import Level
from detectors.series.table import Table
from detectors.windows.histogram import bucket_of

_P95: Final = 1.645
_UNSET: Final = np.iinfo(np.int16).max
_FREEZE_AT: Final = 200.0
"""Measurements behind the baseline."""


class Tail:
    """The marks of all leaves of a bank of levels."""

    def __init__(self) -> None:
        self.marks = Table(bucket=(np.int16, 0, float(_UNSET)))

    def grow(self, levels: Level) -> None:
        """Make room for new leaves."""
        self.marks.grow(levels.leaf.rows)

    def renew(self, levels: Level) -> None:
        """Freeze the marks of leaves that have become known well enough, and lift those of leaves that start anew."""
        self.grow(levels)
        n, marks = levels.leaf["n"], self.marks["bucket"]
        marks[n < _FREEZE_AT / 4] = _UNSET
        new = np.flatnonzero((n >= _FREEZE_AT) & (marks == _UNSET))
        logs = levels.leaf["mean"][new] + _P95 * np.sqrt(levels.leaf["variance"][new])
        marks[new] = bucket_of(np.clip(logs, -600.0, 600.0))

    def hits(self, leaf: IntArray, bucket: pa.ListArray, count: pa.ListArray) -> tuple[FloatArray, FloatArray]:
        """Measurements and those above the mark, by row (of `leaf`). No measurements where none is frozen."""
        lengths = np.diff(bucket.offsets.to_numpy().astype(np.int64))
        row = np.repeat(np.arange(len(lengths)), lengths)
        counts = count.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
        mark = self.marks["bucket"][leaf]
        above = bucket.flatten().to_numpy(zero_copy_only=False) > mark[row]
        n = add_up(row, counts, len(lengths))
        hits = add_up(row, counts * above, len(lengths))
        return np.where(mark == _UNSET, 0.0, n), hits
