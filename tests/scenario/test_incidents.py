"""Faults of a small fleet, from their counts to what a person gets to see."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from detectors.alerts import Alert, Node
from detectors.changes.change import Change
from detectors.incidents import incidents as lifecycle
from detectors.incidents.control import Action, Order
from detectors.incidents.incident import Incident, Kind, Severity, Status
from detectors.incidents.incidents import Incidents
from detectors.incidents.orders import Orders
from detectors.windows.minute import MINUTE_NS
from dimwatch.errors import InvalidError
from tests.synthetic_fleet import START_NS, Fault, SyntheticFleet

BEGIN, END, UNTIL = 30, 78, 105


def watch(
    fleet: SyntheticFleet,
    until: int = UNTIL,
    *,
    incidents: Incidents | None = None,
    also: Callable[[int, Incidents], None] = lambda minute, incidents: None,
) -> list[Incident]:
    """All that is told until a minute, and the final states."""
    incidents = incidents or Incidents()
    told = []
    while fleet.now < until:
        also(fleet.now, incidents)
        minute, alerts = fleet.step()
        told += incidents.step(minute, alerts, fleet, fleet)
    return told + incidents.finish()


def last(told: Sequence[Incident]) -> list[Incident]:
    """Each incident as it was told last, in order of opening."""
    return list({incident.id: incident for incident in told}.values())


def minute_of(ns: int | None) -> float:
    assert ns is not None
    return (ns - START_NS) / MINUTE_NS


def fault(signal: str, factor: float, begin: int = BEGIN, end: int = END, **where: str) -> Fault:
    return Fault(signal, Node.make(**where), begin, end, factor)


BROWNOUT = (
    fault("model_speed", 0.8, provider="openai"),
    fault("model_first_token", 0.8, provider="openai"),
    fault("model_latency", 0.5, provider="openai"),
    fault("run_latency", 0.9, agent="support"),
    fault("run_latency", 0.9, agent="coder"),
)
TOOL = (fault("tool_empty", 10, agent="travel", tool="search"), fault("run_degraded", 6, agent="travel"))


@pytest.mark.parametrize(
    ("faults", "kind", "scope"),
    [
        (BROWNOUT, Kind.BROWNOUT, {"provider": "openai"}),
        (TOOL, Kind.TOOL_DEGRADATION, {"agent": "travel", "tool": "search"}),
        ((fault("tool_empty", 8, tool="search"),), Kind.TOOL_DEGRADATION, {"tool": "search"}),
        (
            (
                fault("model_error", 10, provider="anthropic"),
                fault("model_retried", 10, provider="anthropic"),
                fault("run_rescued", 12, agent="travel"),
                fault("run_rescued", 12, agent="research"),
            ),
            Kind.BROWNOUT,
            {"provider": "anthropic", "model": "claude-x"},
        ),
        (
            (fault("model_error", 100, provider="google"), fault("run_failed", 30, agent="billing")),
            Kind.OUTAGE,
            {"provider": "google", "model": "gemini-x", "agent": "billing"},
        ),
        (
            (fault("model_truncated", 10, model="gpt-a"),),
            Kind.QUALITY_DROP,
            {"provider": "openai", "model": "gpt-a"},
        ),
        ((fault("run_traffic", 0, agent="coder"),), Kind.SILENCE, {"agent": "coder"}),
        (
            (
                fault("model_reasoning_tokens", 1, agent="sales"),
                fault("model_output_tokens", 0.8, agent="sales"),
                fault("model_latency", 0.8, agent="sales"),
                fault("run_cost", 1, agent="sales"),
            ),
            Kind.COST_SPIKE,
            {"provider": "openai", "model": "gpt-a", "agent": "sales"},
        ),
        (
            (
                fault("run_looped", 80, agent="research"),
                fault("run_steps", 0.6, agent="research"),
                fault("run_cost", 0.6, agent="research"),
            ),
            Kind.BEHAVIOUR_SHIFT,
            {"agent": "research"},
        ),
        (
            (fault("tool_invalid", 20, agent="support"), fault("run_invalid_call", 25, agent="support")),
            Kind.BEHAVIOUR_SHIFT,
            {"agent": "support"},
        ),
    ],
    ids=lambda value: value.value if isinstance(value, Kind) else "",
)
def test_a_fault_is_one_incident_of_the_right_kind_and_scope(
    faults: tuple[Fault, ...], kind: Kind, scope: dict[str, str]
) -> None:
    told = watch(SyntheticFleet(faults))
    (incident,) = last(told)
    assert (incident.kind, incident.line()["scope"]) == (kind, scope)
    assert BEGIN < minute_of(incident.opened_ns) <= BEGIN + 35
    assert BEGIN - 15 <= minute_of(incident.started_ns) <= minute_of(incident.opened_ns)
    assert incident.status is Status.RESOLVED
    assert END <= minute_of(incident.resolved_ns) <= END + 20
    assert incident.settled
    assert incident.pages
    assert incident.runs > 0
    assert incident.summary.endswith(".")
    opened = next(one for one in told if one.id == incident.id)
    assert (opened.kind, opened.scope, opened.version) == (kind, incident.scope, 1)


def test_consequences_are_part_of_it() -> None:
    (incident,) = last(watch(SyntheticFleet(BROWNOUT)))
    assert {signal for signal, measure in incident.measures.items() if measure.direct} >= {"model_speed"}
    assert not incident.measures["run_latency"].direct


@pytest.mark.parametrize("seed", range(3))
def test_a_quiet_fleet_has_no_incidents(seed: int) -> None:
    assert watch(SyntheticFleet(seed=seed)) == []


def test_two_faults_at_a_time_are_two_incidents() -> None:
    told = watch(SyntheticFleet((*TOOL, fault("model_truncated", 15, provider="google"))))
    assert {incident.kind for incident in last(told)} == {Kind.TOOL_DEGRADATION, Kind.QUALITY_DROP}


def test_what_comes_back_soon_is_the_same_incident_and_later_another() -> None:
    again = [fault("tool_empty", 10, begin, begin + 25, agent="travel", tool="search") for begin in (30, 75, 160)]
    incidents = last(watch(SyntheticFleet(again), 190))
    assert [round(minute_of(incident.opened_ns), -1) for incident in incidents] == [40, 170]
    assert minute_of(incidents[0].resolved_ns) >= 105


def test_orders_are_obeyed_at_once_and_the_statistics_learn_with_the_next_minute() -> None:
    fleet, orders, told = SyntheticFleet(TOOL), Orders(), []
    incidents = Incidents(orders.silences)
    states: dict[int, Status] = {}
    learned: dict[int, int] = {}
    while fleet.now < 90:
        minute, alerts = fleet.step()
        orders.step(minute.end_ns)
        told += incidents.step(minute, alerts, fleet, fleet)
        now, at_ns = fleet.now, minute.end_ns
        for incident in incidents.cases:
            id_ = incident.incident.id
            said = {
                70: Order(Action.SILENCE, id_, at_ns, until_ns=at_ns + 5 * MINUTE_NS, id="1"),
                80: Order(Action.ACKNOWLEDGE, id_, at_ns, id="2"),
                82: Order(Action.FALSE, id_, at_ns, id="3"),
            }.get(now)
            if said is not None:
                told += orders.obey(said, incidents.cases).changed
        if told:
            states[now], learned[now] = told[-1].status, len(fleet.rebaselined)
    assert [states[minute] for minute in (69, 70, 74, 75, 79, 80, 81, 82, 89)] == [
        Status.OPEN,
        Status.SILENCED,
        Status.SILENCED,
        Status.OPEN,
        Status.OPEN,
        Status.ACKNOWLEDGED,
        Status.ACKNOWLEDGED,
        Status.FALSE,
        Status.FALSE,
    ]
    assert [learned[minute] for minute in (79, 80, 81, 82, 83)] == [0, 0, 1, 1, 2]
    assert {signals for _, signals, _ in fleet.rebaselined} == {("tool_empty",)}
    versions = [incident.version for incident in told]
    assert versions == sorted(set(versions))


def change(agent: str, minute: int, before: str = "gpt-a-05", after: str = "gpt-a-08", **of: str) -> Change:
    """The ledger's entry, which is there three minutes after the change."""
    at_ns = START_NS + minute * MINUTE_NS
    return Change(
        tenant="t",
        agent=agent,
        attribute=of.get("attribute", "answered_model"),
        key=of.get("key", "gpt-a"),
        before=before,
        after=after,
        time_ns=at_ns,
        moved_ns=at_ns,
        status="took_over",
        share_before=1.0,
        share_after=1.0,
        version=at_ns + 3 * MINUTE_NS,
    )


