"""What goes on of an incident when it is over."""

from __future__ import annotations

from detectors.alerts import Alert, Node
from detectors.incidents.belonging import tail
from detectors.incidents.case import Case
from detectors.incidents.grouping import MINUTE
from detectors.incidents.incident import Incident, Kind, Severity, Status

NOW = 1_800_000_000 * 1_000_000_000
BEGAN, ENDED = NOW - 180 * MINUTE, NOW - 60 * MINUTE


def alert(signal: str, since_ns: int, **node: str) -> Alert:
    return Alert(Node.make(**node), signal, 20.0, 15.0, since_ns, 0.3, 0.1, 50.0)


def case() -> Case:
    """A brownout of one provider that two agents use, with slow runs; it is over."""
    incident = Incident(
        "i",
        "",
        Kind.BROWNOUT,
        Severity.WARNING,
        Status.RESOLVED,
        Node.make(provider="p"),
        opened_ns=BEGAN,
        started_ns=BEGAN,
        resolved_ns=ENDED,
    )
    heard = {"model_speed": ENDED, "run_latency": ENDED}
    return Case(incident, frozenset({("", "a"), ("", "b")}), {"model_speed"}, heard=heard)


def test_what_was_heard_of_and_began_before_the_end_is_its_tail() -> None:
    assert tail(case(), alert("run_latency", BEGAN - 50 * MINUTE, agent="a"))
    assert tail(case(), alert("run_latency", BEGAN))
    assert tail(case(), alert("model_speed", BEGAN, provider="p", model="m"))


def test_what_began_after_it_is_elsewhere_or_is_something_else_is_not() -> None:
    assert not tail(case(), alert("run_latency", ENDED + MINUTE, agent="a"))
    assert not tail(case(), alert("run_latency", BEGAN, agent="c"))
    assert not tail(case(), alert("model_speed", BEGAN, provider="other"))
    assert not tail(case(), alert("run_failed", BEGAN, agent="a"))
