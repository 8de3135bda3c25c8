"""Ways to look at a stream: each says how unlike the past the newest record is, in a unit of its own.

A view answers NaN as long as it cannot tell. What its answer means is left to a conformal p-value, so a view needs no
scale, and a monotone change of it changes nothing.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from typing import Final, Protocol

import numpy as np

from detectors.univariate.history import History

DAY_S: Final = 86_400.0


class View(Protocol):
    """One way to look."""

    def look(self, time_s: float, value: float) -> float:
        """Learn a record (seconds since 1970, ascending; a finite value) and say how unlike the past it was."""
        ...


class Novelty:
    """Distance of the mean of the newest `width` records to the nearest such mean that shares no record with it."""

    def __init__(self, width: int, memory: int) -> None:
        self._recent: deque[float] = deque(maxlen=width)
        self._overlapping: deque[float] = deque()
        self._past = History(memory)

    def look(self, time_s: float, value: float) -> float:
        self._recent.append(value)
        feature = self._feature(sum(self._recent) / len(self._recent))
        gap = self._past.gap(feature)
        self._overlapping.append(feature)
        if len(self._overlapping) == self._recent.maxlen:
            self._past.add(self._overlapping.popleft())
        return gap

    def _feature(self, mean: float) -> float:
        return mean


class SpreadNovelty(Novelty):
    """The same of the logarithm of their standard deviation: restless and frozen alike."""

    STILL: Final = -700.0
    """The logarithm for records that do not differ but by rounding."""

    def _feature(self, mean: float) -> float:
        spread = math.sqrt(sum((one - mean) ** 2 for one in self._recent) / len(self._recent))
        return math.log(spread) if spread > 1e-9 * abs(mean) else self.STILL


class DaySlot:
    """Distance to the exponential mean of former days at this hour of the day."""

    def __init__(self, slots: int = 24, weight: float = 0.3, level_weight: float = 0.01) -> None:
        self._means = [np.nan] * slots
        self._weight = weight
        self._level_weight = level_weight
        self._level = np.nan
        self._slot = -1
        self._sum = 0.0
        self._count = 0

    def look(self, time_s: float, value: float) -> float:
        slot = int(time_s % DAY_S / DAY_S * len(self._means))
        if slot != self._slot:
            self._close()
            self._slot = slot
        if np.isnan(self._level):
            self._level = value
        usual = self._means[slot]
        residual = abs(value - (self._level if np.isnan(usual) else usual))
        self._level += self._level_weight * (value - self._level)
        self._sum += value
        self._count += 1
        return residual

    def _close(self) -> None:
        if self._count:
            mean, known = self._sum / self._count, self._means[self._slot]
            self._means[self._slot] = mean if np.isnan(known) else known + self._weight * (mean - known)
        self._sum, self._count = 0.0, 0


class SameTime:
    """Distance to the nearest of the values one, two, three and seven days ago, give or take a record."""

    LAGS_S: Final = tuple(days * DAY_S for days in (1, 2, 3, 7))

    def __init__(self, width: int = 3, memory: int = 6_000) -> None:
        self._width = width
        self._memory = memory
        self._recent: deque[float] = deque(maxlen=width)
        self._times: list[float] = []
        self._means: list[float] = []

    def look(self, time_s: float, value: float) -> float:
        self._recent.append(value)
        mean = sum(self._recent) / len(self._recent)
        nearest = np.nan
        for lag in self.LAGS_S:
            then = time_s - lag
            if self._times and then >= self._times[0]:
                at = bisect_left(self._times, then)
                for other in self._means[max(at - 1, 0) : at + 2]:
                    distance = abs(other - mean)
                    if not distance >= nearest:
                        nearest = distance
        self._times.append(time_s)
        self._means.append(mean)
        if len(self._times) > 2 * self._memory:
            del self._times[: self._memory], self._means[: self._memory]
        return nearest


class LeftNeighbour:
    """Distance of the newest stretch of about `width` records to the nearest earlier stretch (the left matrix profile,
    Yeh et al. 2016, in its online form), with exponential weights in place of a hard edge: one update a lag, and
    rounding errors fade."""

    def __init__(self, width: int, memory: int) -> None:
        self._width = width
        self._memory = memory
        self._keep = 1.0 - 1.0 / width
        self._values = np.zeros(2 * memory)
        self._seen = 0
        self._held = 0
        self._distances = np.zeros(memory)
        """By lag: from `memory` at the left to 1 at the right."""

    def look(self, time_s: float, value: float) -> float:
        if self._held == len(self._values):
            self._values[: self._memory] = self._values[-self._memory :]
            self._held = self._memory
        lags = min(self._held, self._memory)
        distances = self._distances[self._memory - lags :]
        difference = self._values[self._held - lags : self._held] - value
        difference *= difference
        distances *= self._keep
        distances += difference
        self._values[self._held] = value
        self._held += 1
        self._seen += 1
        complete = distances[max(0, self._width - (self._seen - 1 - lags)) : lags - self._width + 1]
        return float(complete.min()) if len(complete) else np.nan
