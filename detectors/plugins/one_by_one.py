"""Models of other libraries that take one value of one series at a time, held to the contract.

Such a model cannot be copied safely into bytes, and some cannot forget. Both are solved by epochs: at the end of each
the models are made anew and learn the finished epoch once more. So state depends on the values of at most two
epochs, and a snapshot is those values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np

from detectors.plugins.plugin import measured
from detectors.series.arrays import FloatArray, IntArray
from detectors.series.pack import pack, unpack
from dimwatch.errors import InvalidError


class Model(Protocol):
    """One series' model."""

    def learn_score(self, value: float) -> float:
        """A p-value. Only finite values come; NaN or worse may be answered."""
        ...


class OneByOne:
    """A plug-in of one column around a model for each series."""

    columns = 1

    def __init__(self, series: int, make: Callable[[], Model], epoch: int = 1440) -> None:
        self.series = series
        self._make = make
        self._epoch = epoch
        self._values = np.full((2 * epoch, series), np.nan)
        """The epoch before this one, then this one."""
        self._held = epoch
        self._models = [make() for _ in range(series)]

    @property
    def ranked_among(self) -> IntArray:
        """Scores are no ranks."""
        return np.zeros(self.series, dtype=np.int64)

    def learn_score(self, values: FloatArray) -> FloatArray:
        """Learn one window and score it."""
        window = measured(values, self.series, 1)[:, 0]
        if self._held == 2 * self._epoch:
            self._values[: self._epoch] = self._values[self._epoch :]
            self._held = self._epoch
            self._models = [self._make() for _ in range(self.series)]
            self._learn(self._values[: self._epoch])
        self._values[self._held] = window
        self._held += 1
        return np.array([self._one(at, value) for at, value in enumerate(window.tolist())])

    def _one(self, at: int, value: float) -> float:
        if math.isnan(value):
            return 1.0
        score = self._models[at].learn_score(value)
        if not 0.0 < score <= 1.0:
            self._models[at] = self._make()
            return 1.0
        return score

    def _learn(self, windows: FloatArray) -> None:
        for window in windows.tolist():
            for at, value in enumerate(window):
                self._one(at, value)

    def snapshot(self) -> bytes:
        """The values of two epochs."""
        return pack({"of": type(self).__name__, "values": self._values[: self._held]})

    def restore(self, state: bytes) -> None:
        """Learn them again."""
        packed = unpack(state)
        values = packed.get("values", np.empty((0, 0)))
        fits = self._epoch <= len(values) <= 2 * self._epoch and values.shape[1] == self.series
        if packed.get("of") != type(self).__name__ or not fits:
            raise InvalidError("a snapshot of another plug-in, or of one with other arguments: start without it")
        self._models = [self._make() for _ in range(self.series)]
        self._held = len(values)
        self._values[: self._held] = values
        self._learn(values)
