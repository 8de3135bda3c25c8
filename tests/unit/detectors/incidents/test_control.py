"""Orders about incidents."""

from __future__ import annotations

import pytest

from detectors.alerts import Node
from detectors.incidents.control import Action, Order, read, status_after
from detectors.incidents.incident import Incident, Kind, Severity, Status
from dimwatch.errors import InvalidError

SECOND = 1_000_000_000
NOW = 1_800_000_000 * SECOND


def test_an_order_comes_back_as_it_went() -> None:
    order = Order(Action.SILENCE, "0123", NOW, by="ann", note="known", until_ns=NOW + 3600 * SECOND)
    assert read(order.encode()) == order


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{}",
        b"[1]",
        b'{"action":"explode","incident":"1","at":"2027-01-15T08:00:00Z"}',
        b'{"action":"resolve","incident":"1","at":"yesterday"}',
        b'{"action":"resolve","incident":"1","at":"2027-01-15T08:00:00"}',
        b'{"action":"silence","incident":"1","at":"2027-01-15T08:00:00Z"}',
    ],
)
def test_what_is_no_order_is_refused(value: bytes) -> None:
    with pytest.raises(InvalidError):
        read(value)


@pytest.mark.parametrize(
    ("action", "before", "after"),
    [
        (Action.ACKNOWLEDGE, Status.OPEN, Status.ACKNOWLEDGED),
        (Action.SILENCE, Status.OPEN, Status.SILENCED),
        (Action.RESOLVE, Status.ACKNOWLEDGED, Status.RESOLVED),
        (Action.FALSE, Status.OPEN, Status.FALSE),
        (Action.FALSE, Status.RESOLVED, Status.FALSE),
        (Action.ACKNOWLEDGE, Status.RESOLVED, Status.RESOLVED),
        (Action.RESOLVE, Status.FALSE, Status.FALSE),
    ],
)
def test_what_an_order_makes_of_an_incident(action: Action, before: Status, after: Status) -> None:
    incident = Incident("1", "t", Kind.OUTAGE, Severity.CRITICAL, before, Node(), NOW, NOW)
    assert status_after(incident, Order(action, "1", NOW, until_ns=NOW + SECOND), NOW) is after


def test_a_silence_that_is_over_changes_nothing() -> None:
    incident = Incident("1", "t", Kind.OUTAGE, Severity.CRITICAL, Status.OPEN, Node(), NOW, NOW)
    assert status_after(incident, Order(Action.SILENCE, "1", NOW, until_ns=NOW), NOW) is Status.OPEN
