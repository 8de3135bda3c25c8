"""What a plug-in detector promises.

A plug-in sees windows in order, all of its series at once, and answers with calibrated scores. It never sees a clock, a
threshold or another plug-in. `tests/contract/plugins` holds every entry of `detectors.plugins.table` to this:

- a score is a p-value in (0, 1]: where nothing is wrong it is at most `a` in about a share `a` of the windows; 1 means
  nothing to say (warming up, or nothing measured);
- NaN stands for nothing measured, an infinity is treated as NaN, and no value, however large, harms what comes later;
- state is bounded; `restore(snapshot())` goes on exactly as the original would;
- the same windows give the same scores; what is given is not changed; series do not influence each other.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from detectors.series.arrays import FloatArray, IntArray
from dimwatch.errors import InvalidError


class Plugin(Protocol):
    """A detector of a fixed number of series."""

    series: int
    columns: int
    """Measurements of a series in one window."""

    @property
    def ranked_among(self) -> IntArray:
        """Of each series, how many windows the latest score is a rank among; 0 where it is none."""
        ...

    def learn_score(self, values: FloatArray) -> FloatArray:
        """Learn one window and score it: values by series and column in, a p-value by series out.

        Raises InvalidError for another shape.
        """
        ...

    def snapshot(self) -> bytes:
        """Everything that `restore` needs."""
        ...

    def restore(self, state: bytes) -> None:
        """Go on from a snapshot of a plug-in that was made with the same arguments.

        Raises InvalidError for bytes that are none.
        """
        ...


def measured(values: FloatArray, series: int, columns: int) -> FloatArray:
    """A copy in which everything that is not a usable number is NaN. Raises InvalidError for a wrong shape."""
    if values.shape != (series, columns):
        raise InvalidError(f"a window of shape {values.shape}: this plug-in takes ({series}, {columns})")
    return np.where(np.abs(values) < 1e100, values, np.nan)
