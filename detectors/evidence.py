"""What happened in each cell of the fleet lately against what was to be expected: what a cause is searched in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from detectors.alerts import Node
from detectors.series.arrays import FloatArray
from detectors.windows.signals import Form


@dataclass(frozen=True, slots=True)
class Evidence:
    """One signal by cell, all arrays of one length; cells without an armed baseline are not in it.

    A cell has every dimension that its subject has, plus release and region where a point named them.
    """

    nodes: list[Node]
    observed: FloatArray
    """Hits, events or amount; for levels the sum of (log - expected log) / standard deviation, positive where worse."""
    expected: FloatArray
    """The same by the baseline; for levels the variance of that sum (its measurements, times over-dispersion)."""
    n: FloatArray
    """Trials, measurements or events; for events and amounts the minutes."""
    form: Form

    def gain(self, mask: ArrayLike) -> float:
        """How much better "these cells share one shift for the worse" explains them than "as ever", in nats.

        Hits and amounts: K ln(K/E) - (K - E) for K > E; events the same for K < E (missing is worse); levels:
        S^2 / 2V for S > 0. Zero where the cells together are not worse. `mask`: boolean, one for each cell.
        """
        chosen = np.asarray(mask, dtype=bool)
        observed, expected = float(self.observed[chosen].sum()), float(self.expected[chosen].sum())
        if expected <= 0:
            return 0.0
        if self.form is Form.LEVEL:
            return observed**2 / (2 * expected) if observed > 0 else 0.0
        if self.form is Form.EVENTS:
            if observed >= expected:
                return 0.0
        elif observed <= expected:
            return 0.0
        likelihood = observed * float(np.log(observed / expected)) if observed > 0 else 0.0
        return likelihood - (observed - expected)
