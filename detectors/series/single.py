"""Evidence of measurements that are known one by one: levels where a minute has one or two of them.

For X with mean 0 at most and second moment v at most, 1 + uX + (uX)^2 / 2 has mean 1 + u^2 v / 2 at most, whatever the
distribution: the quotient is an e-value (the bound behind Catoni, "Challenging the empirical mean and empirical
variance", Annales de l'IHP 48, 2012). It grows with the logarithm of a wild measurement only, and loses less than
Delyon's where the shift is as large as the spread, which is when a few measurements are enough.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.series.arrays import FloatArray

MOST: Final = 2
"""Measurements of a minute that their sum and sum of squares tell apart."""


def gains(
    n: FloatArray,
    deviation: FloatArray,
    scatter: FloatArray,
    variance: FloatArray,
    slack: FloatArray,
    shift: FloatArray,
) -> NDArray[np.float32]:
    """Logarithms of the e-values, shape (series, slacks x shifts): those of the first slack first.

    By series: `n`, 1 or 2; `deviation` and `scatter`, the sum and the sum of squares of what the measurements are above
    the mean; `variance`; `slack`, shape (series, slacks): how far above the mean is normal. `shift`: the effects.
    """
    middle = deviation / n
    apart = np.sqrt(np.maximum(scatter / n - middle**2, 0.0))
    rate = (shift / variance[:, None]).astype(np.float32)[:, None, :]
    beyond = (np.stack([middle + apart, middle - apart])[:, :, None] - slack).astype(np.float32)
    x = np.maximum(beyond[:, :, :, None] * rate, np.float32(-1))  # below it would rise again: less is as safe
    both = np.log1p(x + x * x / 2).sum(axis=0)
    usual = np.log1p(rate * rate * (variance / 2).astype(np.float32)[:, None, None])
    gain = (n / 2).astype(np.float32)[:, None, None] * (both - 2 * usual)
    return np.asarray(gain.reshape(len(n), -1))
