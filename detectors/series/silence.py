"""Traffic that stops: missed events against the expected rate, so that each series has its own patience.

The e-detector for falling rates: l = (E (1 - r) - K ln(1/r)) / D with r < 1, against a share of the lowest of: the rate
by the hour of the day (half an hour either way), and the rate of the last hour. So neither bursts and growth nor an
evening that comes as every day (or for the first time, but not all at once) are silence. A part that was not active
lately, and should have begun, is not called silent: weekends and holidays would be. What stops all at once on the first
day that is seen may page; from the second day on its hours are known.
Mostly there is more traffic than that share: against a second, higher one, below which one minute in a hundred is at
most, all of the evidence is asked for, and against the lower one as much less.
Where most leaves drop together, that is the calendar too (the first weekend that is seen, a holiday): each is then held
against what most have left, and all together against a quarter. What stops while others go on is silent all the same,
and when everything stops, everything is.
Only what falls below the bound counts as over-dispersion, by minute or by block, whichever is more: bursts do not blunt
the detector, and a nightly job that runs every half an hour has its gaps in its dispersion.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import numpy as np

from detectors.series.arrays import FloatArray, Mask
from detectors.series.clockwork import between
from detectors.series.flow import Flow
from detectors.windows.signals import Form

_SHARE: Final = 0.5
"""Traffic above this share of what is expected is not silence. Where there is little traffic, and so little
evidence to be had, the share is higher, up to the sum with the next."""
_SHARE_OF_LITTLE: Final = 0.15
_LITTLE: Final = 5.0
"""Events a minute."""
_SHARE_OF_ALL: Final = 0.25
"""The same for leaves together: less of everything is the calendar, hardly anything is an outage."""
_USUAL: Final = 0.8
_USUAL_OF_ALL: Final = 0.4
"""Traffic below these shares is not silence either, but it is so seldom"""
_SELDOM: Final = float(np.log(100.0))
"""(one minute in so many) that against the lower shares less evidence is asked for, by this many nats."""
_LATELY: Final = 0.9
"""What is left after a minute of what leaves are compared by where a minute alone tells too little."""
_TELLS: Final = 10.0
"""Events due, from which on the share that came is taken for one."""
_SEVERAL: Final = 3
"""Leaves; of fewer there is no most."""
_STOPPED: Final = 0.15
"""If most leaves have less than this share, it is no weekend: they have stopped."""
_APART: Final = 1.5
"""Leaves differ in how far they drop, the more, the farther they do: where most keep 50%, some keep 35%."""


class Silence(Flow):
    """Signals of form EVENTS."""

    form = Form.EVENTS
    windows = 3
    effects = np.array([0.02, 0.1, 0.25, 0.5])
    shares = np.array([0.4, 0.2, 0.2, 0.2])
    bars = (_SELDOM, 0.0)

    leaf_columns: ClassVar[dict[str, tuple[Any, int, float]]] = {
        **Flow.leaf_columns,
        "lately": (np.float64, 0, 0.0),
        "lately_expected": (np.float64, 0, 0.0),
    }
    node_columns: ClassVar[dict[str, tuple[Any, int, float]]] = {
        "ring_bound": (np.float32, 0, 0.0),
        "ring_short": (np.float32, 0, 0.0),
        "ring_roughness": (np.float32, 0, 0.0),
    }

    def _roughen(self, slot: int) -> None:
        short = np.maximum(self._bound - self._judged_amount, 0.0)
        self.node["ring_bound"][:, slot] += self._bound
        self.node["ring_short"][:, slot] += self._bound - self._judged_amount
        self.node["ring_roughness"][:, slot] += short**2

    def _scatter(self, slot: int, calm: Mask) -> tuple[FloatArray, FloatArray]:
        bound = self.node["ring_bound"][:, slot].astype(np.float64)
        use = calm & (bound > 0)
        some = np.where(use, bound, 1.0)
        by_block = np.maximum(self.node["ring_short"][:, slot], 0.0) ** 2 / some
        by_minute = self.node["ring_roughness"][:, slot] / some
        return np.where(use, np.maximum(by_block, by_minute), 0.0), np.where(use, np.minimum(bound, 1.0), 0.0)

    def _amounts(self, sums: FloatArray) -> FloatArray:
        return np.asarray(sums[0])

    def _bounds(self, minute: int, amount: FloatArray) -> list[tuple[FloatArray, FloatArray]]:
        leaf = self.leaf
        # Not shrunk where there was less: after one night at zero, the next night is expected to be.
        seen = (leaf["slot_amount"] + 0.1) / (leaf["slot_expected"] + 0.1)
        factors, base = np.minimum(self._factors(), seen), self._base()
        by_hour = base * np.minimum.reduce([between(factors, minute + shift) for shift in (-30, 0, 30)])
        recent = leaf["recent_amount"] / np.maximum(leaf["recent_minutes"], 1e-9)
        doubt = 1 / np.sqrt(np.minimum(leaf["events"], leaf["recent_amount"]) + 1)
        expected = np.minimum(by_hour, recent)
        share = _SHARE + _SHARE_OF_LITTLE / (1 + expected / _LITTLE)
        sure = expected * (1 - doubt)
        own = sure * self._ebb(amount, np.where(leaf["armed"], expected, 0.0))
        return [(share * own, _SHARE_OF_ALL * sure), (_USUAL * own, _USUAL_OF_ALL * sure)]

    def _ebb(self, amount: FloatArray, expected: FloatArray) -> float:
        """By how much the bounds of all leaves are lowered: 1 unless most leaves have less traffic than expected."""
        leaf, left = self.leaf, 1.0
        for name, now in (("lately", amount), ("lately_expected", expected)):
            leaf[name] = leaf[name] * _LATELY + now
        for seen, due in ((amount, expected), (leaf["lately"], leaf["lately_expected"])):
            tell = due >= _TELLS
            if tell.sum() >= _SEVERAL:
                left = min(left, float(np.median(seen[tell] / due[tell])))
        return left**_APART if left >= _STOPPED else 1.0
