"""Conformal calibration on a calm history: raw scores of any model become p-values."""

from __future__ import annotations

from typing import Any

import numpy as np

from detectors.series.arrays import FloatArray, IntArray


class CalmHistory:
    """The last raw scores of every series; the newest `guard` windows are not yet compared with.

    A p-value is the share of the history that is at least as high, the new score counted (Vovk, Gammerman, Shafer,
    "Algorithmic Learning in a Random World", 2005): it holds for any model as long as windows are exchangeable. With
    the guard an incident is not normal before it is found.
    """

    def __init__(self, series: int, windows: int, guard: int, least: int = 50) -> None:
        """`windows` are compared with at most, and none are before there are `least`."""
        self._raw = np.full((series, windows + guard), np.nan)
        self._guard = guard
        self._least = least
        self._seen = 0
        self.held: IntArray = np.zeros(series, dtype=np.int64)
        """How many windows each series was compared with last."""

    def p_values(self, raw: FloatArray) -> FloatArray:
        """Learn one window's raw scores (high is odd, NaN is none) and compare them with the past."""
        width = self._raw.shape[1]
        newest = (self._seen - 1 - np.arange(min(self._guard, self._seen))) % width
        old = np.ones(width, dtype=bool)
        old[newest] = False
        past = self._raw[:, old]
        held = np.isfinite(past).sum(axis=1)
        higher = (past >= raw[:, None]).sum(axis=1)
        self._raw[:, self._seen % width] = raw
        self._seen += 1
        known = np.isfinite(raw) & (held >= self._least)
        self.held = np.where(known, held, 0)
        return np.where(known, (higher + 1) / (held + 1), 1.0)

    def state(self) -> dict[str, Any]:
        """For a snapshot."""
        return {"raw": self._raw, "seen": self._seen}

    def load(self, state: dict[str, Any]) -> None:
        """Back from a snapshot."""
        self._raw, self._seen = state["raw"], state["seen"]
