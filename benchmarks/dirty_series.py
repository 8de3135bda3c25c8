"""Series as they are: a day and a week in the traffic, drift, bursts, over-dispersion, heavy tails, blips.

Minute by minute for all series at once, as (n, total, squares) of one signal. Everything is drawn from one seeded
generator. Shapes are made up, not fitted; the point is that none of them is what the engine assumes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

WEEK = 7 * 1440
RATES = (300.0, 30.0, 3.0, 0.3)
"""Requests a minute, a quarter of the series each."""


class Drift:
    """A slow wandering of each series (Ornstein-Uhlenbeck) of a given standard deviation."""

    def __init__(self, series: int, deviation: float, hours: float, rng: np.random.Generator) -> None:
        self._keep = float(np.exp(-1 / (hours * 60)))
        self._push = deviation * float(np.sqrt(1 - self._keep**2))
        self._rng = rng
        self.now: FloatArray = rng.normal(0, deviation, series)

    def step(self) -> FloatArray:
        """The next minute."""
        self.now = self.now * self._keep + self._rng.normal(0, self._push, len(self.now))
        return self.now


@dataclass
class Fault:
    """What is off in the series of `where`, as long as it lasts."""

    where: NDArray[np.bool_]
    rate: float = 1.0
    """Factor of the failure rate."""
    to_rate: float | None = None
    """Or the rate itself."""
    shift: float = 0.0
    """Of the mean of the logarithm."""
    traffic: float = 1.0


class Dirty:
    """A fleet of series of one signal."""

    def __init__(self, series: int, seed: int, *, failure_rate: float | None = None, sigma: float = 0.6) -> None:
        """`failure_rate`: of all series; without it 0.3% to 8%, evenly in the logarithm."""
        self.rng = rng = np.random.default_rng(seed)
        self.sigma = sigma
        self.rate: FloatArray = np.array(RATES)[np.arange(series) % len(RATES)]
        drawn = np.exp(rng.uniform(np.log(0.003), np.log(0.08), series))
        self.failure_rate: FloatArray = drawn if failure_rate is None else np.full(series, failure_rate)
        self._peak, self._depth = rng.uniform(0, 24, series), rng.uniform(0.2, 0.7, series)
        self._weekend = rng.uniform(0.3, 1.0, series)
        self._wave = rng.uniform(0.0, 0.15, series)
        self._growth = rng.uniform(-0.02, 0.1, series)
        self._traffic_drift = Drift(series, 0.1, 12, rng)
        self._drift = Drift(series, 0.08, 24, rng)
        self._level_drift = Drift(series, 0.03, 24, rng)
        self._mean = rng.normal(0, 1, series)
        self._busy = np.zeros(series)

    def traffic(self, minute: int, fault: Fault | None = None) -> FloatArray:
        """Requests of this minute."""
        rng, count = self.rng, len(self.rate)
        day = 1 + self._depth * np.cos((minute / 60 - self._peak) * 2 * np.pi / 24)
        weekend = np.where((minute // 1440) % 7 >= 5, self._weekend, 1.0)
        growth = 1 + self._growth * minute / WEEK
        self._busy = np.where(rng.random(count) < 1 / 2000, rng.integers(5, 40, count), np.maximum(self._busy - 1, 0))
        burst = np.where(self._busy > 0, 2.0, 1.0) * rng.gamma(30, 1 / 30, count)
        mean = self.rate * day * weekend * growth * burst * np.exp(self._traffic_drift.step())
        if fault is not None:
            mean = np.where(fault.where, mean * fault.traffic, mean)
        return rng.poisson(mean).astype(np.float64)

    def failures(self, minute: int, n: FloatArray, fault: Fault | None = None) -> FloatArray:
        """How many of them fail: over-dispersed, and now and then a few in a row."""
        rng, count = self.rng, len(n)
        wave = 1 + self._wave * np.cos((minute / 60 - self._peak) * 2 * np.pi / 24)
        share = self.failure_rate * wave * np.exp(self._drift.step()) * rng.gamma(15, 1 / 15, count)
        if fault is not None:
            share = np.where(fault.where, share * fault.rate, share)
            if fault.to_rate is not None:
                share = np.where(fault.where, fault.to_rate * rng.gamma(15, 1 / 15, count), share)
        blip = np.where(rng.random(count) < 1 / WEEK, 1 + rng.poisson(1.5, count), 0)
        failed = rng.binomial(n.astype(np.int64), np.minimum(share, 0.95)) + blip
        return np.minimum(failed, n)

    def logs(self, minute: int, n: FloatArray, fault: Fault | None = None) -> tuple[FloatArray, FloatArray]:
        """Sum and sum of squares of the logarithms: 3% are wide and slow, and each window has a mood of its own."""
        rng, count = self.rng, len(n)
        wave = 0.3 * self._wave * np.cos((minute / 60 - self._peak) * 2 * np.pi / 24)
        mean = self._mean + wave + self._level_drift.step() + rng.normal(0, 0.03, count)
        if fault is not None:
            mean = np.where(fault.where, mean + fault.shift, mean)
        wide = rng.binomial(n.astype(np.int64), 0.03).astype(np.float64)
        total, squares = np.zeros(count), np.zeros(count)
        for number, centre, sigma in ((n - wide, mean, self.sigma), (wide, mean + self.sigma, 3 * self.sigma)):
            some = number > 0
            here = centre + np.where(some, sigma * rng.normal(size=count) / np.sqrt(np.maximum(number, 1)), 0.0)
            rest = np.where(number > 1, sigma**2 * rng.chisquare(np.maximum(number - 1, 1)), 0.0)
            total += np.where(some, number * here, 0.0)
            squares += np.where(some, number * here**2 + rest, 0.0)
        return total, squares
