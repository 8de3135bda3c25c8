"""The speed of spending: money a minute against what the hour of the day usually costs.

As for hits, with the mean amount of an event as the unit (compound Poisson, the rest is over-dispersion): what is spent
must exceed twice the expected before it counts, since traffic grows and bursts.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.series.arrays import FloatArray
from detectors.series.flow import Flow
from detectors.windows.signals import Form

_MARGIN: Final = 1.0


class Spending(Flow):
    """Signals of form AMOUNT."""

    form = Form.AMOUNT
    effects = np.array([1.5, 2.0, 3.0, 5.0, 8.0])
    shares = np.full(5, 1 / 5)

    def _amounts(self, sums: FloatArray) -> FloatArray:
        return np.asarray(sums[1])

    def _bounds(self, minute: int, amount: FloatArray) -> list[tuple[FloatArray, FloatArray]]:
        leaf = self.leaf
        bound: FloatArray = leaf["rate"] * (1 + _MARGIN + 1 / np.sqrt(leaf["events"] + 1))
        return [(bound, bound)]
