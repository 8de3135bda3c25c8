"""What others alert on, as a statistic of every series, minute by minute: the higher, the more it looks like trouble.

Each keeps its own state; which value is high enough is decided outside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from river import drift

from detectors.plugins.burn_rate import TIERS

FloatArray = NDArray[np.float64]


class Peer(Protocol):
    """A way to watch the failure ratio of all series."""

    def step(self, n: FloatArray, failed: FloatArray) -> FloatArray:
        """Requests and failures of a minute by series; the statistic by series."""
        ...


class Rolling:
    """Sums over the last `minutes`."""

    def __init__(self, series: int, minutes: int, columns: int) -> None:
        self._ring = np.zeros((minutes, columns, series))
        self.sums = np.zeros((columns, series))
        self._at = 0

    def add(self, *values: FloatArray) -> FloatArray:
        """Take in a minute; the sums with it."""
        row = np.stack(values)
        self.sums += row - self._ring[self._at]
        self._ring[self._at] = row
        self._at = (self._at + 1) % len(self._ring)
        return self.sums


class StaticRatio:
    """The failure ratio of the last minutes, as in "more than x% errors for five minutes"."""

    def __init__(self, series: int, minutes: int) -> None:
        self._rolling = Rolling(series, minutes, 2)

    def step(self, n: FloatArray, failed: FloatArray) -> FloatArray:
        requests, failures = self._rolling.add(n, failed)
        return np.where(requests > 0.5, failures / np.maximum(requests, 1.0), 0.0)


class RollingSigma:
    """Standard deviations of a minute's ratio above its mean over the last minutes."""

    def __init__(self, series: int, minutes: int) -> None:
        self._rolling = Rolling(series, minutes, 3)

    def step(self, n: FloatArray, failed: FloatArray) -> FloatArray:
        some = (n > 0).astype(np.float64)
        ratio = np.where(n > 0, failed / np.maximum(n, 1.0), 0.0)
        held, total, squares = self._rolling.sums
        many = np.maximum(held, 1.0)
        mean = total / many
        spread = np.sqrt(np.maximum(squares / many - mean**2, 0.0))
        known = (n > 0) & (held >= 30) & (spread > 1e-6)
        sigmas = np.where(known, (ratio - mean) / np.where(known, spread, 1.0), 0.0)
        self._rolling.add(some, ratio, ratio**2)
        return sigmas


class Burn:
    """Multi-window burn rate, against an objective of twice the mean of the first week.

    The statistic is by how much the tier that is nearest to firing does so; the workbook fires at 1.
    """

    LEARN: Final = 7 * 1440

    def __init__(self, series: int) -> None:
        self._pairs = [(Rolling(series, tier.long, 2), Rolling(series, tier.short, 2)) for tier in TIERS]
        self._learned = np.zeros((2, series))
        self._seen = 0

    def step(self, n: FloatArray, failed: FloatArray) -> FloatArray:
        if self._seen < self.LEARN:
            self._learned += np.stack([n, failed])
        self._seen += 1
        allowed = 2.0 * (self._learned[1] + 1.0) / (self._learned[0] + 100.0)
        worst = np.zeros(len(n))
        for tier, pair in zip(TIERS, self._pairs, strict=True):
            ratios = [of.add(n, failed)[1] / np.maximum(of.sums[0], 1.0) for of in pair]
            worst = np.maximum(worst, np.minimum(*ratios) / allowed / tier.factor)
        return worst if self._seen > self.LEARN else np.zeros(len(n))


class PageHinkley:
    """The one-sided Page-Hinkley statistic of the ratio, as river computes it, for all series at once."""

    def __init__(self, series: int, tolerance: float = 0.005, keep: float = 0.9999) -> None:
        self._tolerance = tolerance
        self._keep = keep
        self._seen = np.zeros(series)
        self._mean = np.zeros(series)
        self._sum = np.zeros(series)
        self._least = np.full(series, np.inf)

    def step(self, n: FloatArray, failed: FloatArray) -> FloatArray:
        some = n > 0
        ratio = failed / np.maximum(n, 1.0)
        self._seen += some
        self._mean += np.where(some, (ratio - self._mean) / np.maximum(self._seen, 1.0), 0.0)
        total = self._keep * self._sum + ratio - self._mean - self._tolerance
        self._sum = np.where(some, total, self._sum)
        self._least = np.where(some, np.minimum(self._least, self._sum), self._least)
        return np.where(self._seen >= 30, self._sum - self._least, 0.0)


class Adwin:
    """ADWIN by river on the ratio, at several confidences at once; the statistic is -log10 of the strictest that saw
    a rise. Only every `SAMPLE`-th group of four series, the others stay at 0: river takes one value at a time."""

    DELTAS: Final = (1e-2, 1e-4, 1e-7, 1e-12, 1e-20)
    SAMPLE: Final = 5

    def __init__(self, series: int) -> None:
        self.watched = np.flatnonzero(np.arange(series) // 4 % self.SAMPLE == 0)
        self._models = [
            [drift.ADWIN(delta=delta, clock=8) for delta in self.DELTAS]  # type: ignore[no-untyped-call]
            for _ in self.watched
        ]

    def step(self, n: FloatArray, failed: FloatArray) -> FloatArray:
        strictest = np.zeros(len(n))
        for at, models in zip(self.watched.tolist(), self._models, strict=True):
            if n[at] > 0:
                ratio = float(failed[at] / n[at])
                for delta, model in zip(self.DELTAS, models, strict=True):
                    before = model.estimation
                    model.update(ratio)  # type: ignore[no-untyped-call]
                    if model.drift_detected and model.estimation > before:
                        strictest[at] = max(strictest[at], -np.log10(delta))
        return strictest


PEERS: Final[dict[str, Callable[[int], Peer]]] = {
    "static ratio, 5 min": lambda series: StaticRatio(series, 5),
    "static ratio, 1 h": lambda series: StaticRatio(series, 60),
    "rolling sigma, 1 h": lambda series: RollingSigma(series, 60),
    "rolling sigma, 1 d": lambda series: RollingSigma(series, 1440),
    "multi-window burn rate": Burn,
    "Page-Hinkley": PageHinkley,
    "ADWIN (river)": Adwin,
}
