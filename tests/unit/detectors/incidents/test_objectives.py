"""Declared objectives: what burns is an incident, as long as it burns, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from detectors.incidents import control
from detectors.incidents.incident import Incident
from detectors.incidents.objectives import Objectives, tiers
from detectors.incidents.orders import Orders
from detectors.windows.minute import MINUTE_NS
from dimwatch.errors import InvalidError
from dimwatch.settings import Detection
from tests.fleet_points import START, Row, minute

ANSWERS = {"name": "answers", "signal": "run_failed", "scope": {"agent": "shop"}, "objective": 0.99}
Rates = Callable[[int], float]


def watched(*slos: dict[str, Any], **settings: Any) -> Objectives:
    return Objectives(Detection(slos=slos, **settings))


def runs(objectives: Objectives, rate: Rates, first: int, last: int, *, n: int = 100) -> list[Incident]:
    told = []
    for number in range(first, last):
        bad = round(n * (number + 1) * rate(number)) - round(n * number * rate(number))
        rows = [Row("run_failed", n, bad, agent="shop"), Row("run_failed", 10, 10, agent="other")]
        told += objectives.step(minute(number, rows))
    return told


def outage(number: int) -> float:
    return 0.5 if 100 <= number < 130 else 0.002


def test_a_burning_budget_is_a_critical_incident_until_it_stops() -> None:
    told = runs(watched(ANSWERS), outage, 0, 300)
    first, last = told[0], told[-1]
    assert {incident.id for incident in told} == {first.id}
    assert (first.kind, first.severity, first.status, first.version) == ("slo_burn", "critical", "open", 1)
    assert first.scope.of == (("agent", "shop"),)
    assert first.started_ns == (START + 100) * MINUTE_NS
    assert 5 <= first.opened_ns // MINUTE_NS - START - 100 <= 25
    assert (last.status, last.settled) == ("resolved", True)
    assert last.resolved_ns is not None
    assert 1 <= last.resolved_ns // MINUTE_NS - START - 130 <= 10
    assert last.runs == pytest.approx(1500, rel=0.1)
    signals = {signal["signal"]: signal for signal in last.signals()}
    assert set(signals) == {"run_failed", "burn_rate_1h", "burn_rate_6h", "burn_rate_3d"}
    assert signals["burn_rate_1h"]["observed"] > signals["burn_rate_1h"]["expected"] == 14.4
    assert signals["run_failed"]["expected"] == 0.01
    assert "answers" in last.summary
    assert "shop" in last.summary


@pytest.mark.parametrize(
    ("rate", "severity"), [(0.2, "critical"), (0.08, "warning"), (0.03, "ticket"), (0.01, ""), (0.0, "")]
)
def test_severity_is_that_of_the_fastest_tier(rate: float, severity: str) -> None:
    told = runs(watched({**ANSWERS, "window_d": 7}), lambda number: rate if number > 50 else 0.0, 0, 400)
    assert ({str(incident.severity) for incident in told} or {""}) == {severity}


def test_what_is_seldom_does_not_burn_by_one_failure() -> None:
    assert runs(watched(ANSWERS), lambda number: float(number == 50), 0, 200, n=1) == []


def test_what_comes_back_soon_is_the_same_incident_and_later_another() -> None:
    def twice(number: int) -> float:
        return 0.5 if number % 400 in (*range(100, 130), *range(145, 160)) else 0.002

    told = runs(watched(ANSWERS), twice, 0, 600)
    assert len({incident.id for incident in told}) == 2
    assert len({incident.id for incident in told if incident.opened_ns < (START + 400) * MINUTE_NS}) == 1


def test_two_objectives_of_one_scope_are_two_incidents() -> None:
    told = runs(watched(ANSWERS, {**ANSWERS, "name": "more"}), outage, 0, 140)
    assert {incident.summary.split(" ")[0] for incident in told} == {"answers", "more"}
    assert len({incident.id for incident in told}) == 2


@pytest.mark.parametrize(
    ("action", "status"), [("acknowledge", "acknowledged"), ("false", "false"), ("resolve", "resolved")]
)
def test_people_are_obeyed(action: str, status: str) -> None:
    objectives = watched(ANSWERS)
    (first, *_) = runs(objectives, outage, 0, 122)
    order = control.Order(control.Action(action), first.id, (START + 122) * MINUTE_NS, id="1")
    orders = Orders()
    orders.step(order.at_ns)
    assert [incident.status for incident in orders.obey(order, objectives.cases).changed] == [status]
    runs(objectives, outage, 122, 127)
    assert [case.incident.status for case in objectives.cases] == [status]
    assert objectives.open == (action == "acknowledge")


@pytest.mark.parametrize("cut", [90, 118, 131, 150])
def test_a_snapshot_goes_on_as_if_nothing_had_happened(cut: int) -> None:
    slos = (ANSWERS, {**ANSWERS, "name": "week", "window_d": 7})
    whole = [incident.row() for incident in runs(watched(*slos), outage, 0, 200)]
    before, after = watched(*slos), watched(*slos)
    told = runs(before, outage, 0, cut)
    after.restore(before.snapshot())
    told += runs(after, outage, cut, 200)
    assert [incident.row() for incident in told] == whole
    assert after.snapshot() == watched_to(slos, 200).snapshot()


def watched_to(slos: tuple[dict[str, Any], ...], last: int) -> Objectives:
    objectives = watched(*slos)
    runs(objectives, outage, 0, last)
    return objectives


def test_another_declaration_begins_anew_and_the_others_go_on() -> None:
    before = watched(ANSWERS, {**ANSWERS, "name": "old"})
    runs(before, outage, 0, 125)
    after = watched(ANSWERS, {**ANSWERS, "name": "old", "objective": 0.999})
    after.restore(before.snapshot())
    assert before.open == 2
    assert after.open == 1


def test_days_without_a_minute_let_the_budget_recover() -> None:
    objectives = watched(ANSWERS)
    assert runs(objectives, outage, 0, 120)
    (last, *_) = objectives.step(minute(20_000, []))
    assert last.status == "resolved"


def test_tiers_spend_the_same_share_of_any_window() -> None:
    assert [(tier.long, tier.short, tier.factor) for tier in tiers(30)] == [
        (60, 5, 14.4), (360, 30, 6.0), (4320, 360, 1.0),
    ]  # fmt: skip
    for tier, of_month in zip(tiers(90), tiers(30), strict=True):
        assert (tier.long, tier.short, tier.factor) == (3 * of_month.long, 3 * of_month.short, of_month.factor)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"signal": "run_latency"}, "run_latency.*choose one of.*run_failed"),
        ({"signal": "model_slow"}, "model_slow"),
        ({"scope": {"tool": "search"}}, "run_failed has no tool.*agent"),
    ],
)
def test_what_can_not_be_evaluated_is_refused(change: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidError, match=told):
        watched({**ANSWERS, **change})
