"""What people say of incidents, obeyed at once and each order once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from detectors.alerts import Node
from detectors.incidents.case import Case
from detectors.incidents.control import Action, Order
from detectors.incidents.incident import Incident, Kind, Severity, Status
from detectors.incidents.orders import Answer, Orders, Outcome
from detectors.incidents.silences import MOST

MINUTE = 60_000_000_000
NOW = 30_000_000 * MINUTE
_ids: Iterator[int] = count()


def case(id_: str = "1", **scope: str) -> Case:
    incident = Incident(id_, "t", Kind.OUTAGE, Severity.CRITICAL, Status.OPEN, Node.make(**scope), NOW, NOW)
    made = Case(incident, frozenset(), {"model_error"})
    made.news(NOW)
    return made


def say(orders: Orders, cases: list[Case], action: Action, incident: str = "1", **more: object) -> Answer:
    return orders.obey(Order(action, incident, NOW, id=str(next(_ids)), **more), cases)  # type: ignore[arg-type]


@pytest.fixture
def orders() -> Orders:
    made = Orders()
    made.step(NOW)
    return made


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ([Action.ACKNOWLEDGE], Status.ACKNOWLEDGED),
        ([Action.SILENCE], Status.SILENCED),
        ([Action.ACKNOWLEDGE, Action.RESOLVE], Status.RESOLVED),
        ([Action.FALSE], Status.FALSE),
        ([Action.RESOLVE, Action.FALSE], Status.FALSE),
        ([Action.FALSE, Action.RESOLVE], Status.FALSE),
        ([Action.RESOLVE, Action.ACKNOWLEDGE], Status.RESOLVED),
        ([Action.RESOLVE, Action.SILENCE], Status.RESOLVED),
        ([Action.SILENCE, Action.ACKNOWLEDGE], Status.SILENCED),
        ([Action.LABEL], Status.OPEN),
    ],
)
def test_what_orders_make_of_an_incident(orders: Orders, said: list[Action], status: Status) -> None:
    about = case()
    for action in said:
        say(orders, [about], action, until_ns=NOW + MINUTE if action is Action.SILENCE else None)
    assert about.incident.status is status
    assert about.open == (status not in (Status.RESOLVED, Status.FALSE))


def test_an_order_counts_at_once_and_tells_a_new_version(orders: Orders) -> None:
    about = case()
    answer = say(orders, [about], Action.ACKNOWLEDGE)
    (changed,) = answer.changed
    assert (answer.outcome, answer.tenant) == (Outcome.OBEYED, "t")
    assert (changed.status, changed.version) == (Status.ACKNOWLEDGED, 2)
    assert about.relearn, "the statistics hear of it with the next minute"
    again = say(orders, [about], Action.ACKNOWLEDGE)
    assert (again.outcome, list(again.changed)) == (Outcome.OBEYED, []), "nothing is new about that"


def test_what_is_said_twice_counts_once(orders: Orders) -> None:
    about, order = case(), Order(Action.RESOLVE, "1", NOW, id="same")
    assert orders.obey(order, [about]).outcome is Outcome.OBEYED
    about.reopen()
    restored = Orders()
    restored.restore(orders.snapshot())
    assert restored.obey(order, [about]).outcome is Outcome.REPEATED
    assert about.open


@pytest.mark.parametrize(
    ("action", "more", "outcome"),
    [
        (Action.ACKNOWLEDGE, {"incident": "2"}, Outcome.UNKNOWN_INCIDENT),
        (Action.END_SILENCE, {"incident": "", "silence": "x"}, Outcome.UNKNOWN_SILENCE),
        (Action.SILENCE, {"until_ns": NOW}, Outcome.OVER),
    ],
)
def test_what_can_not_be_obeyed_says_why(
    orders: Orders, action: Action, more: dict[str, str], outcome: Outcome
) -> None:
    answer = say(orders, [case()], action, **more)
    assert (answer.outcome, list(answer.changed)) == (outcome, [])


def test_what_is_over_stays_over(orders: Orders) -> None:
    about = case()
    about.resolve(NOW)
    about.news(NOW)
    answer = say(orders, [about], Action.ACKNOWLEDGE)
    assert (answer.outcome, list(answer.changed)) == (Outcome.OVER, [])


def test_a_silence_ends_by_itself_and_what_was_acknowledged_is_so_still(orders: Orders) -> None:
    about = case()
    say(orders, [about], Action.SILENCE, until_ns=NOW + 5 * MINUTE)
    say(orders, [about], Action.ACKNOWLEDGE)
    states = []
    for minutes in (4, 5):
        orders.step(NOW + minutes * MINUTE)
        about.follow(orders.silences, NOW + minutes * MINUTE)
        states.append(about.incident.status)
    assert states == [Status.SILENCED, Status.ACKNOWLEDGED]


def test_a_silence_of_an_incident_can_be_ended(orders: Orders) -> None:
    about, other = case(), case("2")
    say(orders, [about, other], Action.SILENCE, until_ns=NOW + MINUTE)
    answer = say(orders, [about, other], Action.END_SILENCE, "", silence=about.silence)
    assert [incident.status for incident in answer.changed] == [Status.OPEN]


def test_a_silence_of_a_scope_is_about_what_is_open_and_what_is_to_come(orders: Orders) -> None:
    inside, outside = case("1", provider="openai", agent="shop"), case("2", provider="google")
    order = Order(Action.SILENCE, "", NOW, id="s", until_ns=NOW + 9 * MINUTE, scope={"provider": "openai"})
    answer = orders.obey(order, [inside, outside])
    assert [(incident.id, incident.status) for incident in answer.changed] == [("1", Status.SILENCED)]
    restored = Orders()
    restored.restore(orders.snapshot())
    later, wider = case("3", provider="openai"), case("4")
    for one in (later, wider):
        one.follow(restored.silences, NOW)
    assert later.incident.status is Status.SILENCED
    assert wider.incident.status is Status.OPEN, "it is about more than what was silenced"
    ended = say(restored, [inside, later, wider], Action.END_SILENCE, "", silence="s")
    assert {incident.status for incident in ended.changed} == {Status.OPEN}
    assert {incident.id for incident in ended.changed} >= {"1"}


@pytest.mark.parametrize(
    ("scope", "covered"),
    [
        ({"tenant": "t"}, True),
        ({"tenant": "u"}, False),
        ({"kind": "outage"}, True),
        ({"kind": "brownout"}, False),
        ({"model": "gpt", "provider": "openai"}, True),
        ({"model": "gpt", "tool": "search"}, False),
    ],
)
def test_a_silence_covers_what_has_all_that_it_names(orders: Orders, scope: dict[str, str], covered: bool) -> None:
    about = case(provider="openai", model="gpt")
    say(orders, [about], Action.SILENCE, "", until_ns=NOW + MINUTE, scope=scope)
    assert (about.incident.status is Status.SILENCED) == covered


def test_silences_are_bounded_and_make_room_when_they_end(orders: Orders) -> None:
    def silence() -> Outcome:
        return say(orders, [], Action.SILENCE, "", until_ns=NOW + MINUTE, scope={"tool": "x"}).outcome

    assert {silence() for _ in range(MOST)} == {Outcome.OBEYED}
    assert silence() is Outcome.TOO_MANY_SILENCES
    orders.step(NOW + MINUTE)
    assert say(orders, [], Action.SILENCE, "", until_ns=NOW + 2 * MINUTE, scope={"tool": "x"}).outcome is Outcome.OBEYED
