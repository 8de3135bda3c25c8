"""Declared objectives: how fast an error budget burns, over several windows at once.

"The Site Reliability Workbook" (Google, 2018), chapter 5, "Multiwindow, multi-burn-rate alerts": an alert needs the
failures of a long window to burn the budget `factor` times too fast, and those of a short one still to do so. The
book's alert is yes or no; the score here is the probability of so many failures if the objective were just met.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import special

from detectors.plugins.plugin import measured
from detectors.series.arrays import FloatArray, IntArray, Mask
from detectors.series.pack import pack, unpack
from dimwatch.errors import InvalidError


@dataclass(frozen=True, slots=True)
class Tier:
    """One pair of windows, in minutes."""

    long: int
    short: int
    factor: float


TIERS: Final = (Tier(60, 5, 14.4), Tier(360, 30, 6.0), Tier(4320, 360, 1.0))
"""The workbook's, for an objective of 30 days: 2% of the budget in an hour, 5% in six, 10% in three days."""


class BurnRate:
    """Takes failures and trials of each minute. Scores 1 unless a tier fires."""

    columns = 2

    def __init__(self, series: int, allowed: float = 0.01, tiers: tuple[Tier, ...] = TIERS) -> None:
        """`allowed`: share of trials that may fail, 0.01 for an objective of 99%."""
        if not 0.0 < allowed < 1.0:
            raise InvalidError(f"an objective that allows a share of {allowed} to fail: it must be between 0 and 1")
        self.series = series
        self._allowed = allowed
        self._tiers = tiers
        self._minutes = np.zeros((max(tier.long for tier in tiers), series, 2))
        self._sums = np.zeros((len(tiers), 2, series, 2))
        """By tier and window (long, short)."""
        self._seen = 0

    @property
    def ranked_among(self) -> IntArray:
        """Scores are no ranks."""
        return np.zeros(self.series, dtype=np.int64)

    def learn_score(self, values: FloatArray) -> FloatArray:
        """Learn one minute and score it. More failures than trials, or fewer than none, count as nothing measured."""
        minute = measured(values, self.series, 2)
        valid = (minute[:, 0] >= 0) & (minute[:, 0] <= minute[:, 1]) & (minute[:, 1] <= 1e12)
        minute = np.where(valid[:, None], np.floor(minute), 0.0)
        for tier, sums in zip(self._tiers, self._sums, strict=True):
            for length, total in ((tier.long, sums[0]), (tier.short, sums[1])):
                total += minute
                if self._seen >= length:
                    total -= self._minutes[(self._seen - length) % len(self._minutes)]
        self._minutes[self._seen % len(self._minutes)] = minute
        self._seen += 1
        return np.asarray(np.clip(self.by_tier().min(axis=0) * len(self._tiers), np.finfo(float).tiny, 1.0))

    def rates(self) -> FloatArray:
        """How many times too fast the budget burns, shape (tiers, 2, series), of the long and the short windows.

        As long as a window is not full, what came before counts as the same traffic without failures.
        """
        lengths = np.array([(tier.long, tier.short) for tier in self._tiers], dtype=np.float64)
        full = np.minimum(self._seen, lengths) / lengths
        failures, trials = self._sums[..., 0], self._sums[..., 1]
        return np.asarray(failures * full[..., None] / np.maximum(trials, 1.0) / self._allowed)

    def trials(self) -> FloatArray:
        """In the long windows, shape (tiers, series)."""
        return np.asarray(self._sums[:, 0, :, 1])

    def by_tier(self) -> FloatArray:
        """The probability of so many failures in the long window if the objective were just met, shape (tiers, series);
        1 where a tier does not fire."""
        failures, trials = self._sums[:, 0, :, 0], self._sums[:, 0, :, 1]
        some = np.maximum(failures, 1.0)
        # The binomial tail, as an incomplete beta function (Abramowitz & Stegun 26.5.24).
        tail = special.betainc(some, np.maximum(trials, some) - some + 1.0, self._allowed)
        return np.where(self.firing(), tail, 1.0)

    def firing(self) -> Mask:
        """Whether both windows burn too fast, shape (tiers, series)."""
        limits = np.array([min(tier.factor, 1.0 / self._allowed) for tier in self._tiers])[:, None, None]
        # What makes the whole budget burn in every trial may be a hair less than that in floating point.
        fast: Mask = (self.rates() >= limits * (1 - 1e-9)) & (self._sums[..., 0] > 0)
        return np.asarray(fast.all(axis=1))

    def snapshot(self) -> bytes:
        """The minutes of the longest window."""
        return pack({"minutes": self._minutes, "sums": self._sums, "seen": self._seen})

    def restore(self, state: bytes) -> None:
        """Back to them."""
        arrays = unpack(state)
        if "minutes" not in arrays or arrays["minutes"].shape != self._minutes.shape:
            raise InvalidError("a snapshot of another plug-in, or of one with other arguments: start without it")
        self._minutes, self._sums, self._seen = arrays["minutes"], arrays["sums"], arrays["seen"]
