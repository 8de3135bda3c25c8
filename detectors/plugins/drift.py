"""Drift of one value a window, by river: ADWIN (Bifet & Gavaldà, 2007) and Page-Hinkley (Page, 1954).

Both know only "drift" or nothing. river 0.26 is silenced for good by one NaN; `OneByOne` lets none through and
replaces a model whose inner state is no longer a number.
"""

from __future__ import annotations

import math
from typing import Final

from river import drift

from detectors.plugins.one_by_one import OneByOne

NOTHING: Final = 1.0


class _Adwin:
    """ADWIN's own bound is the p-value: it sees drift where there is none with a probability of at most `delta`."""

    def __init__(self, delta: float) -> None:
        self._delta = delta
        self._model = drift.ADWIN(delta=delta, clock=8)  # type: ignore[no-untyped-call]

    def learn_score(self, value: float) -> float:
        self._model.update(_bounded(value))  # type: ignore[no-untyped-call]
        if not (math.isfinite(self._model.estimation) and math.isfinite(self._model.variance)):
            return math.nan
        return self._delta if self._model.drift_detected else NOTHING


class _PageHinkley:
    """It has no bound of its own: the p-value is the share of windows in which it fired so far, conformal."""

    def __init__(self, threshold: float, tolerance: float) -> None:
        self._model = drift.PageHinkley(threshold=threshold, delta=tolerance)
        self._fired = 0
        self._seen = 0

    def learn_score(self, value: float) -> float:
        self._model.update(_bounded(value))  # type: ignore[no-untyped-call]
        self._seen += 1
        if not self._model.drift_detected:
            return NOTHING
        self._fired += 1
        return (self._fired + 1) / (self._seen + 1)


def _bounded(residual: float) -> float:
    """A residual of any size in (0, 1), which ADWIN's bound asks for; a monotone map keeps every lasting shift."""
    return 0.5 + 0.5 * residual / (1.0 + abs(residual))


class Adwin(OneByOne):
    """Adaptive windows on a standardised residual of each series (0 where all is as expected)."""

    def __init__(self, series: int, delta: float = 0.0005, epoch: int = 1440) -> None:
        """`delta`: probability of a false drift in a window, and with that the lowest score."""
        super().__init__(series, lambda: _Adwin(delta), epoch)


class PageHinkley(OneByOne):
    """A cumulative sum of the deviations from the mean so far, of a standardised residual of each series."""

    def __init__(self, series: int, threshold: float = 10.0, tolerance: float = 0.02, epoch: int = 1440) -> None:
        """`threshold` and `tolerance`, on the scale where a residual r counts as r / (2 + 2 |r|)."""
        super().__init__(series, lambda: _PageHinkley(threshold, tolerance), epoch)
