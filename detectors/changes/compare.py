"""Before and after of the lines of an agent, from their sums."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from detectors.changes import effects
from detectors.changes.change import Effect
from detectors.changes.excuse import EXCUSABLE, excused
from detectors.changes.sums import Cut, FloatArray, Line, Since, padded
from detectors.windows.signals import BY_NAME, NUMBER, Form

MOST: Final = 60
"""Most effects of one entry: first those of the whole agent, then the parts that changed."""

# Amounts are not compared: what runs cost and how many there are tells the same.
_LIMITS: Final = {Form.LEVEL: effects.level, Form.HITS: effects.hits, Form.EVENTS: effects.events}


class Comparison:
    """One moment of an agent, compared with what followed."""

    def __init__(self, lines: Sequence[Line], cut: Cut, since: Since) -> None:
        self._lines = lines
        self._before, self._latest = padded(cut.before, len(lines)), padded(cut.latest, len(lines))
        self._early = padded(cut.early, len(lines)) if cut.early is not None else None
        self._after = since.after
        self._spreads = padded(cut.spread, len(lines)), since.spread

    def effects(self) -> list[Effect]:
        """What can be compared: each signal of the whole agent, and of its parts those that changed."""
        found = []
        for number, (part, signal) in enumerate(self._lines):
            limits = self._limits(number)
            if limits is None:
                continue
            form = BY_NAME[signal].form
            if part and limits[0] <= 0 <= limits[1]:
                continue
            low, high = limits if form is Form.HITS else (math.exp(limits[0]), math.exp(limits[1]))
            before, after = self._before[number], self._after[number]
            found.append(
                Effect(
                    signal,
                    part,
                    _value(form, before),
                    _value(form, after),
                    low,
                    high,
                    float(before[0]),
                    float(after[0]),
                )
            )
        found.sort(key=lambda effect: (effect.part != "", NUMBER[effect.signal], effect.part))
        return found[:MOST]

    def excuses(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Signals of the agent whose shift counts as normal, and those whose shift is too large for that."""
        verdicts: dict[str, bool | None] = {}
        for number, (part, signal) in enumerate(self._lines):
            if part or signal not in EXCUSABLE:
                continue
            normal = _mean(self._before[number])
            after = _mean(self._after[number])
            if normal is None or after is None:
                continue
            early = _mean(self._early[number]) if self._early is not None else None
            latest = _mean(self._latest[number])
            verdicts[signal] = excused(
                signal,
                self._limits(number),
                after - normal,
                None if early is None else early - normal,
                None if latest is None else latest - normal,
            )
        ordered = sorted(verdicts, key=NUMBER.__getitem__)
        return (
            tuple(signal for signal in ordered if verdicts[signal] is True),
            tuple(signal for signal in ordered if verdicts[signal] is False),
        )

    def _limits(self, number: int) -> tuple[float, float] | None:
        limits = _LIMITS.get(BY_NAME[self._lines[number][1]].form)
        if limits is None:
            return None
        before, after = _three(self._before[number]), _three(self._after[number])
        spreads = tuple((float(spread[number, 0]), float(spread[number, 1])) for spread in self._spreads)
        return limits(before, after, (spreads[0], spreads[1]))


def _value(form: Form, sums: FloatArray) -> float:
    mean = float(sums[1] / sums[0])
    return math.exp(mean) if form is Form.LEVEL else mean


def _mean(sums: FloatArray) -> float | None:
    return float(sums[1] / sums[0]) if sums[0] > np.finfo(np.float64).eps else None


def _three(sums: FloatArray) -> effects.Sums:
    return float(sums[0]), float(sums[1]), float(sums[2])
