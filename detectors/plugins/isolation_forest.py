"""Joint oddities of several residuals of a node: an isolation forest, refitted on its calm history (scikit-learn).

Liu, Ting & Zhou, "Isolation Forest", ICDM 2008, with split conformal p-values: every second window of the history
grows the forest, the others calibrate it, so that a p-value does not rest on what the forest has seen. Forests are
grown by scikit-learn; windows are judged here, all nodes at once.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest as SklearnForest

from detectors.plugins.plugin import measured
from detectors.series.arrays import FloatArray, IntArray
from detectors.series.pack import pack, unpack
from dimwatch.errors import InvalidError

MOST_SAMPLES: Final = 128
"""Windows that a tree is grown on; the paper finds that more do not help."""


class Forests:
    """Fitted forests of all series as arrays."""

    def __init__(self, series: int, trees: int) -> None:
        shape = (series, trees, 2 * MOST_SAMPLES)
        self._column = np.zeros(shape, np.int16)
        self._cut = np.full(shape, np.inf)
        self._children = np.zeros((2, *shape), np.int16)
        self._length = np.zeros(shape)

    def plant(self, at: int, forest: SklearnForest) -> None:
        """Take over a fitted forest for series `at`. A leaf is its own child."""
        for number, (one, columns) in enumerate(zip(forest.estimators_, forest.estimators_features_, strict=True)):
            tree = one.tree_
            leaf = tree.children_left < 0
            itself = np.arange(tree.node_count)
            nodes = at, number, slice(tree.node_count)
            self._column[nodes] = columns[np.where(leaf, 0, tree.feature)]
            self._cut[nodes] = np.where(leaf, np.inf, tree.threshold)
            self._children[0][nodes] = np.where(leaf, itself, tree.children_left)
            self._children[1][nodes] = np.where(leaf, itself, tree.children_right)
            depth = np.zeros(tree.node_count)
            for node in itself[~leaf]:
                depth[[tree.children_left[node], tree.children_right[node]]] = depth[node] + 1
            self._length[nodes] = depth + _expected_length(tree.n_node_samples)

    def path_length(self, place: FloatArray, at: int | None = None) -> FloatArray:
        """Mean length of the way to a leaf, short for odd ones; rows are series, or windows of series `at`."""
        # scikit-learn grows its trees on single precision and compares with that.
        place = place.astype(np.float32)
        rows = np.arange(len(place))[:, None]
        series = rows if at is None else np.full_like(rows, at)
        trees = np.arange(self._column.shape[1])
        node = np.zeros((len(place), len(trees)), np.int64)
        while True:
            right = (place[rows, self._column[series, trees, node]] > self._cut[series, trees, node]).astype(np.int64)
            deeper = self._children[right, series, trees, node]
            if (deeper == node).all():
                return np.asarray(self._length[series, trees, node].mean(axis=1))
            node = deeper.astype(np.int64)


def _expected_length(samples: NDArray[np.int64]) -> FloatArray:
    """Mean path length of an unsuccessful search among so many in a binary tree (the paper's c(n))."""
    many = np.maximum(samples, 3) - 1.0
    length = 2.0 * (np.log(many) + np.euler_gamma) - 2.0 * many / (many + 1.0)
    return np.where(samples > 2, length, np.where(samples == 2, 1.0, 0.0))


class IsolationForest:
    """Takes standardised residuals; a column without a measurement counts as just as expected."""

    def __init__(
        self,
        series: int,
        columns: int,
        *,
        history: int = 1000,
        guard: int = 120,
        least: int = 200,
        refit: int = 240,
        trees: int = 50,
        seed: int = 1,
    ) -> None:
        """`history` windows older than the newest `guard` are learned from, once there are `least`, every `refit`."""
        self.series = series
        self.columns = columns
        self._guard = guard
        self._least = least
        self._refit = refit
        self._trees = trees
        self._seed = seed
        self._window = 0
        self._recent = np.full((history + guard, series, columns), np.nan)
        self._fitted_on = np.full((history, series, columns), np.nan)
        """What the forest of each series has learned, NaN where there is none."""
        self._forests = Forests(series, trees)
        self._calibration: list[FloatArray] = [np.empty(0)] * series

    @property
    def ranked_among(self) -> IntArray:
        """The windows that calibrate each forest."""
        return np.array([len(calm) for calm in self._calibration])

    def learn_score(self, values: FloatArray) -> FloatArray:
        """Learn one window and score it."""
        window = measured(values, self.series, self.columns)
        odd = -self._forests.path_length(_squashed(window))
        scores = np.ones(self.series)
        for at in np.flatnonzero(~np.isnan(window).all(axis=1)).tolist():
            calm = self._calibration[at]
            scores[at] = (len(calm) - np.searchsorted(calm, odd[at]) + 1) / (len(calm) + 1)
        self._recent[self._window % len(self._recent)] = window
        self._window += 1
        for at in range(self.series):
            if (self._window + at) % self._refit == 0:
                self._learn(at)
        return scores

    def _learn(self, at: int) -> None:
        oldest = max(0, self._window - len(self._recent))
        windows = np.arange(oldest, max(oldest, self._window - self._guard)) % len(self._recent)
        past = self._recent[windows, at]
        past = past[~np.isnan(past).all(axis=1)]
        if len(past) >= self._least:
            self._fitted_on[:, at] = np.nan
            self._fitted_on[: len(past), at] = past
            self._fit(at)

    def _fit(self, at: int) -> None:
        past = self._fitted_on[:, at]
        past = _squashed(past[~np.isnan(past).all(axis=1)])
        if len(past) < 2:
            return
        samples = min(MOST_SAMPLES, len(past) // 2)
        forest = SklearnForest(n_estimators=self._trees, max_samples=samples, random_state=self._seed)
        forest.fit(past[::2])
        self._forests.plant(at, forest)
        self._calibration[at] = np.sort(-self._forests.path_length(past[1::2], at))

    def snapshot(self) -> bytes:
        """The history, and what each forest has learned: forests grow the same from the same."""
        return pack({"recent": self._recent, "fitted_on": self._fitted_on, "window": self._window})

    def restore(self, state: bytes) -> None:
        """Grow them again."""
        arrays = unpack(state)
        if "recent" not in arrays or arrays["recent"].shape != self._recent.shape:
            raise InvalidError("a snapshot of another plug-in, or of one with other arguments: start without it")
        self._recent, self._fitted_on, self._window = arrays["recent"], arrays["fitted_on"], arrays["window"]
        self._forests = Forests(self.series, self._trees)
        self._calibration = [np.empty(0)] * self.series
        for at in range(self.series):
            self._fit(at)


def _squashed(residuals: FloatArray) -> FloatArray:
    """Residuals of any size in [-1, 1]: random cuts fall where the windows are, not in an outlier's emptiness."""
    known = np.nan_to_num(residuals)
    return np.asarray(known / (1.0 + np.abs(known)))
