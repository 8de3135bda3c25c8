"""Amounts by time: what happens or is spent in a minute, whether or not anything does.

Baseline: a rate per minute and leaf, predictable, remembered exponentially, times a factor of the hour of the day; and
the rate of the last hour or so (guard of twenty minutes), which follows a day that has not been seen yet.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from detectors.series.arrays import FloatArray, IntArray, Mask, add_up
from detectors.series.bank import Bank, Judged
from detectors.series.clockwork import BLOCK, HOURS, SLOT_MEMORY, between, hour

_ENOUGH: Final = 100.0
_SLOT: Final = 20.0
_ARMED: Final = 20.0
"""Events behind the baseline."""
_SIGMAS: Final = 3.0
_RECENT_MEMORY: Final = 0.5 ** (BLOCK / 60)
_RECENT_GUARD: Final = 2
"""Blocks."""
_SUSPICIOUS: Final = 3.0
"""Evidence from which on the recent rate is no longer learned: what may be a fault is not normal."""


class Flow(Bank):
    """Signals whose windows count also when they are empty. Release and region are not looked at: a new release takes
    the traffic of the old one, and that is no silence."""

    cut = False
    ring = ("ring_minutes", "ring_amount", "ring_events")
    leaf_columns: ClassVar[dict[str, tuple[Any, int, float]]] = {
        "minutes": (np.float64, 0, 0.0),
        "amount": (np.float64, 0, 0.0),
        "events": (np.float64, 0, 0.0),
        "slot_amount": (np.float32, HOURS, 0.0),
        "slot_expected": (np.float32, HOURS, 0.0),
        "recent_minutes": (np.float64, 0, 0.0),
        "recent_amount": (np.float64, 0, 0.0),
        "rate": (np.float64, 0, 0.0),
        "size": (np.float64, 0, 1.0),
    }

    @abstractmethod
    def _amounts(self, sums: FloatArray) -> FloatArray:
        """What is counted, of (n, total, squares)."""

    @abstractmethod
    def _bounds(self, minute: int, amount: FloatArray) -> list[tuple[FloatArray, FloatArray]]:
        """The bound of what is normal in this minute, for each leaf: by itself, and in a pool; of each bar. `amount`:
        what came."""

    def _against(self, streams: IntArray) -> FloatArray:
        table, node = self.stream, self.stream["node"][streams]
        shown = table["observed"][streams] / np.maximum(table["expected"][streams], 1e-9)
        shown = np.where(shown > 1, np.clip(shown, 1.5, 1e3), np.clip(shown, 0.02, 0.5))
        gain = self._judged.observed[node] * np.log(shown) - self._judged.expected[node] * (shown - 1)
        return np.asarray(gain / (self.node["dispersion"] * self._size)[node])

    def _gain(self) -> NDArray[np.float32]:
        scale, node = 1 / (self.node["dispersion"] * self._size), self.stream["node"]
        amount, bounds = (self._judged_amount * scale)[node], (self._bounds_of_nodes * scale)[:, node]
        gains = [amount[:, None] * np.log(self.effects) - bound[:, None] * (self.effects - 1) for bound in bounds]
        return np.concatenate(gains, axis=1, dtype=np.float32)

    def _roughen(self, slot: int) -> None:
        """Note what a form wants to know of a minute beyond its sums."""

    def _add(self, sums: FloatArray, slot: int) -> None:
        leaf, count = self.pools.cell_leaf, self.leaf.rows
        self.leaf["ring_minutes"][:, slot] += 1
        self.leaf["ring_amount"][:, slot] += add_up(leaf, self._amounts(sums), count)
        self.leaf["ring_events"][:, slot] += add_up(leaf, sums[0], count)

    def _judge(self, minute: int, sums: FloatArray) -> Judged:
        leaf, pools = self.pools.cell_leaf, self.pools
        armed = self.leaf["armed"][leaf]
        minutes = armed.astype(np.float64)
        amount, expected = self._amounts(sums) * armed, self.leaf["rate"][leaf] * armed
        bounds = self._bounds(minute, add_up(leaf, amount, self.leaf.rows))
        self.log.add(minute, minutes, [minutes, amount, expected])
        columns = (minutes, amount, expected, expected * self.leaf["size"][leaf])
        by_node = [[pools.to_nodes(of[leaf] * armed) for of in bar] for bar in bounds]
        self._bounds_of_nodes = np.stack([np.where(pools.node_pools, pooled, own) for own, pooled in by_node])
        minutes, amount, expected, sized = (pools.to_nodes(values) for values in columns)
        self._judged_amount, self._bound = amount, self._bounds_of_nodes[0]
        self._size = np.where(expected > 0, sized / np.maximum(expected, 1e-12), 1.0)
        slot = self.block % self.clockwork.ring
        self.node["ring_deviation"][:, slot] += (amount - expected) / self._size
        self.node["ring_variance"][:, slot] += expected / self._size
        self._roughen(slot)
        return Judged(self._gain(), minutes, amount, expected)

    def _weight(self, variance: FloatArray) -> FloatArray:
        return np.minimum(1.0, variance)

    def _absorb(self, block: int, chosen: Mask) -> None:
        leaf, slot = self.leaf, block % self.clockwork.ring
        minutes, amount, events = (np.where(chosen, leaf[name][:, slot], 0.0).astype(np.float64) for name in self.ring)
        factor = between(self._factors(), block * BLOCK + BLOCK // 2)
        expected = minutes * self._base() * factor
        spread = _SIGMAS * np.sqrt(expected * leaf["size"] * self.node["dispersion"][self.pools.leaf_node])
        calm = np.clip(amount, expected - spread, expected + spread + leaf["size"])
        amount = np.where(leaf["armed"], calm, amount)
        memory = np.where(minutes > 0, self.clockwork.memory(leaf["events"], _ENOUGH), 1.0)
        leaf["minutes"] = leaf["minutes"] * memory + minutes * factor
        leaf["amount"] = leaf["amount"] * memory + amount
        leaf["events"] = leaf["events"] * memory + events

    def _absorb_hour(self, block: int) -> None:
        # Also under an alert: who goes home at six on the first day that is seen is known to on the second.
        leaf, slot, now = self.leaf, block % self.clockwork.ring, hour(block * BLOCK)
        if block * BLOCK % 60 == 0:
            leaf["slot_amount"][:, now] *= SLOT_MEMORY
            leaf["slot_expected"][:, now] *= SLOT_MEMORY
        size = np.maximum(leaf["size"], 1e-12)
        leaf["slot_amount"][:, now] += leaf["ring_amount"][:, slot] / size
        leaf["slot_expected"][:, now] += leaf["ring_minutes"][:, slot] * self._base() / size

    def _forget(self, chosen: Mask) -> None:
        for name in ("minutes", "amount", "events", "slot_amount", "slot_expected", "recent_minutes", "recent_amount"):
            self.leaf[name][chosen] = 0.0

    def _base(self) -> FloatArray:
        base: FloatArray = self.leaf["amount"] / np.maximum(self.leaf["minutes"], 1e-9)
        return base

    def _factors(self) -> FloatArray:
        factors: FloatArray = (self.leaf["slot_amount"] + _SLOT) / (self.leaf["slot_expected"] + _SLOT)
        return factors.astype(np.float64)

    def _turn(self, minute: int) -> None:
        super()._turn(minute)
        leaf, slot = self.leaf, (self.block - 1 - _RECENT_GUARD) % self.clockwork.ring
        worst = np.zeros(self.node.rows)
        cusum = self.stream["cusum"][:, : len(self.effects)]
        np.maximum.at(worst, self.stream["node"], cusum.max(axis=1, initial=0.0))
        use = (leaf["ring_minutes"][:, slot] > 0) & (worst[self.pools.leaf_node] < _SUSPICIOUS)
        memory = np.where(use, _RECENT_MEMORY, 1.0)
        for name, ring in (("recent_minutes", "ring_minutes"), ("recent_amount", "ring_amount")):
            leaf[name] = leaf[name] * memory + np.where(use, leaf[ring][:, slot], 0.0)

    def _refresh(self, minute: int) -> None:
        leaf = self.leaf
        leaf["size"] = np.where(
            leaf["events"] > 0, np.maximum(leaf["amount"], 1e-12) / np.maximum(leaf["events"], 1e-9), leaf["size"]
        )
        leaf["rate"] = self._base() * between(self._factors(), minute)
        leaf["armed"] = (leaf["events"] >= _ARMED) & self._old_enough(minute)
