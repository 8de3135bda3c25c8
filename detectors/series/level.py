"""Means of logarithms: latency, speed, tokens, cost, steps.

Baseline: mean and variance of the log per leaf, predictable, remembered exponentially, plus an offset of the hour of
the day, shrunk as by 50 measurements, with winsorised updates. Bound: mean + root of the squares of log(1 +
tolerance) and doubt; and a nearer one with 60% of the tolerance, which is taken to be exceeded in one minute of a
hundred at most. For the sum S of what lies beyond the bound, and a shift d, the e-value is that of Delyon (Exponential
inequalities for sums of weakly dependent variables, EJP 14, 2009): exp(u S - u^2 / 2 (sum X^2 / 3 + 2 sum E[X^2] / 3)),
u = d / variance. It holds for any distribution with that second moment, so one wild measurement widens its own window
and heavy tails do not page. What is known one by one is judged so (detectors.series.single). Pools share the shift d:
the sums are weighted by 1 / variance of their leaf.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from detectors.series import single
from detectors.series.arrays import FloatArray, IntArray, Mask, add_up
from detectors.series.bank import Bank, Judged
from detectors.series.clockwork import BLOCK, HOURS, SLOT_MEMORY, between, hour
from detectors.windows.signals import Form

_ENOUGH: Final = 200.0
_ARMED: Final = 50.0
_SLOT: Final = 50.0
_LEAST_VARIANCE: Final = 0.01
"""A spread below 10% is taken for 10%: a constant that moves a little is no miracle."""
_FIRST_VARIANCE: Final = 0.25
_UNSEEN_TOLERANCE: Final = 0.1
_DOUBT: Final = 2.0
"""Standard errors of the baseline that are tolerated. They and the tolerance add up as squares: that the baseline is
wrong by so much, and the level off by as much as is tolerated, both to the same side, is rare."""
_MOSTLY: Final = 0.6
"""Of the tolerance: a level is off by more so seldom"""
_SELDOM: Final = float(np.log(100.0))
"""(one minute in so many) that against the whole of it less evidence is asked for, by this many nats."""
_BOUNDS: Final = ("slack", "least_slack")
_USUAL: Final = 0.5 ** (1 / 288)
_SIGMAS: Final = 3.0


class Level(Bank):
    """Signals of form LEVEL."""

    form = Form.LEVEL
    effects = np.array([0.1, 0.2, 0.4, 0.8, 1.6])
    shares = np.array([0.25, 0.3, 0.25, 0.1, 0.1])  # big effects need few minutes
    bars = (_SELDOM, 0.0)
    usual_columns: ClassVar[dict[str, tuple[Any, int, float]]] = {"information": (np.float64, 0, 0.0)}
    ring = ("ring_n", "ring_total", "ring_squares")
    leaf_columns: ClassVar[dict[str, tuple[Any, int, float]]] = {
        "n": (np.float64, 0, 0.0),
        "total": (np.float64, 0, 0.0),
        "scatter": (np.float64, 0, 0.0),
        "slot_n": (np.float32, HOURS, 0.0),
        "slot_excess": (np.float32, HOURS, 0.0),
        "mean": (np.float64, 0, 0.0),
        "variance": (np.float64, 0, _FIRST_VARIANCE),
        "slack": (np.float64, 0, 0.0),
        "least_slack": (np.float64, 0, 0.0),
    }

    def _add(self, sums: FloatArray, slot: int) -> None:
        leaf, count = self.pools.cell_leaf, self.leaf.rows
        for name, values in zip(self.ring, sums, strict=True):
            self.leaf[name][:, slot] += add_up(leaf, values, count)

    def _judge(self, minute: int, sums: FloatArray) -> Judged:
        leaf, pools = self.pools.cell_leaf, self.pools
        n, total, squares = sums * self.leaf["armed"][leaf]
        mean, variance = self.leaf["mean"][leaf], self.leaf["variance"][leaf]
        expected = n * mean
        deviation = total - expected
        scatter = np.maximum(squares - 2 * mean * total + n * mean**2, 0.0)
        dispersed = n * self.node["dispersion"][pools.leaf_node[leaf]]
        self.log.add(minute, n, [n, total, expected, deviation / np.sqrt(variance), dispersed])
        columns: list[FloatArray] = [
            n,
            total,
            expected,
            deviation / variance,
            n / variance,
            scatter / variance**2,
        ]
        for name in _BOUNDS:
            slack = self.leaf[name][leaf] / variance
            columns += [slack * n, slack * deviation / variance, slack**2 * n]
        table = np.stack(columns, axis=1)
        self._sums = pools.to_nodes(table).T
        few = np.flatnonzero((n >= 1) & (n <= single.MOST))
        self._few = self._one_by_one(few, table[few], deviation[few], scatter[few]) if len(few) else None
        slot = self.block % self.clockwork.ring
        self.node["ring_deviation"][:, slot] += self._sums[3]
        self.node["ring_variance"][:, slot] += self._sums[4]
        return Judged(self._gain(), self._sums[0], self._sums[1], self._sums[2])

    def _gain(self) -> NDArray[np.float32]:
        sums, node = self._sums[3:].T, self.stream["node"]
        if self._few is not None:
            sums = sums - self._few[:, : sums.shape[1]]
        dispersion = self._dispersion(self._sums[4])[:, None]
        scaled = (sums / dispersion).astype(np.float32)
        deviation, information, scatter, *bounds = scaled[node].T
        sign = np.where(self.stream["up"], np.float32(1), np.float32(-1))
        effects = self.effects.astype(np.float32)
        gains = []
        for slack, cross, square in zip(bounds[0::3], bounds[1::3], bounds[2::3], strict=True):
            # At the bound, where the mean is highest and the square is least; below it the lower mean makes up for it.
            spread = 2 * information + np.maximum(scatter - 2 * sign * cross + square, 0)
            gain = (sign * deviation - slack)[:, None] * effects
            gain -= spread[:, None] * (effects**2 / 6)
            gains.append(gain)
        gain = np.concatenate(gains, axis=1)
        if self._few is not None:
            up, down = np.split((self._few[:, sums.shape[1] :] / dispersion).astype(np.float32), 2, axis=1)
            gain += np.where(self.stream["up"][:, None], up[node], down[node])
        return gain

    def _one_by_one(self, cells: IntArray, table: FloatArray, deviation: FloatArray, scatter: FloatArray) -> FloatArray:
        """By node: what is in the sums of these cells, and instead of that the evidence of their measurements."""
        leaf = self.pools.cell_leaf[cells]
        n, variance = table[:, 0], self.leaf["variance"][leaf]
        slack = np.stack([self.leaf[name][leaf] for name in _BOUNDS], axis=1)
        sides = [single.gains(n, sign * deviation, scatter, variance, slack, self.effects) for sign in (1.0, -1.0)]
        return self.pools.to_nodes(np.concatenate([table[:, 3:], *sides], axis=1), cells)

    def _dispersion(self, information: FloatArray) -> FloatArray:
        """That of this minute: what the measurements of a minute share weighs the more, the more there are of them
        (a random effect of the minute: 1 + n tau^2 / sigma^2)."""
        usual = self.node["information"]
        share = np.where(usual > 0, information / np.maximum(usual, 1e-12), 1.0)
        return np.asarray(1 + (self.node["dispersion"] - 1) * np.clip(share, 0.5, 2.0))

    def _scatter(self, slot: int, calm: Mask) -> tuple[FloatArray, FloatArray]:
        usual, now = self.node["information"], self.node["ring_variance"][:, slot] / BLOCK
        kept = np.where(usual > 0, usual * _USUAL + now * (1 - _USUAL), now)
        self.node["information"] = np.where(calm & (now > 0), kept, usual)
        return super()._scatter(slot, calm)

    def _against(self, streams: IntArray) -> FloatArray:
        table, node = self.stream, self.stream["node"][streams]
        shown = (table["observed"][streams] - table["expected"][streams]) / np.maximum(table["n"][streams], 1.0)
        shown = np.where(table["up"][streams], np.maximum(shown, 0.1), np.minimum(shown, -0.1))
        gain = shown * self._sums[3, node] - shown**2 / 2 * self._sums[4, node]
        return np.asarray(gain / self.node["dispersion"][node])

    def deviations(self) -> FloatArray:
        """The mean of the last minute less the expected one by node, over its standard deviation, NaN without
        measurements."""
        deviation, information = self._sums[3], self._sums[4]
        spread = np.sqrt(self.node["dispersion"] * np.maximum(information, 1e-12))
        return np.where(information > 0, deviation / spread, np.nan)

    def _weight(self, variance: FloatArray) -> FloatArray:
        return (variance > 0).astype(np.float64)

    def _absorb(self, block: int, chosen: Mask) -> None:
        leaf, slot, now = self.leaf, block % self.clockwork.ring, hour(block * BLOCK)
        n = np.where(chosen, leaf["ring_n"][:, slot], 0.0).astype(np.float64)
        some = np.maximum(n, 1e-9)
        total, squares = (leaf[name][:, slot].astype(np.float64) for name in self.ring[1:])
        here = total / some
        offset = between(self._offsets(), block * BLOCK + BLOCK // 2)
        base = leaf["total"] / np.maximum(leaf["n"], 1e-9)
        dispersion = self.node["dispersion"][self.pools.leaf_node]
        spread = _SIGMAS * np.sqrt(leaf["variance"] * dispersion / some)
        calm = np.where(leaf["armed"], np.clip(here, base + offset - spread, base + offset + spread), here)
        centre = np.where(leaf["armed"], base + offset, here)
        scatter = np.maximum(squares - total * here, 0.0) + n * (calm - centre) ** 2
        scatter = np.where(leaf["armed"], np.minimum(scatter, _SIGMAS**2 * leaf["variance"] * n), scatter)
        memory = np.where(chosen, self.clockwork.memory(leaf["n"], _ENOUGH), 1.0)
        leaf["n"] = leaf["n"] * memory + n
        leaf["total"] = leaf["total"] * memory + n * (calm - offset)
        leaf["scatter"] = leaf["scatter"] * memory + np.where(n > 0, scatter, 0.0)
        if block * BLOCK % 60 == 0:
            leaf["slot_n"][chosen, now] *= SLOT_MEMORY
            leaf["slot_excess"][chosen, now] *= SLOT_MEMORY
        leaf["slot_n"][:, now] += n
        leaf["slot_excess"][:, now] += n * (calm - leaf["total"] / np.maximum(leaf["n"], 1e-9))

    def _offsets(self) -> FloatArray:
        offsets: FloatArray = self.leaf["slot_excess"] / (self.leaf["slot_n"] + _SLOT)
        return offsets.astype(np.float64)

    def _refresh(self, minute: int) -> None:
        leaf, signal = self.leaf, self.pools.leaf_signal
        common = add_up(signal, leaf["scatter"]) + _SLOT * _FIRST_VARIANCE
        common = (common / (add_up(signal, leaf["n"]) + _SLOT))[signal]
        variance = (leaf["scatter"] + 10 * common) / (leaf["n"] + 10)
        leaf["variance"] = np.maximum(variance, _LEAST_VARIANCE)
        leaf["mean"] = leaf["total"] / np.maximum(leaf["n"], 1e-9) + between(self._offsets(), minute)
        dispersion = self.node["dispersion"][self.pools.leaf_node]
        error = _DOUBT * np.sqrt(leaf["variance"] * dispersion / np.maximum(leaf["n"], 1.0))
        unseen = _UNSEEN_TOLERANCE * self._unseen(minute)
        leaf["slack"] = np.hypot(np.log1p(self.settings.tolerance) + unseen, error)
        leaf["least_slack"] = np.hypot(np.log1p(_MOSTLY * self.settings.tolerance) + unseen, error)
        leaf["armed"] = (leaf["n"] >= _ARMED) & self._old_enough(minute)

    def _forget(self, chosen: Mask) -> None:
        for name in ("n", "total", "scatter", "slot_n", "slot_excess"):
            self.leaf[name][chosen] = 0.0
