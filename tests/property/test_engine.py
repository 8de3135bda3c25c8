"""The engine does not depend on the order of rows, on restarts, or on what comes later; and takes any numbers."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.alerts import Alert
from detectors.engine import Engine
from detectors.windows.minute import Minute
from detectors.windows.signals import BY_NAME
from dimwatch.errors import InvalidError
from dimwatch.settings import Detection
from tests.fleet_points import Row, measured, minute

_MINUTES = 300
_FAULT = 270


def history(seed: int) -> list[list[Row]]:
    """Five hours of four agents, the last of them with a fault in one."""
    rng = np.random.default_rng(seed)
    minutes = []
    for number in range(_MINUTES):
        rows = []
        for agent in ("a", "b", "c", "d"):
            calls = int(rng.poisson(20))
            bad = agent == "a" and number >= _FAULT
            where = {"agent": agent, "provider": "p", "model": "m" if agent < "c" else "n"}
            if calls:
                failed = float(rng.binomial(calls, 0.3 if bad else 0.02))
                release = "1" if number % 2 else "2"
                rows.append(Row("model_error", calls, failed, 0.0, agent, "p", where["model"], release=release))
                rows.append(measured("model_latency", rng.normal(1.0 if bad else 0.0, 0.5, calls), **where))
                rows.append(Row("run_traffic", calls, agent=agent))
        minutes.append(rows)
    return minutes


def alerts(minutes: list[Minute], engine: Engine | None = None) -> list[list[Alert]]:
    engine = engine or Engine(Detection())
    return [engine.step(minute) for minute in minutes]


@pytest.fixture(scope="module")
def plain() -> tuple[list[list[Row]], list[list[Alert]]]:
    rows = history(1)
    found = alerts([minute(number, of) for number, of in enumerate(rows)])
    assert not any(found[:_FAULT])
    assert found[-1]
    return rows, found


def test_the_order_of_rows_does_not_matter(plain: tuple[list[list[Row]], list[list[Alert]]]) -> None:
    rows, found = plain
    assert alerts([minute(number, of, shuffle=number) for number, of in enumerate(rows)]) == found


@pytest.mark.parametrize("at", [245, 275])
def test_a_restored_engine_goes_on_as_if_nothing_had_happened(
    plain: tuple[list[list[Row]], list[list[Alert]]], at: int
) -> None:
    rows, found = plain
    minutes = [minute(number, of) for number, of in enumerate(rows)]
    first, second = Engine(Detection()), Engine(Detection())
    alerts(minutes[:at], first)
    second.restore(first.snapshot())
    assert second.snapshot() == first.snapshot()
    assert alerts(minutes[at:], second) == found[at:]
    alerts(minutes[at:], first)
    assert second.snapshot() == first.snapshot()


def test_what_comes_later_changes_nothing(plain: tuple[list[list[Row]], list[list[Alert]]]) -> None:
    rows, found = plain
    assert alerts([minute(number, of) for number, of in enumerate(rows[:285])]) == found[:285]


def test_minutes_come_in_order_without_gaps() -> None:
    engine = Engine(Detection())
    engine.step(minute(0, []))
    with pytest.raises(InvalidError, match="close every minute once"):
        engine.step(minute(2, []))


def test_series_are_bounded_and_what_is_refused_is_counted() -> None:
    engine = Engine(Detection(max_series=10))
    for number in range(3):
        engine.step(minute(number, [Row("run_traffic", 1, agent=f"agent-{agent}") for agent in range(25)]))
    assert engine.series == 10
    assert engine.refused == 45


def test_series_that_were_idle_for_a_week_make_room_and_the_others_are_not_touched() -> None:
    names = [f"agent-{number}" for number in range(12)]
    rng = np.random.default_rng(3)

    def rows(number: int) -> list[Row]:
        # Every other agent goes away after five hours; two new ones come after eight days.
        here = names[:10] if number < 300 else names[0:10:2]
        if number > 8 * 1440:
            here = [*here, *names[10:]]
        failed = {name: 20.0 if name == "agent-4" and number > 8 * 1440 + 90 else 0.0 for name in here}
        return [Row("model_error", 20 + int(rng.integers(2)), failed[name], agent=name) for name in here]

    signals = (BY_NAME["model_error"],)
    cramped, free = Engine(Detection(max_series=11), signals), Engine(Detection(), signals)
    minutes = [minute(number, rows(number)) for number in [*range(420), *range(8 * 1440, 8 * 1440 + 120)]]
    for number, of in enumerate(minutes):
        if number == 420:
            cramped.resume()
            free.resume()
        found, wanted = cramped.step(of), free.step(of)
        assert [alert.node for alert in found] == [alert.node for alert in wanted]
    assert found
    assert free.series == 12
    assert cramped.series == 7
    other = Engine(Detection(max_series=11), signals)
    other.restore(cramped.snapshot())
    assert other.snapshot() == cramped.snapshot()


_WILD = (float("nan"), float("inf"), -float("inf"), -1.0, 0.0, 5e-324, 1e11, 1e300)


def test_no_number_breaks_it() -> None:
    rng = np.random.default_rng(2)
    engine = Engine(Detection())
    for number in range(320):
        rows = []
        for signal in ("model_error", "model_latency", "model_output_tokens", "run_traffic", "run_spend"):
            wild, mild = rng.choice(_WILD, 3), rng.uniform(0, 50, 3)
            n, total, squares = np.where(rng.random(3) < 0.3, wild, mild).tolist()
            rows.append(Row(signal, n, total, squares))
        for alert in engine.step(minute(number, rows)):
            assert np.isfinite([alert.evidence, alert.observed, alert.expected, alert.n]).all()
    assert engine.refused > 320
