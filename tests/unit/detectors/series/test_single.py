"""Levels of which a minute has one or two measurements."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.series.single import gains

_COUNT = 200_000
_SHIFT = np.array([0.1, 0.4, 1.6])


def _gain(values: NDArray[np.float64], variance: float, slack: float = 0.0) -> NDArray[np.float64]:
    """Of minutes with the measurements of a row each, shape (minutes, shifts)."""
    n, count = np.full(len(values), float(values.shape[1])), len(values)
    spread, slacks = np.full(count, variance), np.full((count, 1), slack)
    return gains(n, values.sum(axis=1), (values**2).sum(axis=1), spread, slacks, _SHIFT).astype(np.float64)


@pytest.mark.parametrize("shape", ["normal", "one in a hundred is wild", "skewed", "rarely far below"])
def test_what_is_normal_is_no_evidence_whatever_its_shape(shape: str) -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(0, 0.5, _COUNT)
    if shape == "one in a hundred is wild":
        values = np.where(rng.random(_COUNT) < 0.01, rng.normal(0, 5, _COUNT), values)
    if shape == "skewed":
        values = rng.exponential(0.5, _COUNT)
    if shape == "rarely far below":
        values = np.where(rng.random(_COUNT) < 0.02, -4.0, values)
    values -= values.mean()
    for of in (values[:, None], values.reshape(-1, 2), values[:, None] - 0.1):
        wealth = np.exp(_gain(of, float(values.var())))
        error = wealth.std(axis=0) / np.sqrt(len(wealth))
        assert (wealth.mean(axis=0) <= 1 + 4 * error).all(), f"{shape}: {wealth.mean(axis=0)}"


def test_two_measurements_count_as_two_minutes_with_one_each() -> None:
    rng = np.random.default_rng(4)
    pairs = rng.normal(0.3, 0.5, (50, 2))
    apart = _gain(pairs[:, :1], 0.25, 0.1) + _gain(pairs[:, 1:], 0.25, 0.1)
    assert _gain(pairs, 0.25, 0.1) == pytest.approx(apart, rel=1e-4, abs=1e-4)


def test_a_shift_is_evidence_and_one_wild_measurement_is_little() -> None:
    shifted = _gain(np.random.default_rng(5).normal(0.8, 0.5, (_COUNT, 1)), 0.25)
    assert shifted.mean(axis=0)[1] > 0.5
    assert _gain(np.array([[50.0]]), 0.25).max() < 10
