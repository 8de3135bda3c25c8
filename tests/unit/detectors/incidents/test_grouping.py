"""Alerts that wait for an incident."""

from __future__ import annotations

from detectors.alerts import Alert, Node
from detectors.incidents.grouping import MINUTE, MOST_WAITING, WaitingRoom, follows, matters

NOW = 1_800_000_000 * 1_000_000_000


def alert(agent: str, signal: str = "tool_error", evidence: float = 20.0, observed: float = 0.3) -> Alert:
    return Alert(Node.make(tenant="t", agent=agent), signal, evidence, 15.0, NOW - 5 * MINUTE, observed, 0.1, 50.0)


def test_an_alert_counts_for_some_minutes_after_it_fired() -> None:
    room = WaitingRoom()
    room.hear([alert("a", evidence=16.0)], NOW)
    room.hear([alert("a", evidence=12.0)], NOW + MINUTE)
    (waiting,) = room.sorted()
    assert (waiting.first_ns, waiting.last_ns, waiting.pages) == (NOW, NOW + MINUTE, True)
    room.hear([], NOW + 20 * MINUTE)
    assert room.sorted() == []


def test_those_nearest_to_a_cause_come_first_then_the_strongest() -> None:
    room = WaitingRoom()
    room.hear([alert("a", "run_failed", 90.0), alert("b"), alert("c", evidence=40.0), alert("d", "run_looped")], NOW)
    assert [waiting.alert.node.value("agent") for waiting in room.sorted()] == ["c", "b", "d", "a"]


def test_the_room_is_bounded_and_the_weakest_leave() -> None:
    room = WaitingRoom()
    room.hear([alert(f"a{number}", evidence=float(number)) for number in range(MOST_WAITING + 50)], NOW)
    evidence = [waiting.alert.evidence for waiting in room.sorted()]
    assert len(evidence) == MOST_WAITING
    assert min(evidence) == 50.0


def test_a_room_comes_back_as_it_was() -> None:
    room = WaitingRoom()
    room.hear([alert("a"), alert("b", "run_failed")], NOW)
    assert WaitingRoom.of(room.state()).sorted() == room.sorted()


def test_what_began_before_its_cause_is_no_consequence_of_it() -> None:
    assert follows(NOW + 40 * MINUTE, NOW)
    assert follows(NOW - 10 * MINUTE, NOW)
    assert not follows(NOW - 60 * MINUTE, NOW)
    assert not follows(NOW + 90 * MINUTE, NOW)


def test_small_shifts_of_levels_do_not_matter_and_rates_always_do() -> None:
    assert not matters(alert("a", "tool_latency", observed=0.11))
    assert matters(alert("a", "tool_latency", observed=0.2))
    assert matters(alert("a", "tool_latency", observed=0.06))
    assert matters(alert("a", "tool_error", observed=0.11))
