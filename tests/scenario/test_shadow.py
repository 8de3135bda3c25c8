"""A fault that only a detector in shadow sees is a row, and nobody is paged; what it costs is what was promised."""

from __future__ import annotations

from functools import cache

import numpy as np

from detectors.alerts import Alert, Node
from detectors.fleet import Fleet, FleetOutput
from detectors.series.pack import pack, unpack
from detectors.shadow import COLUMNS, WIDTH, Shadow, e_value
from detectors.windows.minute import Minute
from detectors.windows.signals import BY_NAME, Form
from dimwatch import records
from dimwatch.settings import Detection
from tests.fleet_points import Row, measured, minute

FAULT = range(1000, 1060)
CUT = FAULT[0] + 5
MINUTES = 1120
SETTINGS = Detection(shadow=["adwin", "half_space_trees"], shadow_nodes=2, tolerance=1.0)


@cache
def minutes() -> tuple[Minute, ...]:
    """One agent. In the fault three of its signals move together, each less than is tolerated."""
    rng, made = np.random.default_rng(5), []
    for number in range(MINUTES):
        off = 0.45 if number in FAULT else 0.0
        where = {"agent": "shop", "provider": "acme", "model": "large"}
        calls, runs = int(rng.poisson(40)) + 1, int(rng.poisson(12)) + 1
        rows = [
            Row("model_error", calls, float(rng.binomial(calls, 0.02)), agent="shop", provider="acme", model="large"),
            measured("model_output_tokens", rng.normal(off, 0.4, calls), **where),
            measured("model_first_token", rng.normal(off, 0.4, calls), **where),
            measured("model_speed", rng.normal(-off, 0.4, calls), **where),
            Row("run_failed", runs, float(rng.binomial(runs, 0.02)), agent="shop"),
            Row("run_traffic", runs, agent="shop"),
        ]
        made.append(minute(number, rows))
    return tuple(made)


def watch(fleet: Fleet, first: int, last: int) -> FleetOutput:
    output = FleetOutput()
    for one in minutes()[first:last]:
        part = fleet.step([one])
        output.shadow += part.shadow
        output.incidents += part.incidents
    return output


@cache
def watched() -> tuple[Fleet, FleetOutput, bytes]:
    """All minutes, and a snapshot at the cut."""
    fleet = Fleet(SETTINGS)
    output = watch(fleet, 0, CUT)
    saved = fleet.snapshot()
    rest = watch(fleet, CUT, MINUTES)
    output.shadow += rest.shadow
    output.incidents += rest.incidents
    return fleet, output, saved


def test_what_only_a_detector_in_shadow_sees_is_a_row_and_no_incident() -> None:
    _, output, _ = watched()
    assert output.incidents == []
    opened = [alert for alert in output.shadow if alert.ended_ns is None]
    assert {alert.plugin for alert in opened} >= {"half_space_trees"}
    start_ns = minutes()[FAULT[0]].start_ns
    for alert in opened:
        assert abs(alert.since_ns - start_ns) <= 5 * 60 * 10**9, "dated"
        assert alert.evidence >= alert.threshold
        assert alert.p_value < 0.05
        assert alert.node.value("model") in ("large", "")
    ended = {alert.id for alert in output.shadow if alert.final}
    assert ended == {alert.id for alert in opened}, "each ends"
    table = records.table_from_rows(records.SHADOW_ALERT, (alert.row() for alert in output.shadow))
    assert table.num_rows == len(opened) + len(ended)


def test_it_pages_no_more_than_the_pager_may_on_calm_days_that_are_not_all_alike() -> None:
    """The busiest hours are odd to a forest: every day would be a page, were the day before not as odd."""
    fleet, rng, pages = Fleet(Detection(shadow=["isolation_forest"], shadow_nodes=3)), np.random.default_rng(1), 0
    for number in range(3_300):
        expected, rows = 5 * (1 + 0.5 * np.cos((number / 60 - 4) * np.pi / 12)), []
        for name in ("shop", "desk"):
            if runs := int(rng.poisson(expected)):
                rows.append(Row("run_failed", runs, float(rng.binomial(runs, 0.03)), agent=name))
                rows.append(Row("run_traffic", runs, agent=name))
        output = fleet.step([minute(number, rows)])
        assert output.incidents == []
        pages += sum(alert.ended_ns is None for alert in output.shadow)
    assert pages <= 1


