"""Over-dispersion: how much wider than by pure chance the sums of blocks of ten minutes scatter about their baseline.

Quasi-likelihood (Wedderburn 1974): D is the mean of (observed - expected)^2 / variance over calm blocks, at least 1,
shrunk to that of the same signal elsewhere and winsorised at three sigma. Log-likelihood ratios are divided by it.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from detectors.series.arrays import FloatArray, IntArray, Mask, add_up
from detectors.series.table import Table

COLUMNS: Final[dict[str, tuple[Any, int, float]]] = {
    "chi": (np.float64, 0, 0.0),
    "chi_weight": (np.float64, 0, 0.0),
    "dispersion": (np.float64, 0, 1.5),
}
_PRIOR: Final = 1.5
_PRIOR_BLOCKS: Final = 6.0
_HALF_LIFE_BLOCKS: Final = 48 * 6.0
_SIGMAS: Final = 3.0


def absorb(
    nodes: Table,
    signal: IntArray,
    deviation: FloatArray,
    variance: FloatArray,
    weight: FloatArray,
    skip: Mask,
) -> None:
    """Learn one block of all nodes; `weight` in 0..1 says how much a block tells (few expected events tell little)."""
    use = ~skip & (variance > 0)
    scale = nodes["dispersion"]
    chi = np.where(use, deviation**2 / np.where(use, variance, 1.0), 0.0)
    weight = np.where(use, weight, 0.0)
    memory = np.where(use, 0.5 ** (1 / _HALF_LIFE_BLOCKS), 1.0)
    nodes["chi"] = nodes["chi"] * memory + weight * np.minimum(chi, _SIGMAS**2 * scale)
    nodes["chi_weight"] = nodes["chi_weight"] * memory + weight
    siblings = add_up(signal, nodes["chi"]) + _PRIOR_BLOCKS * _PRIOR
    prior = (siblings / (add_up(signal, nodes["chi_weight"]) + _PRIOR_BLOCKS))[signal]
    shrunk = (nodes["chi"] + _PRIOR_BLOCKS * prior) / (nodes["chi_weight"] + _PRIOR_BLOCKS)
    nodes["dispersion"] = np.maximum(1.0, shrunk)
