"""Orders about incidents, as records."""

from __future__ import annotations

import orjson
import pytest

from detectors.incidents.control import Action, Order, read
from dimwatch.errors import InvalidError

SECOND = 1_000_000_000
NOW = 1_800_000_000 * SECOND
AT = "2027-01-15T08:00:00Z"


@pytest.mark.parametrize(
    "order",
    [
        Order(Action.ACKNOWLEDGE, "0123", NOW, by="ann", id="7"),
        Order(Action.SILENCE, "0123", NOW, by="ann", note="known", until_ns=NOW + 3600 * SECOND, id="8"),
        Order(Action.SILENCE, "", NOW, until_ns=NOW + SECOND, id="9", scope={"tool": "search", "kind": "outage"}),
        Order(Action.END_SILENCE, "", NOW, id="10", silence="9"),
        Order(Action.LABEL, "0123", NOW, id="11", labels={"cause": "quota", "ticket": "OPS-1"}),
    ],
)
def test_an_order_comes_back_as_it_went(order: Order) -> None:
    assert read(order.encode()) == order


def test_an_order_without_an_id_gets_that_of_what_it_says() -> None:
    said, later = (Order(Action.RESOLVE, "1", at_ns).encode() for at_ns in (NOW, NOW + SECOND))
    assert read(said).id == read(said).id != read(later).id


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{}",
        b"[1]",
        b"1",
        b'{"action":"explode","incident":"1","at":"2027-01-15T08:00:00Z"}',
        b'{"action":"resolve","incident":"1","at":"yesterday"}',
        b'{"action":"resolve","incident":"1","at":"2027-01-15T08:00:00"}',
        b'{"action":"resolve","incident":"1","at":"0001-01-01T00:00:00+23:00"}',
        b'{"action":"resolve","incident":["1"],"at":"2027-01-15T08:00:00Z"}',
    ],
)
def test_what_is_no_order_is_refused(value: bytes) -> None:
    with pytest.raises(InvalidError):
        read(value)


@pytest.mark.parametrize(
    ("said", "missing"),
    [
        ({"action": "resolve"}, "incident"),
        ({"action": "silence", "incident": "1"}, "until"),
        ({"action": "silence", "until": AT}, "scope"),
        ({"action": "silence", "until": AT, "scope": {"planet": "mars"}}, "scope"),
        ({"action": "end_silence"}, "silence"),
        ({"action": "label", "incident": "1"}, "labels"),
        ({"action": "label", "incident": "1", "labels": {str(n): "v" for n in range(30)}}, "labels"),
    ],
)
def test_an_order_that_does_not_say_enough_says_what_it_needs(said: dict[str, object], missing: str) -> None:
    with pytest.raises(InvalidError, match=f"needs `.*{missing}"):
        read(orjson.dumps({"at": AT, **said}))
