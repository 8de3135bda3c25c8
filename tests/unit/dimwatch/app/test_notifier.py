"""The notifier over a real eventlog, with real receivers on loopback."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from detectors.incidents.incident import Incident, Severity, Status
from dimwatch import records, telemetry
from dimwatch.app.notifier import NotifierStage
from dimwatch.app.sending.sender import Sender
from dimwatch.clock import NS_PER_SECOND, SystemClock
from dimwatch.eventlog.base import EventLog, NewRecord, TopicPartition
from dimwatch.eventlog.newest import newest
from dimwatch.eventlog.sqlite import SqliteEventLog
from dimwatch.settings import Settings
from dimwatch.targets import Notify
from tests.told_incidents import incident, record
from tests.webhook_receiver import SECRET, Got, Receiver, reply

PATIENCE_S = 60.0


def notify(receiver: Receiver, **more: Any) -> Notify:
    target = {"name": "hook", "type": "webhook", "url": f"{receiver.url}/hook", "secrets": SECRET}
    given = {"targets": [target], "allow_private": ["127.0.0.1"], "wait_s": 0, "timeout_s": 30.0} | more
    return Notify.model_validate(given)


class Site:
    """An eventlog, and the notifier that works on it until it is told otherwise."""

    def __init__(self, folder: Path) -> None:
        self.log: EventLog = SqliteEventLog(folder / "eventlog.sqlite", max_bytes=1 << 30)
        self.clock = SystemClock()
        self.stage: NotifierStage | None = None

    def start(self, settings: Notify) -> NotifierStage:
        self.stage = NotifierStage(
            Settings(data=Path("unused"), notify=settings), self.log, self.clock, Sender(settings)
        )
        return self.stage

    def tell(self, *incidents: Incident) -> None:
        self.log.append({records.INCIDENTS: [record(*incidents, at_ns=self.clock.now_ns())]})

    def new(self, id_: str = "i1", **values: Any) -> Incident:
        return incident(id_, self.clock.now_ns(), **values)

    def work(self, until: Callable[[], bool], what: str) -> None:
        assert self.stage is not None
        deadline = time.monotonic() + PATIENCE_S
        while not until():
            assert time.monotonic() < deadline, what
            self.stage.step(0.02)

    def idle(self, seconds: float) -> None:
        assert self.stage is not None
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.stage.step(0.02)

    def deliveries(self) -> list[dict[str, Any]]:
        """The ledger, as the table shows it: each attempt once, in its last version."""
        found: dict[str, dict[str, Any]] = {}
        reader = self.log.reader([TopicPartition(records.DELIVERIES)])
        while batch := reader.poll(max_records=1000, max_bytes=1 << 26, timeout_s=0.0):
            for row in pa.concat_tables([records.decode(one.value) for one in batch]).to_pylist():
                if row["version"] >= found.get(row["id"], row)["version"]:
                    found[row["id"]] = row
        reader.close()
        return list(found.values())


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    if site.stage is not None:
        site.stage.close(1.0)
    site.log.close()


def test_an_incident_arrives_signed_and_its_end_too(site: Site) -> None:
    with Receiver() as receiver:
        receiver.answer = receiver.accept
        site.start(notify(receiver, dashboard_url="https://dim.example.com"))
        opened = site.new()
        site.tell(opened)
        site.work(lambda: len(receiver.accepted) == 1, "it did not arrive")
        opened.status, opened.resolved_ns, opened.version = Status.RESOLVED, site.clock.now_ns(), 2
        site.tell(opened)
        site.work(lambda: len(receiver.accepted) == 2, "its end did not arrive")
        site.work(lambda: [row["state"] for row in site.deliveries()] == ["delivered"] * 2, "the ledger")
    first, last = (got.json for got in receiver.accepted.values())
    assert (first["type"], last["type"]) == ("incident.trigger", "incident.resolve")
    assert first["data"]["incidents"][0]["url"] == "https://dim.example.com/incident?id=i1"
    assert first["data"]["incidents"][0]["scope"] == {"provider": "openai", "model": "gpt-x"}
    assert receiver.forged == 0
    rows = site.deliveries()
    assert {(row["tenant"], row["target"], row["event"], row["status"]) for row in rows} == {
        ("acme", "hook", "trigger", 200),
        ("acme", "hook", "resolve", 200),
    }
    assert all(row["incidents"] == ["i1"] and row["duration_ns"] > 0 for row in rows)


def test_secrets_are_in_no_record_and_no_log(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    def echo(handler: BaseHTTPRequestHandler, got: Got, number: int) -> None:
        reply(handler, 500, f"{got.path} {got.headers['authorization']}".encode())

    with Receiver(echo) as receiver:
        hook = {"name": "hook", "type": "webhook", "url": f"{receiver.url}/canary-url", "secrets": SECRET}
        site.start(notify(receiver, targets=[hook | {"bearer": "canary-bearer"}]))
        site.tell(site.new())
        site.work(lambda: any(row["status"] == 500 for row in site.deliveries()), "no answer")
    states = newest(site.log, records.NOTIFIER_CHECKPOINTS, 1000, max_bytes=1 << 26)
    kept = f"{[record.value for record in states]} {site.deliveries()} {capfd.readouterr()}"
    assert "openai / gpt-x" in kept
    for secret in ("canary", SECRET.removeprefix("whsec_")):
        assert secret not in kept


def test_a_failing_receiver_gets_it_again_with_the_same_key_and_a_fresh_signature(site: Site) -> None:
    with Receiver() as receiver:

        def answer(handler: BaseHTTPRequestHandler, got: Got, number: int) -> None:
            if number == 0:
                reply(handler, 503, b"busy", Retry_After="1")
            else:
                receiver.accept(handler, got, number)

        receiver.answer = answer
        site.start(notify(receiver))
        site.tell(site.new())
        site.work(lambda: len(receiver.accepted) == 1, "it did not arrive")
    first, second = receiver.requests
    assert first.key == second.key
    assert first.body == second.body
    assert first.headers["webhook-timestamp"] != second.headers["webhook-timestamp"]
    assert second.at - first.at >= 1.0
    site.work(lambda: {row["state"] for row in site.deliveries()} == {"retrying", "delivered"}, "the ledger")
    assert sorted(row["attempt"] for row in site.deliveries()) == [1, 2]


def test_a_stalling_receiver_holds_up_nobody_else(site: Site) -> None:
    released = threading.Event()

    def stall(handler: BaseHTTPRequestHandler, got: Got, number: int) -> None:
        released.wait(60.0)

    with Receiver(stall) as stalls, Receiver() as works:
        targets = [
            {"name": "stalls", "type": "webhook", "url": stalls.url},
            {"name": "works", "type": "webhook", "url": works.url},
        ]
        site.start(notify(works, targets=targets, timeout_s=0.5))
        site.tell(site.new("i1"), site.new("i2"))
        site.work(lambda: len({got.key for got in works.requests}) == 2, "the other one did not get it")
        site.work(lambda: any("within 0.5 s" in row["error"] for row in site.deliveries()), "no time-out")
        released.set()


def test_redirects_are_not_followed(site: Site) -> None:
    with Receiver() as secret:
        with Receiver(lambda handler, got, number: reply(handler, 307, Location=f"{secret.url}/admin")) as receiver:
            site.start(notify(receiver))
            site.tell(site.new())
            site.work(lambda: any(row["status"] == 307 for row in site.deliveries()), "no answer")
        assert not secret.requests
    assert "redirects are not followed" in site.deliveries()[0]["error"]


def test_megabytes_of_an_answer_are_not_read(site: Site) -> None:
    sent = 0

    def answer(handler: BaseHTTPRequestHandler, got: Got, number: int) -> None:
        nonlocal sent
        handler.send_response(500)
        handler.send_header("Content-Length", str(1 << 30))
        handler.end_headers()
        for _ in range(1 << 14):
            handler.wfile.write(b"x" * (1 << 16))
            sent += 1 << 16

    with Receiver(answer) as receiver:
        site.start(notify(receiver))
        site.tell(site.new())
        site.work(lambda: any(row["status"] == 500 for row in site.deliveries()), "no answer")
    assert sent < 64 << 20


def test_a_silenced_and_an_old_incident_are_not_sent_and_it_is_said_why(site: Site) -> None:
    with Receiver() as receiver:
        receiver.answer = receiver.accept
        site.start(notify(receiver))
        long_ago = site.clock.now_ns() - 5 * 3600 * NS_PER_SECOND
        over = site.new("over", status=Status.RESOLVED, resolved_ns=site.clock.now_ns())
        ticket = site.new("ticket", severity=Severity.TICKET)
        site.tell(
            site.new("silenced", status=Status.SILENCED), incident("old", long_ago), over, ticket, site.new("new")
        )
        site.work(lambda: len(receiver.accepted) == 1, "the new one did not arrive")
    skipped = {row["incidents"][0]: row["error"] for row in site.deliveries() if row["state"] == "skipped"}
    assert skipped == {
        "silenced": "silenced before anybody was told",
        "old": "too old",
        "over": "resolved before anybody was told",
        "ticket": "no route",
    }


def test_what_was_on_its_way_when_it_ended_goes_out_again_with_the_same_key(site: Site, tmp_path: Path) -> None:
    reached, release = threading.Event(), threading.Event()

    def stall(handler: BaseHTTPRequestHandler, got: Got, number: int) -> None:
        reached.set()
        release.wait(60.0)

    with Receiver(stall) as receiver:
        settings = notify(receiver, timeout_s=30.0)
        dies = site.start(settings)
        site.tell(site.new())
        site.work(reached.is_set, "no attempt")
        dies._consumer.close()  # as if it were killed: nothing is written down any more
        receiver.answer = receiver.accept
        site.start(settings)
        site.work(lambda: len(receiver.accepted) == 1, "it did not arrive")
        release.set()
        assert {got.key for got in receiver.requests} == set(receiver.accepted)
    rows = sorted(site.deliveries(), key=lambda row: row["attempt"])
    assert rows[0]["error"] == "the notifier ended meanwhile"
    assert [row["attempt"] for row in rows] == [1, 2]


def test_a_state_that_can_not_be_read_is_told_and_not_used(site: Site) -> None:
    site.log.append({records.NOTIFIER_CHECKPOINTS: [NewRecord(b"damaged", site.clock.now_ns())]})
    counted = telemetry.DROPPED.labels("notifier", records.NOTIFIER_CHECKPOINTS, "unreadable")
    before = counted._value.get()
    with Receiver() as receiver:
        receiver.answer = receiver.accept
        site.start(notify(receiver))
        site.tell(site.new())
        site.work(lambda: len(receiver.accepted) == 1, "it did not arrive")
    assert counted._value.get() == before + 1


def test_a_record_that_can_not_be_read_is_passed_over(site: Site) -> None:
    site.log.append({records.INCIDENTS: [NewRecord(b"nonsense", site.clock.now_ns())]})
    with Receiver() as receiver:
        receiver.answer = receiver.accept
        site.start(notify(receiver))
        site.tell(site.new())
        site.work(lambda: len(receiver.accepted) == 1, "it did not arrive")


def test_heartbeats_stop_when_a_stage_is_behind(site: Site) -> None:
    with Receiver() as pages, Receiver() as beats:
        targets = [
            {"name": "hook", "type": "webhook", "url": pages.url},
            {"name": "alive", "type": "webhook", "url": beats.url},
        ]
        given = {"heartbeat_targets": ["alive"], "heartbeat_m": 0.01, "heartbeat_lag_m": 10}
        stage = site.start(notify(pages, targets=targets, **given))
        site.work(lambda: len(beats.requests) >= 2, "no heartbeats")
        assert beats.requests[0].json["type"] == "heartbeat"
        assert beats.requests[0].key != beats.requests[1].key
        now_ns = site.clock.now_ns()
        points = [NewRecord(b"x", now_ns - minutes * 60 * NS_PER_SECOND) for minutes in (60, 0)]
        site.log.append({records.POINTS: points})
        assert stage._wellness is not None
        assert not stage._wellness.well(now_ns + 60 * NS_PER_SECOND)
        assert not pages.requests


def test_no_targets_do_no_harm(site: Site) -> None:
    site.start(Notify())
    site.tell(site.new())
    site.idle(0.2)
    assert [row["error"] for row in site.deliveries()] == ["no route"]
