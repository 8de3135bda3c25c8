"""Who may look at the dashboard, and who may act."""

from __future__ import annotations

import pytest

from dashboard.sign_in import Person, anybody, by_mail
from dimwatch.settings import Dashboard, Settings

HERE = {"Host": "localhost:8501"}


@pytest.mark.parametrize(
    ("host", "headers", "acts"),
    [
        ("127.0.0.1", HERE, True),
        ("127.0.0.1", {"host": "[::1]:8501"}, True),
        ("0.0.0.0", HERE, False),
        ("127.0.0.1", {"Host": "dimwatch.example.com"}, False),
        ("127.0.0.1", HERE | {"X-Forwarded-For": "10.0.0.9"}, False),
        ("127.0.0.1", HERE | {"Forwarded": "for=10.0.0.9"}, False),
        ("127.0.0.1", HERE | {"Origin": "http://localhost:8501"}, True),
        ("127.0.0.1", HERE | {"Origin": "https://dimwatch.example.com"}, False),
        ("127.0.0.1", HERE | {"Origin": "null"}, False),
        ("127.0.0.1", {}, False),
    ],
)
def test_without_sign_in_only_who_sits_at_this_machine_acts(host: str, headers: dict[str, str], acts: bool) -> None:
    found = anybody(host, headers)
    assert found.acts == acts
    assert bool(found.name) == acts


RULES = Dashboard(viewers=["*@example.com"], responders=["Ann@Example.com", "*@sre.example.com"])


@pytest.mark.parametrize(
    ("claims", "person"),
    [
        ({"email": "ann@example.com"}, Person("ann@example.com", acts=True)),
        ({"email": "Bob@Example.com"}, Person("bob@example.com", acts=False)),
        ({"email": "eve@sre.example.com", "email_verified": "true"}, Person("eve@sre.example.com", acts=True)),
        ({"email": "eve@example.com.evil.org"}, None),
        ({"email": "ann@example.com", "email_verified": False}, None),
        ({"email": "ann@example.com", "email_verified": "false"}, None),
        ({"email": "ann@example.com", "email_verified": None}, None),
        ({"email": "a nn@example.com"}, None),
        ({"email": "änn@example.com"}, None),
        ({"name": "ann"}, None),
        ({"email": None}, None),
    ],
)
def test_addresses_that_the_provider_vouches_for_say_what_somebody_may_do(
    claims: dict[str, object], person: Person | None
) -> None:
    assert by_mail({"email_verified": True} | claims, RULES) == person


def test_an_address_of_which_the_provider_does_not_say_that_it_is_verified_is_none() -> None:
    assert by_mail({"email": "ann@example.com"}, RULES) is None


def test_without_a_list_of_viewers_all_that_can_sign_in_may_look_and_nobody_acts() -> None:
    assert by_mail({"email": "x@y.z", "email_verified": True}, Dashboard()) == Person("x@y.z", acts=False)


def test_lists_of_people_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIMWATCH_DASHBOARD__RESPONDERS", "Ann@example.com, *@sre.example.com")
    assert Settings().dashboard.responders == ["ann@example.com", "*@sre.example.com"]
