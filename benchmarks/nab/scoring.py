"""The scoring rules of NAB (Lavin & Ahmad, "Evaluating Real-Time Anomaly Detection Algorithms", 2015, section II).

Every labelled anomaly has a window. The first and best detection in it earns up to one point, the earlier the more
(a scaled sigmoid of the relative position, one at the window's left edge and nearly zero at its right one); a window
without a detection costs `fn`; every detection outside costs up to `fp`, less shortly behind a window. A detection is
a record with a score at or above a threshold, one for the whole corpus and chosen on it. The first 15% of a series
(of at most 5,000 records) is probation: nothing in there counts. The sum is scaled so that no detections at all are 0
and an immediate detection of every window, with nothing beside, is 100.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

PROBATION_SHARE: Final = 0.15
PROBATION_RECORDS: Final = 5_000
OUTSIDE: Final = -1


@dataclass(frozen=True, slots=True)
class Profile:
    """What detections and misses are worth."""

    name: str
    tp: float
    fn: float
    fp: float


STANDARD: Final = Profile("standard", tp=1.0, fn=1.0, fp=0.11)
PROFILES: Final = (
    STANDARD,
    Profile("reward low FP", tp=1.0, fn=1.0, fp=0.22),
    Profile("reward low FN", tp=1.0, fn=2.0, fp=0.11),
)


def scaled_sigmoid(position: FloatArray) -> FloatArray:
    """Worth of a detection at a position: -1 is a window's left edge, 0 its right one, 1 a window's width behind."""
    return np.where(position > 3.0, -1.0, 2.0 / (1.0 + np.exp(5.0 * np.minimum(position, 3.0))) - 1.0)


def probation(records: int) -> int:
    """How many records at the beginning do not count."""
    return int(PROBATION_SHARE * min(records, PROBATION_RECORDS))


@dataclass(frozen=True, slots=True)
class Rated:
    """What a detection at each record of one series would be worth, before a profile's weights."""

    worth: FloatArray
    """In (0, 1] within a window, in [-1, 0] outside, by record."""
    window: NDArray[np.intp]
    """Number of the window that a record is in, or OUTSIDE."""
    first: int
    """The first record that counts."""

    @property
    def windows(self) -> int:
        """How many windows can be found at all."""
        return len(np.unique(self.window[self.first :][self.window[self.first :] != OUTSIDE]))


def rate(records: int, windows: Sequence[tuple[int, int]]) -> Rated:
    """Rate every record of a series. `windows`: first and last record of each, both included, in order, apart."""
    at = np.arange(records)
    worth = np.full(records, -1.0)
    number = np.full(records, OUTSIDE, np.intp)
    best = float(scaled_sigmoid(np.array(-1.0)))
    for index, (first, last) in enumerate(windows):
        width = last - first + 1
        inside = slice(first, last + 1)
        worth[inside] = scaled_sigmoid(-(last - at[inside] + 1) / width) / best
        number[inside] = index
        worth[last + 1 :] = scaled_sigmoid((at[last + 1 :] - last) / max(width - 1, 1))
    return Rated(worth, number, probation(records))


@dataclass(frozen=True, slots=True)
class Sweep:
    """The raw score of a corpus as a function of the threshold, for one profile."""

    thresholds: FloatArray
    """Descending; every one that makes a difference. The first is infinity: no detection."""
    totals: FloatArray
    """Raw score at each."""
    windows: int
    profile: Profile

    @property
    def best_threshold(self) -> float:
        """Where the raw score is highest; the highest such threshold."""
        return float(self.thresholds[np.argmax(self.totals)])

    def at(self, threshold: float) -> float:
        """Raw score when everything at or above a threshold is a detection."""
        return float(self.totals[np.searchsorted(-self.thresholds, -threshold, side="right") - 1])

    def normalised(self, raw: float) -> float:
        """On the scale where no detections are 0 and perfect ones are 100."""
        null = -self.profile.fn * self.windows
        return 100.0 * (raw - null) / (self.profile.tp * self.windows - null)

    @property
    def score(self) -> float:
        """The published figure: normalised, at the threshold that suits the corpus best."""
        return self.normalised(float(self.totals.max()))


def sweep(corpus: Sequence[tuple[Rated, FloatArray]], profile: Profile = STANDARD) -> Sweep:
    """Score a corpus, given what each record is worth and how anomalous a detector found it (the higher the more)."""
    at, gains, windows = [], [], 0
    for rated, scores in corpus:
        counted = slice(rated.first, None)
        score, worth, window = scores[counted], rated.worth[counted], rated.window[counted]
        if not np.isfinite(score).all():
            raise ValueError("a score is not a finite number")
        outside = window == OUTSIDE
        at.append(score[outside])
        gains.append(profile.fp * worth[outside])
        for number in np.unique(window[~outside]):
            inside = window == number
            order = np.argsort(-score[inside], kind="stable")
            best = np.maximum.accumulate(profile.tp * worth[inside][order])
            at.append(score[inside][order])
            gains.append(np.diff(best, prepend=-profile.fn))
            windows += 1
    scores_of, gain = np.concatenate(at), np.concatenate(gains)
    order = np.argsort(-scores_of, kind="stable")
    totals = np.cumsum(gain[order]) - profile.fn * windows
    last = np.flatnonzero(np.diff(scores_of[order], append=-np.inf) != 0)
    return Sweep(
        np.concatenate([[np.inf], scores_of[order][last]]),
        np.concatenate([[-profile.fn * windows], totals[last]]),
        windows,
        profile,
    )
