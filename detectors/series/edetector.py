"""Shiryaev-Roberts e-detectors, mixed over how big the change may be, with the CUSUM that dates it.

For each effect of a grid: R <- (1 + R) e^l with l the log-likelihood ratio of "it changed by this effect" against the
bound of what is normal. While the bound holds, E[e^l | past] <= 1, so R minus the number of its windows is a
supermartingale, and so is any weighted mean of R over the grid: P(mean R reaches c within T windows) <= T / c.
Shin, Ramdas, Rinaldo: E-detectors, New England Journal of Statistics in Data Science 2 (2), 2024, arXiv:2203.03532.
Onset: Page's CUSUM C <- max(0, C + l), whose last zero is the likeliest start of the change (Page, Biometrika 41).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.series.arrays import FloatArray, Mask

_MOST: Final = 1e30
"""Evidence is kept below this: far above any threshold, far below overflow."""


def advance(
    wealth: NDArray[np.float32],
    cusum: NDArray[np.float32],
    start: NDArray[np.int32],
    gain: NDArray[np.float32],
    active: Mask,
    minute: int,
    cap: float,
) -> None:
    """One window for all streams, in place; arrays of shape (streams, effects), `active` of shape (streams,).

    `gain` is used up.
    A stream that is not active in this window (no trials, no baseline) stays as it is and adds nothing to the promise.
    No window counts for more than `cap` nats, so that none pages by itself: one wild run is no trend. Less evidence
    than there is keeps the promise all the more.
    """
    np.clip(gain, -80.0, cap, out=gain)
    gain *= active[:, None]
    wealth += active[:, None]
    cusum += gain
    wealth *= np.exp(gain, out=gain)
    np.minimum(wealth, _MOST, out=wealth)
    np.copyto(start, minute + 1, where=cusum <= 0)
    np.clip(cusum, 0.0, 1e6, out=cusum)


def mixed(wealth: NDArray[np.float32], shares: FloatArray) -> NDArray[np.float32]:
    """The e-detector: the mean over the grid by these shares, which add up to one; shape (streams,)."""
    return np.asarray(wealth @ shares.astype(np.float32))
