"""Intervals of before and after: published figures, and how often they hold."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.changes import effects

BLOCKS = 12


@pytest.mark.parametrize(
    ("before", "after", "limits"),
    [
        ((48, 80), (56, 70), (0.0524, 0.3339)),
        ((3, 10), (9, 10), (0.1705, 0.8090)),
        ((0, 10), (10, 10), (0.6075, 1.0)),
        ((0, 10), (0, 10), (-0.2775, 0.2775)),
    ],
)
def test_newcombe_gives_what_the_paper_gives(
    before: tuple[float, float], after: tuple[float, float], limits: tuple[float, float]
) -> None:
    assert effects.newcombe(before, after, 1.959964) == pytest.approx(limits, abs=1e-4)


def _sums(n: NDArray[np.float64], total: NDArray[np.float64], squares: float) -> tuple[effects.Sums, effects.Spread]:
    some = n > 0
    spread = (float((total[some] ** 2 / n[some]).sum()), float(some.sum()))
    return (float(n.sum()), float(total.sum()), squares), spread


def _hits(random: np.random.Generator, rate: float, blocks: int) -> tuple[effects.Sums, effects.Spread]:
    # Runs of up to nine calls fail together half of the time: four times the variance of independent calls.
    calls = random.integers(1, 10, (blocks, 10))
    fails = np.where(random.random(calls.shape) < 0.5, calls * (random.random(calls.shape) < rate), 0)
    apart = random.random(calls.shape) < 0.5
    fails = np.where(apart, random.binomial(calls, rate), calls * (random.random(calls.shape) < rate))
    return _sums(calls.sum(1).astype(float), fails.sum(1).astype(float), 0.0)


def _level(random: np.random.Generator, mean: float, blocks: int) -> tuple[effects.Sums, effects.Spread]:
    n = random.poisson(20, blocks)
    # Blocks have moods of their own.
    moods = mean + 0.1 * random.standard_normal(blocks)
    values = [mood + 0.5 * random.standard_normal(count) for mood, count in zip(moods, n.tolist(), strict=True)]
    squares = float(sum((value**2).sum() for value in values))
    return _sums(n.astype(float), np.array([value.sum() for value in values]), squares)


@pytest.mark.parametrize("blocks_after", [2, 12])
@pytest.mark.parametrize("kind", ["hits", "rare hits", "level", "events"])
def test_intervals_hold_although_calls_clump(kind: str, blocks_after: int) -> None:
    random, held, rounds = np.random.default_rng(7), 0, 1000
    for _ in range(rounds):
        if kind == "level":
            (one, first), (two, second) = _level(random, 1.0, BLOCKS), _level(random, 1.2, blocks_after)
            limits, true = effects.level(one, two, (first, second)), 0.2
        elif kind == "events":
            counts = [random.negative_binomial(10, 0.5, blocks).astype(float) for blocks in (BLOCKS, blocks_after)]
            (one, first), (two, second) = (_sums(np.full(len(n), 5.0), n, 0.0) for n in counts)
            limits, true = effects.events(one, two, (first, second)), 0.0
        else:
            rates = (0.02, 0.04) if kind == "rare hits" else (0.1, 0.2)
            (one, first), (two, second) = _hits(random, rates[0], BLOCKS), _hits(random, rates[1], blocks_after)
            limits, true = effects.hits(one, two, (first, second)), rates[1] - rates[0]
        assert limits is not None
        held += limits[0] <= true <= limits[1]
    assert held / rounds >= 0.97


def test_little_data_gives_no_interval() -> None:
    nothing = ((0.0, 0.0), (0.0, 0.0))
    assert effects.level((4, 4, 4), (100, 100, 200), nothing) is None
    assert effects.hits((100, 1, 0), (4, 1, 0), nothing) is None
    assert effects.events((3, 100, 0), (60, 100, 0), nothing) is None
