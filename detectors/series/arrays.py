"""The array types of the methods, and sums by group."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Mask = NDArray[np.bool_]


def add_up(group: IntArray, values: NDArray[np.floating], groups: int = 0) -> FloatArray:
    """The sum of the values of each group, in the order of the rows; shape (groups,), or as many as there are."""
    return np.asarray(np.bincount(group, values, minlength=groups), dtype=np.float64)
