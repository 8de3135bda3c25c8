"""Is a value clearly other than it was before? One answer for every table that compares."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from dashboard.signals import Shown

_LEAST: Final = 20
"""Trials on both sides: fewer say nothing."""
_LEVEL_OFF: Final = 0.2
"""From this much off, as a ratio, a level or rate is marked."""
_RATIO_OFF: Final = 3.0
"""From so many standard errors on a ratio is marked, and from `_LEAST_POINTS`."""
_LEAST_POINTS: Final = 0.01
WORSE: Final = "color: #e8890c; font-weight: 700"
BETTER: Final = "color: #5f9e7f"


@dataclass(frozen=True, slots=True)
class Value:
    """A signal in a time range and before it, of so many trials. NaN where there is nothing."""

    shown: Shown
    now: float
    before: float
    n: float
    n_before: float

    @property
    def off(self) -> int:
        """1 if it is clearly more than before, -1 if it is clearly less, else 0."""
        if math.isnan(self.now) or math.isnan(self.before) or min(self.n, self.n_before) < _LEAST:
            return 0
        if self.shown.form != "hits":
            factor = self.now / self.before if self.before > 0 else 1.0
            return 0 if abs(math.log(max(factor, 1e-9))) < math.log1p(_LEVEL_OFF) else 1 if factor > 1 else -1
        pooled = (self.now * self.n + self.before * self.n_before) / (self.n + self.n_before)
        error = math.sqrt(max(pooled * (1 - pooled), 1e-9) * (1 / self.n + 1 / self.n_before))
        difference = self.now - self.before
        if abs(difference) < max(_RATIO_OFF * error, _LEAST_POINTS):
            return 0
        return 1 if difference > 0 else -1

    @property
    def worse(self) -> bool:
        """Off in the direction that somebody should hear of."""
        return self.off != 0 and self.shown.worse in (0, self.off)

    @property
    def text(self) -> str:
        """For people: what it is, and what it was where that is known."""
        if math.isnan(self.now):
            return ""
        value = self.shown.brief(self.now)
        if math.isnan(self.before):
            return value
        arrow = {1: "▲ ", -1: "▼ ", 0: ""}[self.off]
        return f"{arrow}{value}   was {self.shown.brief(self.before)}"

    @property
    def look(self) -> str:
        """CSS of a cell that shows it."""
        return "" if self.off == 0 else WORSE if self.worse else BETTER
