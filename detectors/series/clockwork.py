"""The times that all methods share: blocks of ten minutes, the guard ring, hours of the day."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.series.arrays import FloatArray

BLOCK: Final = 10
"""Minutes that are learned, and judged for over-dispersion, together."""
HOURS: Final = 24
DAY: Final = 1440
WEEK: Final = 7 * DAY
NEVER: Final = 2**31 - 1

SLOT_MEMORY: Final = 0.5 ** (1 / 7)
"""What is left of an hour of the day after one day: a half-life of a week."""


@dataclass(frozen=True, slots=True)
class Clockwork:
    """How long things are remembered."""

    half_life_h: float
    guard_h: float

    @property
    def ring(self) -> int:
        """Blocks of the guard ring: the guard, and the block that is being filled."""
        return math.ceil(self.guard_h * 60 / BLOCK) + 1

    def memory(self, evidence: FloatArray, enough: float) -> FloatArray:
        """What is left of a memory after one block: its half-life is up to eight times longer where there is little."""
        stretch = np.clip(enough / np.maximum(evidence, 1e-9), 1.0, 8.0)
        kept: FloatArray = 0.5 ** (BLOCK / (self.half_life_h * 60 * stretch))
        return kept


def hour(minute: int) -> int:
    """The hour of the day, UTC."""
    return minute // 60 % HOURS


def between(slots: FloatArray, minute: int) -> FloatArray:
    """A value of the hour slots (shape (series, 24)) at a minute, linear between the middles of the hours."""
    position = (minute % DAY) / 60 - 0.5
    low = math.floor(position)
    share = position - low
    mixed: FloatArray = (1 - share) * slots[:, low % HOURS] + share * slots[:, (low + 1) % HOURS]
    return mixed
