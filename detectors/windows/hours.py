"""Closed minutes into hours."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from detectors.windows.minute import Minute
from detectors.windows.points import in_windows, merged, times_of
from dimwatch import records
from dimwatch.clock import NS_PER_SECOND
from dimwatch.records import POINT

HOUR_NS: Final = 3600 * NS_PER_SECOND
_PARTS: Final = 16
"""Tables that are kept before they are merged."""


class Hours:
    """Not thread-safe. Holds the points of the hour that is open, merged."""

    def __init__(self) -> None:
        self._open: list[pa.Table] = []
        self._before: list[pa.Table] = []

    def add(self, minute: Minute) -> pa.Table | None:
        """Take in a closed minute, in order; return the points (`dimwatch.records.POINT`) of the hour that is over."""
        begin = minute.start_ns // HOUR_NS * HOUR_NS
        over = None
        if self._open and int(times_of(self._open[0])[0]) != begin:
            over, self._open = merged(self._open), []
        if minute.points.num_rows:
            self._open.append(in_windows(minute.points, HOUR_NS))
        if len(self._open) > _PARTS:
            self._open = [merged(self._open)]
        if over is None and self._open and minute.end_ns % HOUR_NS == 0:
            over, self._open = merged(self._open), []
        return over

    def leap(self) -> None:
        """Minutes far ahead follow, which may be taken back."""
        self._before = list(self._open)

    def go_back(self) -> None:
        """They are."""
        self._open = self._before

    def snapshot(self) -> bytes:
        """The open hour."""
        return records.encode(pa.concat_tables([POINT.empty_table(), *self._open]))

    def restore(self, state: bytes) -> None:
        """Undo `snapshot`. Raises InvalidError for anything else."""
        points = records.decode(state)
        self._open = [points] if points.num_rows else []
