"""Before and after of one signal, with an interval that the clumping of calls and hours does not make too narrow.

- Levels: ratio of geometric means. Normal limits of the difference of mean logarithms, pooled variance.
- Hits: difference of rates, by Newcombe's hybrid score method without continuity correction (Newcombe, "Interval
  estimation for the difference between independent proportions: comparison of eleven methods", Statistics in Medicine
  17, 1998, method 10), made of Wilson's limits.
- Events: ratio of the numbers a minute, normal limits of the logarithm of a ratio of two Poisson rates.

Calls of a run resemble each other and so do neighbouring minutes: all variances are multiplied by the over-dispersion
D of five-minute blocks, Pearson's chi-square over its degrees of freedom (Wedderburn 1974; McCullagh and Nelder,
"Generalized Linear Models", 1989, 4.5), shrunk towards 2 and at least 1, the larger of before and after; the quantile
is Student's with as many degrees of freedom as D rests on. Each interval holds with 99% for one signal and one time
of looking at it: of many signals some will be outside by chance. The time of day is not taken out.
"""

from __future__ import annotations

import math
from typing import Final

from scipy.special import stdtrit

LEVEL: Final = 0.99
LEAST: Final = 5.0
"""Fewer trials than that on either side give no interval."""

_PRIOR: Final = 2.0
"""Over-dispersion that is assumed before there are data, and as how many blocks it counts."""

Sums = tuple[float, float, float]
"""n, total, squares."""
Spread = tuple[float, float]
"""Over blocks: the sum of total²/n, and their number."""


def dispersion(sums: Sums, spread: Spread, variance: float) -> float:
    """How much more than independent trials of `variance` the blocks vary."""
    n, total, _ = sums
    squares, blocks = spread
    if n <= 0 or blocks < 1:
        return 1.0
    chi = max(squares - total * total / n, 0.0) / variance if variance > 0 else blocks - 1
    return max(1.0, (chi + _PRIOR * _PRIOR) / (blocks - 1 + _PRIOR))


def quantile(blocks: float) -> float:
    """Two-sided quantile for variances that rest on so many blocks."""
    return float(stdtrit(max(blocks - 2.0, 0.0) + _PRIOR, 0.5 + LEVEL / 2))


def level(before: Sums, after: Sums, spreads: tuple[Spread, Spread]) -> tuple[float, float] | None:
    """Limits of ln(geometric mean after / before), None where there is too little."""
    (n1, t1, s1), (n2, t2, s2) = before, after
    if min(n1, n2) < LEAST:
        return None
    variance = max((s1 - t1 * t1 / n1 + s2 - t2 * t2 / n2) / (n1 + n2 - 2), 1e-12)
    spread = max(dispersion(sums, at, variance) for sums, at in zip((before, after), spreads, strict=True))
    half = quantile(spreads[0][1] + spreads[1][1]) * math.sqrt(spread * variance * (1 / n1 + 1 / n2))
    shift = t2 / n2 - t1 / n1
    return shift - half, shift + half


def hits(before: Sums, after: Sums, spreads: tuple[Spread, Spread]) -> tuple[float, float] | None:
    """Limits of rate after - rate before, None where there is too little."""
    (n1, x1, _), (n2, x2, _) = before, after
    if min(n1, n2) < LEAST:
        return None
    spread = 1.0
    for (n, x, squares), at in zip((before, after), spreads, strict=True):
        # Half a hit more, lest the first hits make a rate of nothing look as if it varied without bound.
        rate = (x + 0.5) / (n + 1)
        spread = max(spread, dispersion((n, x, squares), at, rate * (1 - rate)))
    z = quantile(spreads[0][1] + spreads[1][1])
    return newcombe((x1 / spread, n1 / spread), (x2 / spread, n2 / spread), z)


def events(before: Sums, after: Sums, spreads: tuple[Spread, Spread]) -> tuple[float, float] | None:
    """Limits of ln(events a minute after / before), None where there is too little. `n` are minutes."""
    (n1, x1, _), (n2, x2, _) = before, after
    if min(n1, n2) < LEAST or x1 < LEAST:
        return None
    spread = max(
        dispersion(sums, at, max(sums[1], 0.5) / sums[0]) for sums, at in zip((before, after), spreads, strict=True)
    )
    half = quantile(spreads[0][1] + spreads[1][1]) * math.sqrt(spread * (1 / (x1 + 0.5) + 1 / (x2 + 0.5)))
    shift = math.log((x2 + 0.5) / n2) - math.log((x1 + 0.5) / n1)
    return shift - half, shift + half


def newcombe(before: tuple[float, float], after: tuple[float, float], z: float) -> tuple[float, float]:
    """Limits of the difference of two proportions, each given as hits and trials: Newcombe's method 10."""
    (low1, high1), (low2, high2) = wilson(*before, z), wilson(*after, z)
    p1, p2 = before[0] / before[1], after[0] / after[1]
    return p2 - p1 - math.hypot(p2 - low2, high1 - p1), p2 - p1 + math.hypot(high2 - p2, p1 - low1)


def wilson(hits: float, n: float, z: float) -> tuple[float, float]:
    """Limits of Wilson's score interval of a proportion (Wilson 1927)."""
    p, zz = hits / n, z * z
    middle, half = p + zz / (2 * n), z * math.sqrt(max(p * (1 - p), 0.0) / n + zz / (4 * n * n))
    return max((middle - half) / (1 + zz / n), 0.0), min((middle + half) / (1 + zz / n), 1.0)
