"""The last values of a stream in sorted order: ranks and gaps in logarithmic time."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque

import numpy as np

from detectors.series.arrays import FloatArray


class History:
    """At most `capacity` values, the oldest forgotten first."""

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}: a history holds at least one value")
        self._capacity = capacity
        self._in_time: deque[float] = deque()
        self._sorted: list[float] = []

    def p_value(self, value: float) -> float:
        """Conformal p-value: the share that is at least as large, the value itself counted (Vovk et al., 2005)."""
        held = len(self._sorted)
        return (held - bisect_left(self._sorted, value) + 1) / (held + 1)

    def gap(self, value: float) -> float:
        """Distance to the nearest value; 0 without any."""
        above = bisect_left(self._sorted, value)
        near = self._sorted[max(above - 1, 0) : above + 1]
        return min((abs(value - other) for other in near), default=0.0)

    def add(self, value: float) -> None:
        """Take in a finite value."""
        if len(self._in_time) == self._capacity:
            del self._sorted[bisect_left(self._sorted, self._in_time.popleft())]
        self._in_time.append(value)
        insort(self._sorted, value)

    def values(self) -> FloatArray:
        """What is held, oldest first."""
        return np.array(self._in_time)

    def restore(self, values: FloatArray) -> None:
        """Hold what `values` said."""
        self._in_time = deque(values.tolist())
        self._sorted = sorted(self._in_time)
