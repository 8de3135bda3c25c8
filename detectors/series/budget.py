"""How the promise about false pages is shared out among the streams: unevenly, for what it buys.

A stream with the share w of the budget pages at H = ln(minutes a week / (w x false pages a week)); as long as the
shares add up to one, so do the expected false pages. A share costs the others next to nothing (H goes with its
logarithm), so it pays to give more to what is few: every signal that points at a cause has the same share, whether it
has seven streams (runs, traffic) or hundreds, a symptom has a quarter of that, and within a signal a release or region
has a quarter of what a node without it has, since that node sees most of what goes wrong there, too.
Counts only grow, since evidence that was gathered under a lower bar must not be judged by a lower one later.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from detectors.series.arrays import FloatArray, IntArray, Mask, add_up
from detectors.series.bank import Bank
from detectors.series.clockwork import WEEK
from detectors.windows.signals import Signal

_OF_SYMPTOM: Final = 0.25
_OF_CUT: Final = 0.25


class Budget:
    """Of all banks of an engine."""

    def __init__(self, signals: Sequence[Signal], false_pages_per_week: float) -> None:
        """`signals` by their numbers."""
        self._stake = np.array([_OF_SYMPTOM if signal.symptom else 1.0 for signal in signals])
        self._pages: Mask = np.array([signal.pages for signal in signals])
        self._per_week = WEEK / false_pages_per_week
        self.weights: FloatArray = np.zeros(len(signals))
        """By signal: the most that its armed streams have weighed together."""
        self.streams = 0
        """Streams that are watched and may page; the most that there were."""
        self._seen: list[int] = []

    def share_out(self, banks: Sequence[Bank]) -> None:
        """Give every stream of the banks its H."""
        versions = [bank.version for bank in banks]
        if versions == self._seen:
            return
        self._seen = versions
        now, streams = np.zeros(len(self.weights)), 0
        for bank in banks:
            signal, weight = _of_streams(bank)
            armed = bank.streams_armed()
            now += add_up(signal[armed], weight[armed], len(now))
            streams += int((armed & bank.stream["pages"]).sum())
        self.streams = max(self.streams, streams)
        self.weights = np.maximum(self.weights, now)
        stakes = max(float(self._stake[self._pages & (self.weights > 0)].sum()), 1.0)
        parts = np.log(stakes / self._stake * np.maximum(self.weights, 1.0) * self._per_week)
        for bank in banks:
            signal, weight = _of_streams(bank)
            bank.threshold = parts[signal] - np.log(weight)

    def load(self, streams: int, weights: FloatArray) -> None:
        """Go on with what there was."""
        self.streams, self.weights, self._seen = streams, weights, []


def _of_streams(bank: Bank) -> tuple[IntArray, FloatArray]:
    """Of each stream of a bank: the number of its signal, and what it weighs among that signal's streams."""
    node = bank.stream["node"]
    return bank.pools.node_signal[node], np.where(bank.pools.cut[node], _OF_CUT, 1.0)
