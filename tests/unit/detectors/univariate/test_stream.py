import math
from collections.abc import Callable

import numpy as np
import pytest

from detectors.series.arrays import FloatArray
from detectors.univariate.history import History
from detectors.univariate.stream import StreamDetector

DAY = 288


def scores(values: FloatArray, step_s: float = 300.0) -> FloatArray:
    detector = StreamDetector()
    return np.array([detector.learn_score(at * step_s, value) for at, value in enumerate(values.tolist())])


def daily(records: int, seed: int = 1) -> FloatArray:
    at = np.arange(records)
    return 50.0 + 20 * np.sin(2 * np.pi * at / DAY) + np.random.default_rng(seed).normal(0, 2, records)


def test_a_prefix_of_a_series_has_a_prefix_of_the_scores() -> None:
    values = daily(600)
    values[400:450] += 60
    whole = scores(values)
    assert whole[400:].any()
    for length in (1, 150, 420):
        assert scores(values[:length]).tolist() == whole[:length].tolist()


def test_what_comes_later_does_not_matter() -> None:
    values, other = daily(500), daily(500)
    other[400:] = 1e9
    assert scores(values)[:400].tolist() == scores(other)[:400].tolist()


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(lambda part: part + 60, id="level"),
        pytest.param(lambda part: np.full_like(part, 50.0), id="flat"),
        pytest.param(lambda part: part[::-1] * 0 + 50 + 20 * np.sin(np.arange(len(part))), id="restless"),
    ],
)
def test_a_fault_scores_higher_than_anything_before(fault: Callable[[FloatArray], FloatArray]) -> None:
    values = daily(6 * DAY)
    first = 5 * DAY
    values[first : first + DAY] = fault(values[first : first + DAY])
    found = scores(values)
    assert found[first:].max() > found[3 * DAY : first].max()


def test_one_fault_is_one_alarm() -> None:
    values = daily(6 * DAY)
    values[5 * DAY : 5 * DAY + 60] += 100
    found = scores(values)[5 * DAY : 5 * DAY + 60]
    assert 1 <= (found > 0.5).sum() <= 4


def test_the_unit_of_the_metric_does_not_matter() -> None:
    values = daily(500)
    values[400:] += 40
    assert np.allclose(scores(values), scores(values * 2.0**20))


def test_a_flat_series_is_nothing_odd() -> None:
    assert not scores(np.full(500, 45.0)).any()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_number_is_skipped(bad: float) -> None:
    values = daily(500)
    values[450:] += 60
    values[[0, 10, 300]] = bad
    found = scores(values)
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert (found < 1).all()
    assert found[[0, 10, 300]].tolist() == [0.0, 0.0, 0.0]
    assert found[450:].max() > 0.8


def test_p_values_of_a_history() -> None:
    history = History(4)
    assert history.p_value(1.0) == 1.0
    for value in (5.0, 1.0, 2.0, 3.0, 4.0):
        history.add(value)
    assert history.values().tolist() == [1.0, 2.0, 3.0, 4.0]
    assert history.p_value(3.0) == pytest.approx(3 / 5)
    assert history.p_value(9.0) == pytest.approx(1 / 5)
    assert history.gap(2.75) == pytest.approx(0.25)
    assert history.gap(9.0) == pytest.approx(5.0)


def test_a_history_holds_something() -> None:
    with pytest.raises(ValueError, match="at least one"):
        History(0)
