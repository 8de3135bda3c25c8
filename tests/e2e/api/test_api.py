"""What people say reaches the incident; what they may not say is refused, and says why."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pandas as pd
import pytest

from benchmarks.running import until
from dashboard import source
from detectors.incidents import control
from dimwatch import tokens
from dimwatch.client import ApiClient
from dimwatch.errors import InvalidError, PermanentError, RetryableError
from tests.e2e.api.conftest import NAMES, PATIENCE_S, RESPONDER, VIEWER, Site

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
FIRST, SECOND, THIRD, *_ = NAMES


def settled(client: ApiClient, order: dict[str, Any]) -> str:
    found = ""

    def known() -> bool:
        nonlocal found
        found = client.outcome(order["id"])
        return found != "pending"

    until(known, PATIENCE_S, "nobody has looked at the order")
    return found


def test_an_acknowledgement_is_seen_in_seconds_with_who_gave_it(site: Site) -> None:
    ann = site.client(user="ann@example.com")
    assert ann.get(f"incidents/{FIRST}")["status"] == "open"
    started = time.monotonic()
    order = ann.order(f"incidents/{FIRST}/acknowledge", {"note": "on it"})
    assert order["outcome"] == "pending"
    until(lambda: ann.get(f"incidents/{FIRST}")["status"] == "acknowledged", PATIENCE_S, "it is not acknowledged")
    assert time.monotonic() - started < 10.0
    assert settled(ann, order) == "obeyed"
    assert ann.order(f"incidents/{FIRST}/label", {"labels": {"cause": "quota"}})
    later = ann.order(f"incidents/{FIRST}/label", {"labels": {"cause": "region", "ticket": "7"}})
    assert settled(ann, later) == "obeyed"
    shown = ann.get(f"incidents/{FIRST}")
    assert shown["labels"] == {"cause": "region", "ticket": "7"}
    assert {(said["action"], said["by"], said["note"]) for said in shown["orders"]} >= {
        ("acknowledge", "ann@example.com", "on it")
    }


def test_the_same_request_with_a_key_is_one_order(site: Site) -> None:
    client = site.client(RESPONDER)
    first, again = (client.order(f"incidents/{FIRST}/acknowledge", {"note": "k"}, key="1") for _ in range(2))
    other = client.order(f"incidents/{FIRST}/acknowledge", {"note": "k"}, key="2")
    assert first["id"] == again["id"] != other["id"]
    assert settled(client, other) == "obeyed"
    assert len([said for said in client.get(f"incidents/{FIRST}")["orders"] if said["note"] == "k"]) == 2


def test_what_is_over_can_only_be_called_false(site: Site) -> None:
    client = site.client()
    assert settled(client, client.order(f"incidents/{SECOND}/resolve")) == "obeyed"
    until(lambda: client.get(f"incidents/{SECOND}")["status"] == "resolved", PATIENCE_S, "it is not resolved")
    with pytest.raises(InvalidError, match="over"):
        client.order(f"incidents/{SECOND}/acknowledge")
    assert settled(client, client.order(f"incidents/{SECOND}/false")) == "obeyed"
    until(lambda: client.get(f"incidents/{SECOND}")["status"] == "false", PATIENCE_S, "it is not false")


def test_silences_come_and_go(site: Site) -> None:
    client = site.client()
    body = {"scope": {"provider": "openai", "model": "gpt-2"}, "duration_s": 3600, "note": "known"}
    order = client.order("silences", body)
    until(lambda: client.get(f"incidents/{THIRD}")["status"] == "silenced", PATIENCE_S, "it is not silenced")

    def listed() -> list[dict[str, Any]]:
        return [one for one in client.get("silences")["silences"] if one["id"] == order["id"]]

    until(lambda: bool(listed()), PATIENCE_S, "it is not listed")
    (one,) = listed()
    assert (one["scope"], one["note"], one["incident"]) == (body["scope"], "known", "")
    client.order(f"silences/{order['id']}", method="DELETE")
    until(lambda: client.get(f"incidents/{THIRD}")["status"] == "open", PATIENCE_S, "the silence does not end")
    until(
        lambda: order["id"] not in {one["id"] for one in client.get("silences")["silences"]}, PATIENCE_S, "it is listed"
    )
    with pytest.raises(InvalidError, match="no silence"):
        client.order(f"silences/{order['id']}", method="DELETE")


def test_an_incident_has_one_silence_the_newest(site: Site) -> None:
    client = site.client()
    source.configure(site.settings)

    def listed() -> list[list[str]]:
        now = pd.Timestamp.now("UTC")
        pages = source.source().frame("silences", {"until": now, "rows": 1_000}).to_dict("records")
        return [
            [one["id"] for one in rows if one["incident"] == NAMES[3]]
            for rows in (client.get("silences")["silences"], pages)
        ]

    orders = [client.order(f"incidents/{NAMES[3]}/silence", {"duration_s": hours * 3600}) for hours in (2, 1)]
    assert [settled(client, order) for order in orders] == ["obeyed", "obeyed"]
    until(
        lambda: listed() == [[orders[1]["id"]]] * 2,
        PATIENCE_S,
        "the newer one is not what is listed",
    )
    client.order(f"silences/{orders[1]['id']}", method="DELETE")
    until(lambda: listed() == [[], []], PATIENCE_S, "the older one is still listed")


def test_pages_of_incidents_hold_each_once(site: Site) -> None:
    client, seen = site.client(VIEWER), list[str]()
    cursor: str | None = ""
    while cursor is not None:
        page = client.get("incidents", {"limit": 3, "cursor": cursor})
        seen += [one["id"] for one in page["incidents"]]
        cursor = page["next"]
    assert seen == list(NAMES), "the newest first"
    assert client.get("incidents", {"model": "gpt-3"})["incidents"][0]["id"] == NAMES[3]
    assert client.get("incidents", {"kind": "outage"})["incidents"] == []
    assert client.get("incidents", {"opened_since": "2999-01-01T00:00:00Z"})["incidents"] == []


HOSTILE = ("' OR 1=1 --", "{kind:String}", "\\'; DROP TABLE incident_versions; --", "a\tb\nc\\N", "\x00", "%27", "𝔘")


@pytest.mark.parametrize("text", HOSTILE)
def test_filters_are_values_and_nothing_else(site: Site, text: str) -> None:
    assert site.client().get("incidents", {"provider": text})["incidents"] == []


def test_roles_and_tokens(site: Site) -> None:
    viewer, stranger = site.client(VIEWER), site.client("x" * 40)
    assert viewer.get(f"incidents/{FIRST}")["id"] == FIRST
    with pytest.raises(PermanentError, match="responder"):
        viewer.order(f"incidents/{FIRST}/acknowledge")
    with pytest.raises(PermanentError, match="token"):
        stranger.get("incidents")
    assert httpx.get(f"{site.url}/api/v1/incidents").headers["WWW-Authenticate"].startswith("Bearer")
    with pytest.raises(PermanentError, match="service token"):
        site.client(RESPONDER, user="boss@example.com").get("incidents")
    assert tokens.api_token_path(site.settings).stat().st_mode & 0o777 == 0o600


def test_no_get_changes_anything_and_orders_are_json_of_those_who_signed_in(site: Site) -> None:
    consumer = site.eventlog.consumer("test-get", (control.TOPIC,))
    while consumer.poll(max_records=1_000, max_bytes=1 << 20, timeout_s=0.0):
        pass
    headers = {"Authorization": f"Bearer {RESPONDER}"}
    path = f"{site.url}/api/v1/incidents/{FIRST}/acknowledge"
    assert httpx.get(path, headers=headers).status_code == 405
    assert httpx.get(f"{site.url}/api/v1/incidents/{FIRST}", headers=headers).status_code == 200
    # What a form of a foreign page can send: no header of ours, and no JSON.
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    silence = f"{site.url}/api/v1/silences"
    assert httpx.post(silence, content="duration_s=60", headers=form).status_code == 401
    assert httpx.post(silence, content='{"duration_s":60}', headers=form | headers).status_code == 422
    assert consumer.poll(max_records=1, max_bytes=1 << 20, timeout_s=0.0) == []
    consumer.close()


def test_an_api_that_does_not_answer_says_where_it_was_looked_for() -> None:
    client = ApiClient("http://127.0.0.1:1", "x")
    with pytest.raises(RetryableError, match=r"127\.0\.0\.1:1 does not answer"):
        client.get("incidents")
    client.close()
