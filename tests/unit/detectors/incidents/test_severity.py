"""Whom an incident concerns."""

from __future__ import annotations

import pyarrow as pa
import pytest

from detectors.alerts import Node
from detectors.changes.ledger import Ledger
from detectors.incidents.case import Case
from detectors.incidents.incident import Incident, Kind, Measure, Severity, Status
from detectors.incidents.review import assess
from detectors.incidents.severity import Traffic, graver, severity_of
from detectors.incidents.users import Users
from detectors.windows.minute import Minute
from detectors.windows.points import NO_SIGHTINGS
from dimwatch.records import POINT

NOW = 1_800_000_000 * 1_000_000_000


def case(kind: Kind, scope: Node, agents: tuple[str, ...], measure: Measure) -> Case:
    incident = Incident(
        "1", "t", kind, Severity.TICKET, Status.OPEN, scope, NOW, NOW, measures={measure.signal: measure}
    )
    return Case(incident, frozenset(("t", agent) for agent in agents), {measure.signal})


def point(signal: str, agent: str, n: float, total: float = 0.0, **of: str) -> dict[str, object]:
    names = dict.fromkeys(("provider", "model", "tool", "release", "region"), "")
    numbers = {"n": n, "total": total, "squares": 0.0, "bucket": [], "bucket_count": []}
    return {"tenant": "t", "time": 0, "subject": "", "agent": agent, "signal": signal, **names, **of, **numbers}


TRAFFIC = Traffic(
    pa.Table.from_pylist(
        [
            point("run_traffic", "a", 10),
            point("run_traffic", "b", 30),
            point("run_spend", "a", 10, 5.0),
            point("model_error", "a", 30, provider="openai", model="x"),
            point("model_error", "a", 10, provider="google", model="y"),
            point("tool_error", "b", 50, tool="crm"),
            point("model_latency", "a", 99, provider="openai", model="x"),
        ],
        schema=POINT,
    )
)


def test_of_a_rate_what_is_too_much_counts() -> None:
    measure = Measure("model_error", 0.2, 0.1, 20.0, NOW, 100.0)
    burden = TRAFFIC.burden(case(Kind.BROWNOUT, Node.make(provider="openai"), ("a",), measure))
    assert burden.runs == pytest.approx(3.0)
    assert burden.cost_usd == pytest.approx(1.5)
    assert burden.share == pytest.approx(3 / 40)


def test_of_a_level_the_share_of_the_calls_counts() -> None:
    measure = Measure("model_latency", 9.0, 5.0, 20.0, NOW, 100.0)
    burden = TRAFFIC.burden(case(Kind.BROWNOUT, Node.make(provider="openai"), ("a",), measure))
    assert burden.runs == pytest.approx(7.5)


def test_of_silence_the_runs_that_did_not_come_count() -> None:
    measure = Measure("run_traffic", 0.0, 12.0, 20.0, NOW, 100.0)
    burden = TRAFFIC.burden(case(Kind.SILENCE, Node.make(agent="a"), ("a",), measure))
    assert burden.runs == pytest.approx(2.0)


def test_a_minute_without_a_run_is_no_silence_for_all() -> None:
    slow = Measure("run_traffic", 0.8, 1.0, 20.0, NOW, 100.0)
    burden = Traffic(POINT.empty_table()).burden(case(Kind.SILENCE, Node.make(agent="a"), ("a",), slow))
    assert burden.part == pytest.approx(0.2)
    assert burden.runs == pytest.approx(1.0)


def test_without_a_measure_nobody_is_known_to_be_concerned() -> None:
    bare = case(Kind.SILENCE, Node.make(agent="a"), ("a",), Measure("run_traffic", 0.0, 1.0, 20.0, NOW, 100.0))
    bare.incident.measures.clear()
    burden = TRAFFIC.burden(bare)
    assert (burden.runs, burden.part) == (0.0, 0.0)


def test_of_a_cost_spike_only_what_is_too_much_is_money() -> None:
    measure = Measure("run_cost", 0.4, 0.1, 20.0, NOW, 100.0)
    burden = TRAFFIC.burden(case(Kind.COST_SPIKE, Node.make(agent="a"), ("a",), measure))
    assert burden.cost_usd == pytest.approx(5.0 * 0.75)


@pytest.mark.parametrize(
    ("kind", "agents", "share", "pages", "severity"),
    [
        (Kind.OUTAGE, 3, 0.2, True, Severity.CRITICAL),
        (Kind.OUTAGE, 1, 0.05, True, Severity.WARNING),
        (Kind.SILENCE, 1, 0.4, True, Severity.CRITICAL),
        (Kind.BROWNOUT, 6, 0.9, True, Severity.WARNING),
        (Kind.OUTAGE, 6, 0.9, False, Severity.TICKET),
    ],
)
def test_severity(kind: Kind, agents: int, share: float, pages: bool, severity: Severity) -> None:
    measure = Measure("model_error", 0.2, 0.1, 20.0, NOW, 100.0)
    given = case(kind, Node(), ("a",), measure).incident
    assert severity_of(given, agents, share, pages) is severity


def test_an_outage_for_most_users_is_critical_where_it_is_few_of_the_runs() -> None:
    def marked(agent: str, n: float, users: range) -> dict[str, object]:
        shapes = {"bucket": list(users), "bucket_count": [int(n) // len(users)] * len(users)}
        return point("run_traffic", agent, n) | shapes

    calls = point("model_error", "chat", 60, provider="openai")
    rows = [marked("chat", 60, range(60)), marked("batch", 900, range(60, 63)), calls]
    points = pa.Table.from_pylist(rows, schema=POINT)
    users, traffic, ledger = Users(), Traffic(points), Ledger()
    users.add(Minute(NOW, points, NO_SIGHTINGS))
    severities = []
    for agent in ("chat", "batch"):
        failing = case(Kind.OUTAGE, Node.make(agent=agent), (agent,), Measure("model_error", 0.9, 0.1, 20.0, NOW, 60.0))
        assess(failing, traffic, users, ledger, NOW)
        severities.append((failing.incident.severity, round(failing.share, 2)))
    assert severities == [(Severity.CRITICAL, 0.76), (Severity.WARNING, 0.0)]
    assert (
        traffic.burden(case(Kind.OUTAGE, Node(), ("chat",), Measure("run_failed", 0.9, 0.1, 20.0, NOW, 60.0))).share
        < 0.1
    )


def test_many_failed_runs_are_critical() -> None:
    given = case(Kind.BROWNOUT, Node(), ("a",), Measure("run_failed", 0.4, 0.1, 20.0, NOW, 100.0)).incident
    assert severity_of(given, 6, 0.6, True) is Severity.CRITICAL


def test_the_graver_of_two() -> None:
    assert graver(Severity.CRITICAL, Severity.TICKET) is Severity.CRITICAL
    assert graver(Severity.TICKET, Severity.WARNING) is Severity.WARNING
