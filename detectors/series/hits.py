"""Counts of hits among trials: failures, empty results, loops, calls slower than usual.

Baseline: a rate per leaf, predictable (only what is older than the guard feeds it), remembered exponentially, times a
factor of the hour of the day, shrunk as by 20 expected hits; before there is much, shrunk as by one hit to the rate
of the same signal elsewhere. Bound: E = n q (1 + sqrt(m^2 + d^2 / (S + 1))), S the hits behind the baseline. The log-
likelihood ratio is the binomial one, K ln r - n ln(1 + E/n (r - 1)), which bounds the logarithm of E[r^K] for any mix
of trials of mean rate up to E/n (Jensen), so that pools of (K, E, n) are as safe as leaves; it is divided by the
over-dispersion.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from detectors.series.arrays import FloatArray, IntArray, Mask, add_up
from detectors.series.bank import Bank, Judged
from detectors.series.clockwork import BLOCK, HOURS, SLOT_MEMORY, between, hour
from detectors.windows.signals import Form

_ENOUGH: Final = 60.0
"""Hits: the memory is stretched below."""
_SLOT: Final = 20.0
"""Hits by as many of which an hour's factor is shrunk."""
_ARMED_HITS: Final = 5.0
_ARMED_TRIALS: Final = 300.0
_RAREST: Final = 1e-3
"""A rate below this is taken for this where nothing is known: one stray hit is no reason to doubt it."""
_UNSEEN_MARGIN: Final = 0.25
"""More margin while the hour of the day has not been seen."""
_DOUBT: Final = 1.5
"""Standard errors of the baseline that are tolerated. They and the margin add up as squares: that the baseline is wrong
by so much, and the rate off by as much as is tolerated, is rare."""
_SIGMAS: Final = 3.0


