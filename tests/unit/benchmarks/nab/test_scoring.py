import math

import numpy as np
import pytest

from benchmarks.nab.scoring import OUTSIDE, PROFILES, STANDARD, FloatArray, Profile, probation, rate, sweep

LOW_FP, LOW_FN = PROFILES[1:]
RATED = rate(20, [(10, 13)])
"""Three records of probation, one window of four."""


def detections(*records: int) -> FloatArray:
    scores = np.zeros(20)
    scores[list(records)] = 1.0
    return scores


def raw(scores: FloatArray, profile: Profile = STANDARD) -> float:
    return sweep([(RATED, scores)], profile).at(1.0)


def worth(position: float) -> float:
    return 2.0 / (1.0 + math.exp(5.0 * position)) - 1.0


@pytest.mark.parametrize("profile", PROFILES, ids=lambda one: one.name)
def test_perfect_is_100_and_silence_is_0(profile: Profile) -> None:
    corpus = [
        (RATED, detections(10)),
        (rate(30, [(5, 9), (20, 24)]), np.isin(np.arange(30), [5, 20]).astype(np.float64)),
    ]
    assert sweep(corpus, profile).score == pytest.approx(100.0)
    silence = sweep(corpus, profile)
    assert silence.normalised(silence.at(math.inf)) == 0.0
    assert sweep([(rate(500, [(400, 409)]), np.zeros(500))], profile).score == 0.0


def test_the_earlier_in_the_window_the_better() -> None:
    assert raw(detections(10)) == pytest.approx(1.0)
    assert raw(detections(11)) == pytest.approx(worth(-3 / 4) / worth(-1.0))
    assert raw(detections(13)) == pytest.approx(worth(-1 / 4) / worth(-1.0))


def test_only_the_best_detection_of_a_window_counts() -> None:
    assert raw(detections(11, 12, 13)) == pytest.approx(raw(detections(11)))


@pytest.mark.parametrize(("profile", "cost"), [(STANDARD, 0.11), (LOW_FP, 0.22), (LOW_FN, 0.11)])
def test_a_false_alarm_costs_less_shortly_behind_a_window(profile: Profile, cost: float) -> None:
    silent = raw(detections(), profile)
    assert raw(detections(5), profile) - silent == pytest.approx(-cost)
    assert raw(detections(14), profile) - silent == pytest.approx(cost * worth(1 / 3))
    assert raw(detections(19), profile) - silent == pytest.approx(cost * worth(6 / 3))


def test_far_behind_a_window_it_costs_everything() -> None:
    assert rate(60, [(10, 13)]).worth[23] == -1.0


def test_a_missed_window_costs_double_in_the_profile_that_rewards_few_misses() -> None:
    assert raw(detections(10), LOW_FN) == pytest.approx(1.0)
    assert raw(detections(5), LOW_FN) == pytest.approx(-2.0 - 0.11)


def test_nothing_counts_during_probation() -> None:
    assert probation(1_000) == 150
    assert probation(20_000) == 750
    assert raw(detections(0, 1, 2)) == -1.0
    assert rate(20, [(0, 2)]).windows == 0


def test_the_threshold_is_the_one_that_suits_the_corpus() -> None:
    scores = np.zeros(20)
    scores[[5, 10, 16]] = 0.9, 0.8, 0.3
    found = sweep([(RATED, scores)])
    assert found.best_threshold == 0.8
    assert found.score == pytest.approx(100.0 * (1.0 - 0.11 + 1.0) / 2.0)
    assert found.at(0.85) == pytest.approx(-1.0 - 0.11)


def test_a_window_is_known_by_its_records() -> None:
    assert RATED.window.tolist() == [OUTSIDE] * 10 + [0] * 4 + [OUTSIDE] * 6


def test_a_score_that_is_no_number_is_an_error() -> None:
    with pytest.raises(ValueError, match="finite"):
        sweep([(RATED, np.full(20, np.nan))])
