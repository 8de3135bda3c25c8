from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import IsolationForest as SklearnForest

from detectors.plugins.burn_rate import TIERS, BurnRate, Tier
from detectors.plugins.calm import CalmHistory
from detectors.plugins.half_space_trees import HalfSpaceTrees
from detectors.plugins.isolation_forest import Forests, _expected_length
from detectors.plugins.one_by_one import OneByOne
from dimwatch.errors import InvalidError


def test_path_lengths_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    known, new = rng.normal(size=(300, 3)), rng.normal(0, 2, (40, 3))
    fitted = SklearnForest(n_estimators=25, max_samples=100, random_state=3).fit(known)
    forests = Forests(series=2, trees=25)
    forests.plant(1, fitted)
    scores = 2.0 ** (-forests.path_length(new, 1) / _expected_length(np.array([100])))
    assert scores == pytest.approx(-fitted.score_samples(new))


def test_a_burn_rate_needs_the_long_and_the_short_window() -> None:
    tier = Tier(60, 5, 14.4)
    plugin = BurnRate(1, 0.01, (tier,))
    calm, bad = np.array([[0.0, 100.0]]), np.array([[30.0, 100.0]])
    assert all(plugin.learn_score(calm)[0] == 1.0 for _ in range(60))
    scores = [plugin.learn_score(bad)[0] for _ in range(60)]
    first = next(at for at, score in enumerate(scores) if score < 1e-6)
    assert first == 28, "29 of 60 minutes at 30% are 14.5% in the hour"
    after = [plugin.learn_score(calm)[0] for _ in range(5)]
    assert after[1] < 1e-6
    assert after[3:] == [1.0, 1.0], "two of five minutes at 30% are 12% in the short window"


def test_an_objective_is_a_share() -> None:
    with pytest.raises(InvalidError, match="objective"):
        BurnRate(1, 1.0)
    assert [tier.factor for tier in TIERS] == [14.4, 6.0, 1.0]


def test_p_values_count_those_that_were_at_least_as_odd() -> None:
    history = CalmHistory(series=1, windows=100, guard=10, least=20)
    for raw in range(40):
        p_value = history.p_values(np.array([float(raw)]))[0]
        assert p_value == (1.0 if raw < 30 else 1 / (raw - 10 + 1)), "the newest ten are not compared with"
    assert history.p_values(np.array([20.0]))[0] == pytest.approx((10 + 1) / (30 + 1))


class Breaks:
    """Says nonsense after some values, as third-party models do."""

    def __init__(self) -> None:
        self.seen = 0

    def learn_score(self, value: float) -> float:
        self.seen += 1
        return 27.6 if self.seen == 5 else 0.5


def test_a_model_that_breaks_is_replaced() -> None:
    plugin = OneByOne(1, Breaks, epoch=100)
    scores = [plugin.learn_score(np.array([[1.0]]))[0] for _ in range(12)]
    assert scores == [0.5] * 4 + [1.0] + [0.5] * 4 + [1.0] + [0.5] * 2


def test_half_space_trees_see_what_no_single_residual_shows() -> None:
    rng = np.random.default_rng(5)
    calm = rng.normal(size=(1_500, 1, 1)) * np.ones((1, 1, 2)) + 0.2 * rng.normal(size=(1_500, 1, 2))
    plugin = HalfSpaceTrees(1, 2, trees=40, height=8)
    for window in calm:
        plugin.learn_score(window)
    together, against = np.array([[1.5, 1.5]]), np.array([[1.5, -1.5]])
    assert plugin.learn_score(against)[0] < 0.02 < 0.1 < plugin.learn_score(together)[0]
