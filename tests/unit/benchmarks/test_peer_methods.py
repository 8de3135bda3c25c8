from __future__ import annotations

import numpy as np
import pytest
from river import drift

from benchmarks.peer_methods import PEERS, Burn, PageHinkley, RollingSigma, StaticRatio


def test_page_hinkley_is_rivers() -> None:
    rng = np.random.default_rng(1)
    n = np.full(600, 50.0)
    failed = np.concatenate([rng.binomial(50, 0.02, 400), rng.binomial(50, 0.2, 200)]).astype(np.float64)
    ours = PageHinkley(1)
    statistics = [ours.step(n[[at]], failed[[at]])[0] for at in range(600)]
    for threshold in (1.0, 5.0):
        theirs = drift.PageHinkley(threshold=threshold, delta=0.005, mode="up")
        for at in range(600):
            theirs.update(failed[at] / n[at])  # type: ignore[no-untyped-call]
            if theirs.drift_detected:
                break
        assert theirs.drift_detected
        assert next(at for at, value in enumerate(statistics) if value > threshold) == at


def test_static_ratio_and_sigma_of_a_step() -> None:
    static, sigma = StaticRatio(1, 5), RollingSigma(1, 60)
    for minute in range(100):
        failed = np.array([1.0 + minute % 2])
        assert static.step(np.array([100.0]), failed)[0] <= 0.02
        sigma.step(np.array([100.0]), failed)
    assert static.step(np.array([100.0]), np.array([50.0]))[0] == pytest.approx((50 + 2 + 1 + 2 + 1) / 500)
    assert sigma.step(np.array([100.0]), np.array([2.5]))[0] == pytest.approx((0.025 - 0.015) / 0.005)


def test_the_burn_rate_fires_at_one() -> None:
    burn = Burn(1)
    n = np.array([100.0])
    for _ in range(Burn.LEARN + 1):
        value = burn.step(n, np.array([2.0]))
    assert value[0] < 0.6
    for _ in range(60):
        value = burn.step(n, np.array([60.0]))
    assert value[0] > 1.0


@pytest.mark.parametrize("name", PEERS)
def test_more_failures_are_never_better(name: str) -> None:
    rng = np.random.default_rng(3)
    calm, worse = PEERS[name](20), PEERS[name](20)
    n = np.full(20, 40.0)
    highest = np.zeros((2, 20))
    for minute in range(400):
        failed = rng.binomial(40, 0.02, 20).astype(np.float64)
        more = rng.binomial(40, 0.3, 20).astype(np.float64) if minute >= 300 else failed
        highest = np.maximum(highest, [calm.step(n, failed), worse.step(n, more)])
    assert (highest[1] >= highest[0]).all()