class Hits(Bank):
    """Signals of form HITS."""

    form = Form.HITS
    effects = np.array([1.3, 1.5, 2.0, 3.0, 5.0, 8.0, 15.0])
    shares = np.array([0.05, 0.05, 0.1, 0.15, 0.2, 0.2, 0.25])
    ring = ("ring_n", "ring_hits")
    leaf_columns: ClassVar[dict[str, tuple[Any, int, float]]] = {
        "n": (np.float64, 0, 0.0),
        "hits": (np.float64, 0, 0.0),
        "slot_hits": (np.float32, HOURS, 0.0),
        "slot_expected": (np.float32, HOURS, 0.0),
        "base": (np.float64, 0, 0.0),
        "rate": (np.float64, 0, 0.0),
        "doubt": (np.float64, 0, 1.0),
        "extra": (np.float64, 0, 0.0),
    }

    def _add(self, sums: FloatArray, slot: int) -> None:
        leaf, count = self.pools.cell_leaf, self.leaf.rows
        self.leaf["ring_n"][:, slot] += add_up(leaf, sums[0], count)
        self.leaf["ring_hits"][:, slot] += add_up(leaf, sums[1], count)

    def _judge(self, minute: int, sums: FloatArray) -> Judged:
        leaf, pools = self.pools.cell_leaf, self.pools
        armed = self.leaf["armed"][leaf]
        n, hits = sums[0] * armed, sums[1] * armed
        expected = n * self.leaf["rate"][leaf]
        self.log.add(minute, n, [n, hits, expected])
        doubt = (pools.to_pairs(expected) * self.leaf["doubt"][pools.pair_leaf]) ** 2
        unseen = expected * self.leaf["extra"][leaf]
        node_n, node_hits, node_expected, unseen = pools.to_nodes(np.stack([n, hits, expected, unseen], axis=1)).T
        slot = self.block % self.clockwork.ring
        self.node["ring_deviation"][:, slot] += node_hits - node_expected
        self.node["ring_variance"][:, slot] += node_expected
        margin = np.where(pools.node_pools, self.settings.group_margin, self.settings.margin)
        tolerated = node_expected * margin + unseen
        bound = node_expected + np.sqrt(tolerated**2 + pools.pairs_to_nodes(doubt))
        return Judged(self._gain(node_n, node_hits, bound), node_n, node_hits, node_expected)

    def _gain(self, n: FloatArray, hits: FloatArray, bound: FloatArray) -> NDArray[np.float32]:
        node = self.stream["node"]
        scale = 1 / self.node["dispersion"]
        share = (bound / np.maximum(n, 1e-12)).astype(np.float32)[node]
        gain = _log1p(share[:, None] * (self.effects - 1).astype(np.float32))
        gain *= (-n * scale).astype(np.float32)[node][:, None]
        gain += (hits * scale).astype(np.float32)[node][:, None] * np.log(self.effects).astype(np.float32)
        return gain

    def _against(self, streams: IntArray) -> FloatArray:
        table, node = self.stream, self.stream["node"][streams]
        shown = np.clip(table["observed"][streams] / np.maximum(table["expected"][streams], 1e-9), 1.3, 1e3)
        gain = self._judged.observed[node] * np.log(shown) - self._judged.expected[node] * (shown - 1)
        return np.asarray(gain / self.node["dispersion"][node])

    def deviations(self) -> FloatArray:
        """(K - E) / sqrt(D E + 1) of the last minute by node, D the over-dispersion, NaN without trials: its mean is
        zero however few hits are expected, its variance at most one."""
        judged = self._judged
        off = (judged.observed - judged.expected) / np.sqrt(self.node["dispersion"] * judged.expected + 1.0)
        return np.where(judged.n > 0, off, np.nan)

    def _weight(self, variance: FloatArray) -> FloatArray:
        return np.minimum(1.0, variance)

    def _absorb(self, block: int, chosen: Mask) -> None:
        leaf, slot, now = self.leaf, block % self.clockwork.ring, hour(block * BLOCK)
        n = np.where(chosen, leaf["ring_n"][:, slot], 0.0).astype(np.float64)
        hits = np.where(chosen, leaf["ring_hits"][:, slot], 0.0).astype(np.float64)
        factor = between(self._factors(), block * BLOCK + BLOCK // 2)
        expected = n * leaf["base"] * factor
        spread = _SIGMAS * np.sqrt(expected * self.node["dispersion"][self.pools.leaf_node])
        calm = np.clip(hits, expected - spread, expected + spread + 1)
        hits = np.where(leaf["armed"], calm, hits)
        memory = np.where(chosen, self.clockwork.memory(leaf["hits"], _ENOUGH), 1.0)
        leaf["n"] = leaf["n"] * memory + n * factor
        leaf["hits"] = leaf["hits"] * memory + hits
        if block * BLOCK % 60 == 0:
            leaf["slot_hits"][chosen, now] *= SLOT_MEMORY
            leaf["slot_expected"][chosen, now] *= SLOT_MEMORY
        leaf["slot_hits"][:, now] += hits
        # With this block in it: before the first ones the base is but lent, and no measure for an hour.
        leaf["slot_expected"][:, now] += n * self._base()

    def _base(self) -> FloatArray:
        leaf, signal = self.leaf, self.pools.leaf_signal
        prior = (add_up(signal, leaf["hits"]) + 0.5) / (add_up(signal, leaf["n"]) + 50.0)
        rate: FloatArray = (leaf["hits"] + 1.0) / (leaf["n"] + 1.0 / np.clip(prior, _RAREST, 0.5)[signal])
        return rate

    def _factors(self) -> FloatArray:
        factors: FloatArray = (self.leaf["slot_hits"] + _SLOT) / (self.leaf["slot_expected"] + _SLOT)
        return factors.astype(np.float64)

    def _refresh(self, minute: int) -> None:
        leaf = self.leaf
        leaf["base"] = self._base()
        leaf["rate"] = np.minimum(leaf["base"] * between(self._factors(), minute), 0.999)
        leaf["doubt"] = _DOUBT / np.sqrt(leaf["hits"] + 1)
        leaf["extra"] = _UNSEEN_MARGIN * self._unseen(minute)
        enough = (leaf["hits"] >= _ARMED_HITS) | (leaf["n"] >= _ARMED_TRIALS)
        leaf["armed"] = enough & self._old_enough(minute)

    def _forget(self, chosen: Mask) -> None:
        for name in ("n", "hits", "slot_hits", "slot_expected"):
            self.leaf[name][chosen] = 0.0


def _log1p(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """log(1 + x) for x >= 0, faster than numpy's in single precision and exact to a few roundings (Goldberg, ACM
    Computing Surveys 23, 1991, theorem 4)."""
    one = x + np.float32(1)
    rounded = one - np.float32(1)
    np.maximum(rounded, np.float32(1e-30), out=rounded)
    result = np.log(one, out=one)
    result *= x
    result /= rounded
    return np.where(rounded > 1e-30, result, x)
