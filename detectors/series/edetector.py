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

_LEAST: Final = np.float32(1e-30)
_MOST: Final = 1e30
"""Evidence is kept below this: far above any threshold, far below overflow."""


def advance(
    wealth: NDArray[np.float32],
    cusum: NDArray[np.float32],
    start: NDArray[np.int32],
    gain: NDArray[np.float32],
    active: Mask,
    minute: int,
    cap: FloatArray,
) -> None:
    """One window for all streams, in place; arrays of shape (streams, effects), `active` and `cap` of shape
    (streams,).

    `gain` is used up.
    A stream that is not active in this window (no trials, no baseline) stays as it is and adds nothing to the promise.
    No window counts for more than `cap` nats, so that none pages by itself: one wild run is no trend. Less evidence
    than there is keeps the promise all the more.
    """
    np.maximum(gain, np.float32(-80.0), out=gain)
    np.minimum(gain, cap.astype(np.float32)[:, None], out=gain)
    gain *= active[:, None]
    wealth += active[:, None]
    cusum += gain
    wealth *= np.exp(gain, out=gain)
    np.minimum(wealth, _MOST, out=wealth)
    np.copyto(start, minute + 1, where=cusum <= 0)
    np.clip(cusum, 0.0, 1e6, out=cusum)


def mixed(wealth: NDArray[np.float32], shares: FloatArray, bars: tuple[float, ...] = (0.0,)) -> NDArray[np.float32]:
    """The evidence of each stream, in nats: the mean over the grid by these shares, which add up to one.

    `wealth` holds the grids of several bounds of what is normal, one after the other: evidence is the least of that
    against each, after `bars` is added. A bound that is exceeded in a share p of the time only, within another that
    always holds, costs p of the starts: the other has to be refuted with ln(1/p) less.
    """
    mean = wealth.reshape(-1, len(shares)) @ shares.astype(np.float32)
    nats = np.log(np.maximum(mean, _LEAST, out=mean), out=mean).reshape(-1, len(bars))
    return np.asarray(np.minimum.reduce([nats[:, bar] + np.float32(given) for bar, given in enumerate(bars)]))
