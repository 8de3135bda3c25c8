"""Over-dispersion: how much wider than by pure chance blocks of ten minutes scatter.

Quasi-likelihood (Wedderburn, Biometrika 61, 1974): D is the mean of chi^2 over calm blocks, at least 1, shrunk to that
of the same signal elsewhere and winsorised at three sigma. Log-likelihood ratios are divided by it. Chi^2 is that of
successive differences (von Neumann, Ann. Math. Stat. 12, 1941): what changes from block to block is dispersion, what
wanders slowly is for margin and tolerance to bear, and would only blunt the detector if it were counted here, too.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from detectors.series.arrays import FloatArray, IntArray, Mask, add_up
from detectors.series.table import Table

COLUMNS: Final[dict[str, tuple[Any, int, float]]] = {
    "chi": (np.float64, 0, 0.0),
    "chi_weight": (np.float64, 0, 0.0),
    "last_deviation": (np.float32, 0, 0.0),
    "last_variance": (np.float32, 0, 0.0),
    "dispersion": (np.float64, 0, 1.5),
}
_PRIOR: Final = 1.5
_PRIOR_BLOCKS: Final = 6.0
_HALF_LIFE_BLOCKS: Final = 48 * 6.0
_SIGMAS: Final = 3.0


def differences(nodes: Table, deviation: FloatArray, variance: FloatArray, use: Mask) -> tuple[FloatArray, FloatArray]:
    """Chi^2 of the change of deviation / variance since the last block, and the variance that it is weighted by."""
    last, width = nodes["last_deviation"].astype(np.float64), nodes["last_variance"].astype(np.float64)
    both = use & (variance > 0) & (width > 0)
    now, before = np.where(both, variance, 1.0), np.where(both, width, 1.0)
    chi = np.where(both, (deviation / now - last / before) ** 2 / (1 / now + 1 / before), 0.0)
    nodes["last_deviation"] = np.where(use, deviation, 0.0)
    nodes["last_variance"] = np.where(use, variance, 0.0)
    return chi, np.where(both, 2 / (1 / now + 1 / before), 0.0)


def absorb(nodes: Table, signal: IntArray, chi: FloatArray, weight: FloatArray) -> None:
    """Learn one block of all nodes; `weight` in 0..1 says how much it tells (few expected events tell little)."""
    memory = np.where(weight > 0, 0.5 ** (1 / _HALF_LIFE_BLOCKS), 1.0)
    nodes["chi"] = nodes["chi"] * memory + weight * np.minimum(chi, _SIGMAS**2 * nodes["dispersion"])
    nodes["chi_weight"] = nodes["chi_weight"] * memory + weight
    siblings = add_up(signal, nodes["chi"]) + _PRIOR_BLOCKS * _PRIOR
    prior = (siblings / (add_up(signal, nodes["chi_weight"]) + _PRIOR_BLOCKS))[signal]
    shrunk = (nodes["chi"] + _PRIOR_BLOCKS * prior) / (nodes["chi_weight"] + _PRIOR_BLOCKS)
    nodes["dispersion"] = np.maximum(1.0, shrunk)
