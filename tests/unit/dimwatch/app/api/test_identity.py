"""Who may be answered, and how often."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from dimwatch import tokens
from dimwatch.app.api.identity import Doorkeeper, Identity, Role
from dimwatch.app.api.pace import Pace
from dimwatch.app.api.problems import Refusal
from dimwatch.clock import NS_PER_SECOND, ManualClock
from dimwatch.errors import PermanentError
from dimwatch.settings import Api, Settings


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "api.internal"])
def test_open_to_a_network_it_needs_a_token(host: str, tmp_path: Path) -> None:
    for token in (None, SecretStr("")):
        with pytest.raises(PermanentError, match=r"api\.responder_token"):
            Doorkeeper(Settings(data=tmp_path, api=Api(host=host, responder_token=token)))
    assert Doorkeeper(Settings(data=tmp_path, api=Api(host=host, responder_token=SecretStr("t"))))


def test_tokens_say_who_and_what(tmp_path: Path) -> None:
    api = Api(viewer_token=SecretStr("v"), responder_token=SecretStr("r"), service_token=SecretStr("s"))
    door = Doorkeeper(Settings(data=tmp_path, api=api))
    assert door.identify("v", None) == Identity("viewer token", Role.VIEWER)
    assert door.identify("r", None) == Identity("responder token", Role.RESPONDER)
    assert door.identify("s", "ann@example.com") == Identity("ann@example.com", Role.RESPONDER)
    for token, user, status in (("x", None, 401), ("", None, 401), (None, None, 401), ("r", "ann@example.com", 403)):
        with pytest.raises(Refusal) as refused:
            door.identify(token, user)
        assert refused.value.status == status
    assert not tokens.api_token_path(Settings(data=tmp_path)).exists(), "nobody needs it"


@pytest.mark.parametrize(("viewer", "responder", "service"), [("a", "a", "b"), ("a", "b", "a"), ("a", "b", "b")])
def test_one_token_is_not_that_of_two_roles(viewer: str, responder: str, service: str, tmp_path: Path) -> None:
    tokens_ = {"viewer_token": viewer, "responder_token": responder, "service_token": service}
    with pytest.raises(PermanentError, match="the same"):
        Doorkeeper(Settings(data=tmp_path, api=Api(**{name: SecretStr(token) for name, token in tokens_.items()})))


def test_a_token_of_its_own_is_made_once_and_is_nobody_elses(tmp_path: Path) -> None:
    path = tmp_path / "new" / "token"
    assert tokens.ensure(path) == tokens.ensure(path)
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("short\n")
    with pytest.raises(PermanentError, match="holds no token"):
        tokens.ensure(path)


def test_a_pace_is_kept_by_each_for_himself() -> None:
    clock = ManualClock(0)
    pace = Pace(6, clock)
    assert [pace.wait_s("ann") for _ in range(7)] == [0, 0, 0, 0, 0, 0, 10]
    assert pace.wait_s("bob") == 0
    clock.advance_to(10 * NS_PER_SECOND)
    assert [pace.wait_s("ann"), pace.wait_s("ann")] == [0, 10]
    for number in range(2_000):
        pace.wait_s(str(number))
    assert len(pace._left) == 1_000
