"""Joint oddities of several residuals of a series, online: half-space trees over all series at once.

Tan, Ting & Liu, "Fast anomaly detection for streaming data", IJCAI 2011: random trees split the space by halves, and
count how many windows of the last period fell into each cell; a window in an empty cell is odd. The trees are the
same for all series (only the counts are each one's own), so that a step is a few array operations.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.plugins.calm import CalmHistory
from detectors.plugins.plugin import measured
from detectors.series.arrays import FloatArray, IntArray, Mask
from detectors.series.pack import pack, unpack
from dimwatch.errors import InvalidError

ENOUGH: Final = 0.1
"""A cell with fewer than this share of a period's windows is not looked into any deeper (the paper's size limit)."""


class HalfSpaceTrees:
    """Takes standardised residuals; a column without a measurement counts as just as expected."""

    def __init__(
        self,
        series: int,
        columns: int,
        *,
        trees: int = 20,
        height: int = 6,
        period: int = 250,
        history: int = 1000,
        guard: int = 120,
        seed: int = 1,
    ) -> None:
        self.series = series
        self.columns = columns
        self._height = height
        self._period = period
        self._column, self._cut = _grow(trees, height, columns, np.random.default_rng(seed))
        nodes = 2 ** (height + 1) - 1
        self._now = np.zeros((series, trees, nodes), np.int32)
        self._reference = np.zeros_like(self._now)
        self._learned = np.zeros(series, np.int64)
        self._calm = CalmHistory(series, history, guard)

    @property
    def ranked_among(self) -> IntArray:
        """The calm history."""
        return self._calm.held

    def learn_score(self, values: FloatArray) -> FloatArray:
        """Learn one window and score it."""
        window = measured(values, self.series, self.columns)
        some: Mask = np.asarray(np.isfinite(window).any(axis=1))
        place = 1.0 / (1.0 + np.exp(-np.clip(np.nan_to_num(window), -30.0, 30.0)))
        mass = self._walk(place, some)
        self._learned += some
        turn = some & (self._learned % self._period == 0)
        self._reference[turn] = self._now[turn]
        self._now[turn] = 0
        judged = some & (self._learned > self._period)
        return self._calm.p_values(np.where(judged, -mass, np.nan))

    def _walk(self, place: FloatArray, some: Mask) -> FloatArray:
        """Count the window in every cell on its way down; the mass of the cell where it is judged, over all trees."""
        trees = np.arange(self._column.shape[0])
        rows = np.arange(self.series)[:, None]
        node = np.zeros((self.series, len(trees)), np.int64)
        mass = np.zeros((self.series, len(trees)))
        open_ = np.ones_like(node, dtype=bool)
        for depth in range(self._height + 1):
            self._now[rows, trees, node] += some[:, None]
            held = self._reference[rows, trees, node]
            last = open_ & ((held < ENOUGH * self._period) | (depth == self._height))
            mass[last] = held[last] * 2.0**depth
            open_ &= ~last
            if depth < self._height:
                right = place[rows, self._column[trees, node]] >= self._cut[trees, node]
                node = 2 * node + 1 + right
        return np.asarray(mass.sum(axis=1))

    def snapshot(self) -> bytes:
        """Counts and calibration; the trees follow from the arguments."""
        return pack(
            {"now": self._now, "reference": self._reference, "learned": self._learned, "calm": self._calm.state()}
        )

    def restore(self, state: bytes) -> None:
        """Back to those counts."""
        arrays = unpack(state)
        if "now" not in arrays or arrays["now"].shape != self._now.shape:
            raise InvalidError("a snapshot of another plug-in, or of one with other arguments: start without it")
        self._now, self._reference, self._learned = arrays["now"], arrays["reference"], arrays["learned"]
        self._calm.load(arrays["calm"])


def _grow(trees: int, height: int, columns: int, rng: np.random.Generator) -> tuple[IntArray, FloatArray]:
    """Column and cut of every inner node, in heap order. Each tree works in a range of its own around the centre, as
    in the paper, and every split halves what is left of it."""
    inner = 2**height - 1
    column = rng.integers(0, columns, (trees, inner))
    cut = np.zeros((trees, inner))
    for tree in range(trees):
        centre = rng.uniform(0.25, 0.75, columns)
        reach = 2.0 * np.maximum(centre, 1.0 - centre)
        low = np.zeros((2 * inner + 1, columns))
        high = np.zeros_like(low)
        low[0], high[0] = centre - reach / 2, centre + reach / 2
        for node in range(inner):
            of = column[tree, node]
            cut[tree, node] = (low[node, of] + high[node, of]) / 2
            for child in (2 * node + 1, 2 * node + 2):
                low[child], high[child] = low[node], high[node]
            high[2 * node + 1, of] = cut[tree, node]
            low[2 * node + 2, of] = cut[tree, node]
    return column, cut