def test_a_change_of_model_is_a_ticket_for_all_its_agents() -> None:
    told = watch(SyntheticFleet(changes=[change("support", 40), change("sales", 42)]))
    (incident,) = last(told)
    assert incident.kind is Kind.MODEL_CHANGE
    assert incident.severity is Severity.TICKET
    assert incident.line()["scope"] == {"provider": "openai", "model": "gpt-a"}
    assert "gpt-a-08 instead of gpt-a-05" in incident.summary
    assert incident.causes[0].type == "change"


def test_a_change_of_model_that_shows_is_a_warning() -> None:
    shift = fault("model_output_tokens", 0.8, 40, 105, model="gpt-a")
    told = watch(SyntheticFleet((shift,), [change("support", 40), change("sales", 40)]))
    (incident,) = last(told)
    assert (incident.kind, incident.severity) == (Kind.MODEL_CHANGE, Severity.WARNING)
    assert "model_output_tokens" in incident.measures


def test_a_change_of_model_that_is_taken_back_is_no_second_incident() -> None:
    back = [change(agent, 80, "gpt-a-08", "gpt-a-05") for agent in ("support", "sales")]
    told = watch(SyntheticFleet(changes=[change("support", 40), change("sales", 40), *back]))
    (incident,) = last(told)
    assert incident.status is Status.RESOLVED
    assert 80 <= minute_of(incident.resolved_ns) <= 85


