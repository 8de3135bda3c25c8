"""What each kind of target is sent, held against what its maker publishes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
from jsonschema import Draft202012Validator
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from detectors.alerts import Node
from detectors.incidents.incident import Cause, Kind, Measure, Recent, Severity, Status
from detectors.notify.formats import alertmanager, mail, opsgenie, pagerduty, slack, webhook
from detectors.notify.formats.base import Draft
from detectors.notify.page import MOST_SHOWN, Event, Page, Told, page_of
from detectors.notify.texts import Templates, measured, pictured
from dimwatch.clock import NS_PER_SECOND, SystemClock
from dimwatch.errors import PermanentError
from dimwatch.targets import (
    AlertmanagerTarget,
    EmailTarget,
    OpsgenieTarget,
    PagerDutyTarget,
    SlackTarget,
    WebhookTarget,
)
from tests.told_incidents import START_NS, told
from tests.webhook_receiver import OTHER_SECRET, SECRET

SCHEMAS = Path(__file__).parent / "schemas"
HOSTILE = (
    "<!channel> & <https://evil|click> \"'`*_\r\nBcc: x@y.z\u202e{{ 7 * 7 }}</td><script>alert(1)</script>" + "x" * 5000
)
STATUSES = {
    Event.ACKNOWLEDGE: Status.ACKNOWLEDGED,
    Event.SILENCE: Status.SILENCED,
    Event.RESOLVE: Status.RESOLVED,
}


def draft(event: Event = Event.TRIGGER, *incidents: Told, **more: Any) -> Draft:
    given = incidents or (told(status=STATUSES.get(event, Status.OPEN)),)
    page = page_of(event, "i1", "acme", given, START_NS + 60 * NS_PER_SECOND)
    templates = Templates(None, "https://dim.example.com/")
    urls = {incident.id: templates.incident_url(incident) for incident in page.incidents}
    return replace(Draft("msg_1", page, templates.texts(page), SystemClock().now_ns(), urls), **more)


def hostile() -> Draft:
    one = told(
        tenant=HOSTILE,
        severity=Severity.CRITICAL,
        kind=Kind.TOOL_DEGRADATION,
        scope=Node.make(agent=HOSTILE, tool=HOSTILE, release=HOSTILE),
        summary=HOSTILE,
        causes=[Cause("agent", HOSTILE, 0.5)],
    )
    return draft(Event.TRIGGER, one, *(replace(one, id=f"more{n}") for n in range(40)))


def heartbeat() -> Draft:
    page = Page(Event.HEARTBEAT, "heartbeat", "", "ok", "", START_NS, ())
    return Draft("msg_1", page, Templates().texts(page), START_NS)


ALL = [*(draft(event) for event in Event if event is not Event.HEARTBEAT), hostile()]


def validate(name: str, document: Any) -> None:
    schema = orjson.loads((SCHEMAS / f"{name}.json").read_bytes())
    Draft202012Validator.check_schema(schema)
    errors = [error.message for error in Draft202012Validator(schema).iter_errors(document)]
    assert not errors, errors


def test_a_schema_would_notice() -> None:
    with pytest.raises(AssertionError):
        validate("pagerduty_events_v2", {"routing_key": "x" * 32, "event_action": "trigger"})


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.page.event)
def test_pagerduty_by_its_schema(one: Draft) -> None:
    target = PagerDutyTarget(name="pd", type="pagerduty", routing_key="0123456789abcdef" * 2)
    document = orjson.loads(pagerduty.request(target, one).body)
    validate("pagerduty_events_v2", document)
    actions = {"acknowledge": "acknowledge", "silence": "acknowledge", "resolve": "resolve"}
    assert document["event_action"] == actions.get(one.page.event, "trigger")
    assert document["dedup_key"] == "dimwatch/i1"


@pytest.mark.parametrize("one", [*ALL, heartbeat()], ids=lambda one: one.page.event)
def test_slack_by_its_schema(one: Draft) -> None:
    target = SlackTarget(name="s", type="slack", url="https://hooks.slack.com/services/x")
    document = orjson.loads(slack.request(target, one).body)
    validate("slack_blocks", document)
    # A header is plain text, where nothing is special.
    formatted = [block["text"]["text"] for block in document["blocks"] if block["type"] == "section"]
    for text in (*formatted, document["text"]):
        assert "<!channel>" not in text
        assert "<https://evil" not in text


@pytest.mark.parametrize("one", [*ALL, heartbeat()], ids=lambda one: one.page.event)
def test_alertmanager_by_its_schema(one: Draft) -> None:
    target = AlertmanagerTarget(name="am", type="alertmanager", url="http://am:9093", labels={"cluster": "eu"})
    request = alertmanager.request(target, one, 5.0)
    assert request.url == "http://am:9093/api/v2/alerts"
    validate("alertmanager_v2", orjson.loads(request.body))


def test_an_alert_ends_when_it_is_not_sent_again_and_at_once_when_it_is_over() -> None:
    target = AlertmanagerTarget(name="am", type="alertmanager", url="http://am:9093", resend_m=5)
    now_ns = START_NS + 3600 * NS_PER_SECOND
    ended_ns = START_NS + 1800 * NS_PER_SECOND
    (live,) = alertmanager.document(target, draft(now_ns=now_ns))
    over = draft(Event.RESOLVE, told(status=Status.RESOLVED, resolved_ns=ended_ns), now_ns=now_ns)
    (resolved,) = alertmanager.document(target, over)
    (silenced,) = alertmanager.document(target, draft(Event.SILENCE, now_ns=now_ns))
    assert (live["startsAt"], live["endsAt"]) == ("2026-01-01T00:00:00.000Z", "2026-01-01T01:15:00.000Z")
    assert resolved["endsAt"] == "2026-01-01T00:30:00.000Z"
    assert silenced["endsAt"] == "2026-01-01T01:00:00.000Z"
    assert live["labels"] == resolved["labels"] == silenced["labels"], "it is the same alert"


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.page.event)
def test_opsgenie_by_its_schema(one: Draft) -> None:
    target = OpsgenieTarget(name="og", type="opsgenie", api_key="k", team="agents")
    request = opsgenie.request(target, one)
    ends = {"acknowledge": "acknowledge", "silence": "acknowledge", "resolve": "close"}
    end = ends.get(one.page.event)
    validate("opsgenie_end" if end else "opsgenie_create", orjson.loads(request.body))
    path = urlsplit(request.url).path
    assert path == (f"/v2/alerts/dimwatch-i1/{end}" if end else "/v2/alerts")
    assert request.headers["Authorization"] == "GenieKey k"


def hook(secrets: str = SECRET) -> WebhookTarget:
    return WebhookTarget.model_validate(
        {"name": "h", "type": "webhook", "url": "https://r.example.com", "secrets": secrets, "bearer": "t0ken"}
    )


def test_a_webhook_verifies_by_any_of_its_secrets_and_not_when_it_was_changed_or_is_stale() -> None:
    request = webhook.request(hook(f"{OTHER_SECRET} {SECRET}"), draft())
    headers = dict(request.headers)
    for secret in (SECRET, OTHER_SECRET):
        assert Webhook(secret).verify(request.body, headers)["type"] == "incident.trigger"
    for body, changed in (
        (request.body.replace(b"gpt-x", b"gpt-y"), headers),
        (request.body, headers | {"webhook-id": "msg_2"}),
        (request.body, headers | {"webhook-timestamp": str(int(headers["webhook-timestamp"]) + 1)}),
    ):
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRET).verify(body, changed)
    stale = webhook.request(hook(), draft(now_ns=SystemClock().now_ns() - 360 * NS_PER_SECOND))
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(stale.body, dict(stale.headers))
    assert request.headers["Authorization"] == "Bearer t0ken"


def test_every_attempt_has_the_same_id_and_body_and_its_own_signature() -> None:
    first, second = draft(), draft(now_ns=SystemClock().now_ns() + 60 * NS_PER_SECOND)
    one, other = webhook.request(hook(), first), webhook.request(hook(), second)
    assert one.body == other.body
    assert one.headers["webhook-id"] == other.headers["webhook-id"] == "msg_1"
    assert one.headers["webhook-signature"] != other.headers["webhook-signature"]


def test_a_secret_that_is_none_is_refused_without_being_shown() -> None:
    with pytest.raises(PermanentError, match="not base64") as raised:
        webhook.signers(hook("whsec_canary!"))
    assert "canary" not in str(raised.value)


def test_a_webhook_says_what_is_known_and_how_much_is_left_out() -> None:
    document = webhook.document(hostile())
    assert document["data"]["more"] == 41 - MOST_SHOWN
    assert len(document["data"]["incidents"]) == MOST_SHOWN
    (first, *_) = webhook.document(draft())["data"]["incidents"]
    assert first["opened_at"] == "2026-01-01T00:00:00.000Z"
    assert first["signals"][0]["observed"] == 0.31
    assert first["url"] == "https://dim.example.com/incident?id=i1"


def test_mail_is_a_thread_in_text_and_html_and_headers_can_not_be_added() -> None:
    target = EmailTarget(
        name="m", type="email", host="h", sender="d@example.com", to=["a@example.com", "b@example.com"]
    )
    for one in (hostile(), draft(), draft(Event.RESOLVE), heartbeat()):
        read = message_from_bytes(mail.message(target, one).as_bytes(), policy=policy.default)
        assert read["Message-ID"] == "<msg_1@dimwatch>"
        assert read["References"] == f"<{one.page.key}@dimwatch>"
        assert read["To"] == "a@example.com, b@example.com"
        assert read["Bcc"] is None
        assert not read.defects
        text, html = read.get_body(("plain",)), read.get_body(("html",))
        assert text is not None
        assert html is not None
        assert "<script>" not in html.get_content()


def test_a_page_in_words() -> None:
    texts = draft(Event.TRIGGER, told(), told("i2")).texts
    assert texts.title == "[WARNING] brownout: openai / gpt-x and 1 more"
    assert texts.body.splitlines()[:8] == [
        "openai / gpt-x: failing calls rose from 0.4% to 31%.",
        "warning, open, since 2025-12-31 23:57 UTC (4 min)",
        "87 runs concerned, 1.25 USD",
        "  ▁·▁│▅██",
        "  failing calls since 23:54 UTC, a bar is 1 min: █ is 32%, usual is ▁ 0.4%",
        "  failing calls: 0.4% -> 31%",
        "  possible cause: provider openai",
        "  https://dim.example.com/incident?id=i1",
    ]
    assert draft(Event.RESOLVE, told(status=Status.FALSE)).texts.title.startswith("[false alarm]")
    assert draft(Event.RESOLVE).texts.title.startswith("[resolved]")
    assert "{{ 7" in hostile().texts.body, "what is shown is no template"


def test_the_signal_is_drawn_in_all_that_people_read() -> None:
    one = draft()
    (section,) = (block for block in slack.document(one)["blocks"] if block["type"] == "section")
    assert "\n`▁·▁│▅██`\nfailing calls since 23:54 UTC" in section["text"]["text"]
    assert ">▁·▁│▅██</span>" in one.texts.html
    (first, *_) = webhook.document(one)["data"]["incidents"]
    assert first["signals"][0]["recent"] == {
        "start": "2025-12-31T23:54:00Z",
        "step_s": 60,
        "observed": [0.0, None, 0.01, 0.16, 0.3, 0.32],
        "expected": [0.004] * 6,
    }


def drawn(observed: Sequence[float | None], expected: Sequence[float | None], signal: str = "run_traffic") -> str:
    recent = Recent(signal, START_NS, 600, tuple(observed), tuple(expected))
    measures = {signal: Measure(signal, 1.0, 2.0, 9.0, START_NS, 9)}
    picture = pictured(told(measures=measures, recent=recent, started_ns=START_NS - 1))
    return "" if picture is None else f"{picture['bars']} {picture['legend']}"


def test_a_drawing_has_its_scale_in_words_and_is_left_out_where_there_is_nothing_to_draw() -> None:
    scale = "runs since 00:00 UTC, a bar is 10 min: █ is 8 a minute, usual is █ 8 a minute"
    assert drawn([8, 7.5, 1, 0], [8] * 4) == f"██▂▁ {scale}"
    assert "█ is 1,200 tokens" in drawn([900, 1200], [850, None], "run_tokens")
    assert drawn([-1e308, 8], [8] * 2).startswith("▁█ "), "as of an incident that somebody else wrote"
    assert len(drawn([1] * 1000, [1] * 1000).split()[0]) == 60
    for observed, expected in (([], []), ([None], [None]), ([0.0], [0.0]), ([1.0], [None])):
        assert drawn(observed, expected) == ""
    broken: tuple[Any, ...] = (None, 3, {}, {"start": "?", "step_s": 60, "observed": [1], "expected": [1]})
    for recent in broken:
        assert pictured(replace(told(), signals=({"signal": "model_error", "recent": recent},))) is None


def test_signals_of_every_form_and_unknown_ones_are_shown() -> None:
    for name, unit, words in (
        ("model_latency", "s", "duration of a call"),
        ("run_traffic", "a minute", "runs"),
        ("of_a_newer_version", "", "of a newer version"),
    ):
        shown = measured({"signal": name, "expected": 2.0, "observed": 0})
        assert shown is not None
        assert (shown["unit"], shown["words"]) == (unit, words)
    assert measured({"signal": "model_latency", "expected": None}) is None


def test_a_page_about_dimwatch_itself_has_neither_scope_nor_signals() -> None:
    one = told("b11d", tenant="", kind=Kind.BLIND, scope=Node(), measures={}, causes=[], runs=0.0, cost_usd=0.0)
    assert draft(Event.TRIGGER, one).texts.title == "[WARNING] blind: whole fleet"
    for event in (Event.TRIGGER, Event.RESOLVE):
        target = PagerDutyTarget(name="pd", type="pagerduty", routing_key="0123456789abcdef" * 2)
        validate("pagerduty_events_v2", orjson.loads(pagerduty.request(target, draft(event, one)).body))


def test_own_templates_go_first_and_one_that_does_not_work_is_found_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "title.txt.j2").write_text("{{ first.where if first else 'ok' }}: look!")
    templates = Templates(tmp_path)
    assert templates.texts(draft().page).title == "openai / gpt-x: look!"
    (tmp_path / "title.txt.j2").write_text("{{ first.nothing }}")
    with pytest.raises(PermanentError, match="nothing"):
        Templates(tmp_path)
    (tmp_path / "title.txt.j2").write_text("{{ ''.__class__.__mro__[1].__subclasses__() }}")
    with pytest.raises(PermanentError, match="unsafe"):
        Templates(tmp_path)
    with pytest.raises(PermanentError, match="not a folder"):
        Templates(tmp_path / "nowhere")


def test_a_template_that_fails_later_is_replaced_by_the_built_in_one(tmp_path: Path) -> None:
    (tmp_path / "title.txt.j2").write_text("{{ 1 // (0 if tenant == 'acme' else 1) }}")
    assert Templates(tmp_path).texts(draft().page).title.startswith("[WARNING]")
