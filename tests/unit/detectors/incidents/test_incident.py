"""What people and the store get to see of an incident."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from detectors.alerts import Node
from detectors.incidents.incident import Cause, Incident, Kind, Measure, Severity, Status, identity
from detectors.incidents.summary import sentence
from dimwatch.records import INCIDENT, table_from_rows

SECOND = 1_000_000_000
START = 1_800_000_180 * SECOND


def incident(kind: Kind, scope: Node, *measures: Measure) -> Incident:
    return Incident(
        identity("t", kind, scope, START),
        "t",
        kind,
        Severity.WARNING,
        Status.OPEN,
        scope,
        opened_ns=START + 240 * SECOND,
        started_ns=START,
        measures={measure.signal: measure for measure in measures},
        causes=[Cause("provider", "all models of openai, on 4 agents at once", 0.6)],
    )


def measure(signal: str, observed: float, expected: float, evidence: float = 20.0, *, direct: bool = True) -> Measure:
    return Measure(signal, observed, expected, evidence, START, 100.0, direct)


def test_a_row_is_a_row_of_the_table() -> None:
    row = incident(Kind.BROWNOUT, Node.make(provider="openai"), measure("model_speed", 36, 61)).row()
    assert set(row) == set(INCIDENT.names)
    table = table_from_rows(INCIDENT, [row])
    assert table["provider"].to_pylist() == ["openai"]
    assert json.loads(table["signals"][0].as_py())[0]["signal"] == "model_speed"


def test_a_line_says_only_what_the_scope_names() -> None:
    line = incident(Kind.SILENCE, Node.make(tenant="t", agent="coder"), measure("run_traffic", 0, 3)).line()
    assert line["type"] == "incident"
    assert line["scope"] == {"agent": "coder"}
    assert line["opened_at"] == "2027-01-15T08:07:00Z"
    assert line["started_at"] == "2027-01-15T08:03:00Z"
    assert line["resolved_at"] is None
    json.dumps(line)


def test_direct_signals_come_first_then_those_with_more_evidence() -> None:
    given = incident(
        Kind.BROWNOUT,
        Node.make(provider="openai"),
        measure("run_latency", 9, 6, 90.0, direct=False),
        measure("model_first_token", 1.9, 1.0, 16.0),
        measure("model_speed", 36, 61, 30.0),
    )
    assert [signal["signal"] for signal in given.signals()] == ["model_speed", "model_first_token", "run_latency"]


@pytest.mark.parametrize(
    ("given", "agents", "said"),
    [
        (
            incident(
                Kind.BROWNOUT,
                Node.make(provider="openai"),
                measure("model_speed", 36, 61),
                measure("model_first_token", 1.9, 1.0),
            ),
            4,
            "openai: output speed fell from 61 to 36 tokens/s (−41%) since 08:03 UTC on 4 agents; "
            "time to first token 1.9× longer.",
        ),
        (
            incident(Kind.TOOL_DEGRADATION, Node.make(agent="sales", tool="crm"), measure("tool_empty", 0.31, 0.03)),
            1,
            "sales / crm: empty results rose from 3.0% to 31% since 08:03 UTC.",
        ),
        (
            incident(Kind.SILENCE, Node.make(agent="coder"), measure("run_traffic", 0.0, 3.14159)),
            1,
            "coder: no runs (expected 3.14 a minute) since 08:03 UTC.",
        ),
        (
            incident(Kind.COST_SPIKE, Node(), measure("run_cost", 0.3, 0.1)),
            6,
            "whole fleet: cost of a run rose from 0.1 to 0.3 USD (+200%) since 08:03 UTC on 6 agents.",
        ),
    ],
)
def test_the_summary_is_one_sentence_with_numbers(given: Incident, agents: int, said: str) -> None:
    assert sentence(given, agents) == said


@pytest.mark.parametrize(
    ("users", "said"),
    [
        (1.0, "."),
        (1234.0, ", about 1,200 users."),
        (24_999.0, ", about 25,000 users."),
        (25_000.0, ", at least 25,000 users."),
    ],
)
def test_more_users_than_can_be_told_apart_are_at_least_so_many(users: float, said: str) -> None:
    given = replace(incident(Kind.SILENCE, Node(), measure("run_traffic", 0.0, 3.0)), users=users)
    assert sentence(given, 1).endswith(f"since 08:03 UTC{said}")


def test_a_change_of_model_says_what_changed() -> None:
    given = incident(Kind.MODEL_CHANGE, Node.make(provider="openai", model="gpt-a"))
    said = sentence(given, 2, "gpt-a is answered by gpt-a-0806 instead of gpt-a-0513")
    assert said == "openai / gpt-a: gpt-a is answered by gpt-a-0806 instead of gpt-a-0513 since 08:03 UTC on 2 agents."


def test_an_id_is_that_of_the_same_beginning() -> None:
    scope = Node.make(provider="openai")
    first = identity("t", Kind.BROWNOUT, scope, START)
    assert first == identity("t", Kind.BROWNOUT, scope, START + 59 * SECOND)
    others = {
        identity("u", Kind.BROWNOUT, scope, START),
        identity("t", Kind.OUTAGE, scope, START),
        identity("t", Kind.BROWNOUT, Node.make(provider="google"), START),
        identity("t", Kind.BROWNOUT, scope, START + 60 * SECOND),
    }
    assert first not in others
    assert len(others) == 4