def test_only_what_the_pager_is_silent_of_raises_the_bar() -> None:
    fleet, output, saved = watched()
    evidence = max(alert.evidence for alert in output.shadow)
    assert fleet.shadow._threshold("half_space_trees") >= evidence, "for a week less than that is no page"
    known = Fleet(SETTINGS)
    known.restore(saved)
    alert = Alert(Node(), "model_error", 20.0, 10.0, 0, 0.2, 0.02, 100.0)
    for one in minutes()[CUT:]:
        known.engine.step(one)
        known.shadow.step(one, known.engine, [alert])
    assert known.shadow._threshold("half_space_trees") < min(evidence, fleet.shadow._threshold("half_space_trees"))


def test_a_snapshot_goes_on_as_if_nothing_had_happened() -> None:
    fleet, output, saved = watched()
    again = Fleet(SETTINGS)
    again.restore(saved)
    told = watch(again, CUT, MINUTES)
    assert told.shadow
    cut_ns = minutes()[CUT].start_ns
    assert told.shadow == [alert for alert in output.shadow if (alert.ended_ns or alert.opened_ns) > cut_ns]
    assert again.shadow.snapshot() == fleet.shadow.snapshot()


def test_a_state_that_does_not_know_the_threshold_that_was_passed_is_read() -> None:
    fleet, _, _ = watched()
    saved = unpack(fleet.shadow.snapshot())
    for place in saved["places"].values():
        for watch in place["watches"].values():
            del watch["needed"]
    again = Shadow(SETTINGS)
    again.restore(pack(saved))
    for now, before in zip(again._places, fleet.shadow._places, strict=True):
        for name, watch in before.watches.items():
            assert np.array_equal(now.watches[name].evidence, watch.evidence)
            assert not now.watches[name].needed.any()


def test_another_list_of_detectors_keeps_what_the_others_know() -> None:
    fleet, _, _ = watched()
    other = Shadow(SETTINGS.model_copy(update={"shadow": ["half_space_trees", "page_hinkley"]}))
    other.restore(fleet.shadow.snapshot())
    same = Shadow(SETTINGS)
    same.restore(other.snapshot())
    assert same.snapshot() != fleet.shadow.snapshot()
    for now, before in zip(same._places, fleet.shadow._places, strict=True):
        trees = before.watches["half_space_trees"].model.snapshot()
        assert now.watches["half_space_trees"].model.snapshot() == trees
        assert now.watches["adwin"].model.snapshot() != before.watches["adwin"].model.snapshot()


def test_without_any_it_costs_nothing() -> None:
    fleet = Fleet(Detection())
    for one in minutes()[:300]:
        assert fleet.step([one]).shadow == []
    assert fleet.shadow._places == []


def test_e_values_keep_the_promise() -> None:
    grid = np.geomspace(1e-12, 1.0, 200_001)
    middle = np.sqrt(grid[1:] * grid[:-1])
    assert float((e_value(middle) * np.diff(grid)).sum()) <= 1.001
    values = e_value(np.array([1.0, 0.5, 0.01, 1e-9, 1e-320]))
    assert (np.diff(values) > 0).all()
    assert np.isfinite(values).all()


def test_columns_are_signals_with_residuals() -> None:
    for lead, signals in COLUMNS.items():
        assert len(signals) == WIDTH
        assert signals[0] == lead
        assert {BY_NAME[signal].subject for signal in signals} == {BY_NAME[lead].subject}
        assert {BY_NAME[signal].form for signal in signals} <= {Form.HITS, Form.LEVEL}