def test_another_model_that_steps_in_for_one_that_fails_is_no_change_of_model() -> None:
    told = watch(
        SyntheticFleet((fault("model_error", 60, model="gpt-a"),), [change("support", 44), change("sales", 44)])
    )
    (incident,) = last(told)
    assert incident.kind is Kind.OUTAGE


def test_a_change_before_the_onset_is_a_cause() -> None:
    release = change("research", 38, "1.0", "1.1", attribute="release", key="")
    told = watch(SyntheticFleet((fault("run_looped", 30, agent="research"),), [release]))
    (incident,) = last(told)
    assert incident.causes[0].type == "change"
    assert "the release changed from 1.0 to 1.1" in incident.causes[0].what


def test_a_storm_is_one_of_the_whole_fleet() -> None:
    agents = ("support", "sales", "coder", "travel", "research", "billing")
    everything = [
        fault(signal, 20, begin, 100, agent=agent)
        for begin, agent in zip((40, 43, 46, 49, 52, 55), agents, strict=True)
        for signal in ("model_truncated", "tool_error", "run_looped")
    ]
    incidents = last(watch(SyntheticFleet(everything)))
    assert len(incidents) <= 10
    assert Node() in {incident.scope for incident in incidents} or len(incidents) <= 8


def test_what_is_not_settled_is_never_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "MOST_KEPT", 1)
    fleet, incidents, told = SyntheticFleet((*TOOL, fault("model_truncated", 15, provider="google"))), Incidents(), []
    while fleet.now < 120:
        told += incidents.step(*fleet.step(), fleet, fleet)
    assert len(last(told)) == 2
    assert {incident.id for incident in told} == {incident.id for incident in told if incident.settled}


def test_with_too_many_that_are_not_settled_tickets_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "MOST_KEPT", 1)
    changes = [change("support", 60), change("sales", 60)]
    _, ticket = last(watch(SyntheticFleet((fault("model_truncated", 15, provider="google"),), changes), 130))
    assert (ticket.kind, ticket.severity) == (Kind.MODEL_CHANGE, Severity.TICKET)
    assert minute_of(ticket.opened_ns) > END + 30


def test_a_snapshot_goes_on_as_if_nothing_had_happened() -> None:
    def run(cut: int | None) -> list[dict[str, object]]:
        fleet, incidents, told = SyntheticFleet(BROWNOUT), Incidents(), []
        while fleet.now < UNTIL:
            minute, alerts = fleet.step()
            told += incidents.step(minute, alerts, fleet, fleet)
            if fleet.now == cut:
                state = incidents.snapshot()
                incidents = Incidents()
                incidents.restore(state)
                assert incidents.snapshot() == state
        return [incident.row() for incident in told + incidents.finish()]

    whole = run(None)
    assert whole
    assert all(run(cut) == whole for cut in (BEGIN + 2, BEGIN + 20))


def test_a_state_that_is_none_is_refused() -> None:
    for state in (b"", b"{}", b'{"version":0}'):
        with pytest.raises(InvalidError):
            Incidents().restore(state)


def test_the_order_of_alerts_does_not_matter() -> None:
    def run(shuffle: Callable[[list[Alert]], list[Alert]]) -> list[dict[str, object]]:
        fleet, incidents, told = SyntheticFleet((*BROWNOUT, *TOOL)), Incidents(), []
        while fleet.now < UNTIL:
            minute, alerts = fleet.step()
            told += incidents.step(minute, shuffle(alerts), fleet, fleet)
        return [incident.row() for incident in told + incidents.finish()]

    sorted_ = run(lambda alerts: alerts)
    assert sorted_ == run(lambda alerts: alerts[::-1])
    assert sorted_ == run(lambda alerts: sorted(alerts, key=lambda alert: alert.evidence))
