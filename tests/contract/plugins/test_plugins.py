"""Every plug-in keeps the promises of `detectors.plugins.plugin`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from detectors.plugins.burn_rate import BurnRate, Tier
from detectors.plugins.drift import Adwin, PageHinkley
from detectors.plugins.half_space_trees import HalfSpaceTrees
from detectors.plugins.isolation_forest import IsolationForest
from detectors.plugins.plugin import Plugin
from detectors.plugins.table import PLUGINS
from detectors.series.arrays import FloatArray
from dimwatch.errors import InvalidError

SERIES = 3
BAD = (np.nan, np.inf, -1e300)


def residuals(windows: int, columns: int, shift: float, seed: int) -> FloatArray:
    return np.random.default_rng(seed).normal(shift, 1.0, (windows, SERIES, columns))


def odd_together(windows: int, shift: float, seed: int) -> FloatArray:
    """Two columns that go together when calm, and against each other when not."""
    both = residuals(windows, 2, 0.0, seed)
    both[..., 1] = (1.0 if shift == 0 else -1.0) * both[..., 0] + 0.2 * both[..., 1]
    return both * (1.0 if shift == 0 else 2.0)


def failures(windows: int, shift: float, seed: int) -> FloatArray:
    rng = np.random.default_rng(seed)
    trials = rng.poisson(100, (windows, SERIES))
    return np.stack([rng.binomial(trials, 0.3 if shift else 0.01), trials], axis=-1).astype(np.float64)


@dataclass(frozen=True)
class Case:
    make: Callable[[], Plugin]
    windows: Callable[[int, float, int], FloatArray]
    """How many, how far off (0 is calm), seed."""

    def run(self, windows: FloatArray, plugin: Plugin | None = None) -> FloatArray:
        plugin = plugin or self.make()
        return np.array([plugin.learn_score(window) for window in windows])


CASES = {
    "adwin": Case(lambda: Adwin(SERIES, epoch=200), lambda n, shift, seed: residuals(n, 1, 3 * shift, seed)),
    "page_hinkley": Case(
        lambda: PageHinkley(SERIES, epoch=200), lambda n, shift, seed: residuals(n, 1, 3 * shift, seed)
    ),
    "half_space_trees": Case(lambda: HalfSpaceTrees(SERIES, 2, period=150, history=300, guard=20), odd_together),
    "isolation_forest": Case(
        lambda: IsolationForest(SERIES, 2, history=200, guard=20, least=100, refit=200, trees=10), odd_together
    ),
    "burn_rate": Case(lambda: BurnRate(SERIES, 0.01, (Tier(60, 5, 14.4), Tier(240, 30, 6.0))), failures),
}


def test_every_plugin_is_held_to_the_contract() -> None:
    assert CASES.keys() == PLUGINS.keys()


@pytest.fixture(params=CASES, name="case")
def _case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def test_scores_are_p_values_when_all_is_calm(case: Case) -> None:
    scores = case.run(case.windows(1_000, 0.0, 1))
    assert scores.shape == (1_000, SERIES)
    assert ((scores > 0) & (scores <= 1)).all()
    for level in (0.01, 0.05, 0.2):
        assert (scores <= level).mean() < 1.5 * level + 0.002


def test_a_fault_scores_low_and_soon(case: Case) -> None:
    windows = np.concatenate([case.windows(700, 0.0, 2), case.windows(60, 1.0, 3)])
    scores = case.run(windows)
    assert (scores[700:].min(axis=0) <= 0.02).all()
    assert (scores[700:] <= 0.02).mean() > (scores[400:700] <= 0.02).mean()


@pytest.mark.parametrize("bad", BAD)
def test_bad_numbers_are_survived(case: Case, bad: float) -> None:
    calm, fault = case.windows(600, 0.0, 4), case.windows(60, 1.0, 5)
    calm[5:10, 0] = bad
    calm[300, 0] = bad
    scores = case.run(np.concatenate([calm, fault]))
    assert ((scores > 0) & (scores <= 1)).all()
    assert scores[300, 0] == 1.0
    assert (scores[600:].min(axis=0) <= 0.02).all()


def test_nothing_measured_is_nothing_to_say(case: Case) -> None:
    windows = np.full_like(case.windows(300, 0.0, 1), np.nan)
    assert (case.run(windows) == 1.0).all()


@pytest.mark.parametrize("at", [200, 455])
def test_a_snapshot_goes_on_exactly(case: Case, at: int) -> None:
    windows = np.concatenate([case.windows(430, 0.0, 6), case.windows(70, 1.0, 7)])
    windows[20, 1] = np.nan
    original, copy = case.make(), case.make()
    case.run(windows[:at], original)
    state = original.snapshot()
    copy.restore(state)
    assert case.run(windows[at:], copy).tolist() == case.run(windows[at:], original).tolist()


def test_state_is_bounded(case: Case) -> None:
    plugin = case.make()
    windows = case.windows(900, 0.0, 8)
    case.run(windows[:500], plugin)
    early = len(plugin.snapshot())
    case.run(windows[500:], plugin)
    assert len(plugin.snapshot()) <= 1.02 * early


def test_same_in_same_out_and_input_is_left_alone(case: Case) -> None:
    windows = np.concatenate([case.windows(450, 0.0, 9), case.windows(30, 1.0, 10)])
    windows[3, 0] = np.nan
    before = windows.copy()
    assert case.run(windows).tolist() == case.run(windows).tolist()
    assert np.array_equal(windows, before, equal_nan=True)


def test_a_series_does_not_depend_on_another(case: Case) -> None:
    windows = case.windows(450, 0.0, 11)
    other = windows.copy()
    other[:, 0] = case.windows(450, 1.0, 12)[:, 0]
    assert case.run(windows)[:, 1:].tolist() == case.run(other)[:, 1:].tolist()


def test_a_wrong_shape_is_refused(case: Case) -> None:
    plugin = case.make()
    with pytest.raises(InvalidError, match="shape"):
        plugin.learn_score(np.zeros((SERIES + 1, plugin.columns)))


def test_a_foreign_snapshot_is_refused(case: Case) -> None:
    with pytest.raises(InvalidError):
        case.make().restore(b"something else")
    for foreign in CASES.values():
        if foreign is not case:
            with pytest.raises(InvalidError):
                case.make().restore(foreign.make().snapshot())
