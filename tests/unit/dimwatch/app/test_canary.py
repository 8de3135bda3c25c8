"""The canary: how long it takes to be read, and what happens when it is not."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from prometheus_client import REGISTRY

from detectors.incidents import control
from detectors.incidents.incident import is_blind
from dimwatch import records
from dimwatch.app.canary import Canary
from dimwatch.app.pipeline import Pipeline
from dimwatch.clock import NS_PER_SECOND, ManualClock
from dimwatch.errors import RetryableError
from dimwatch.eventlog.base import Batch, NewRecord
from dimwatch.eventlog.memory import MemoryEventLog
from dimwatch.settings import Settings
from dimwatch.store.client import Values
from ingest.normalize import Request

START_NS = 1_790_000_000 * NS_PER_SECOND


class Log(MemoryEventLog):
    """It may be full."""

    full = False

    def append(self, batch: Batch) -> None:
        if self.full:
            raise RetryableError("the eventlog is full")
        super().append(batch)


class Site:
    """A canary, a receiver that takes or refuses, and a store whose rows are those of the worker."""

    def __init__(self, data: Path) -> None:
        self.clock = ManualClock(START_NS)
        self.log = Log()
        self.settings = Settings(data=data)
        self.received: list[bytes] = []
        self.readable: list[str] = []
        self.refuses = self.loses = self.away = False
        self.pipeline = Pipeline(self.settings)
        self.canary = self.born()

    def born(self) -> Canary:
        return Canary(self.settings, self.log, self.clock, self.receive, self)

    def receive(self, body: bytes) -> None:
        if self.refuses:
            raise httpx.ConnectError("Connection refused")
        self.received.append(body)
        now_ns = self.clock.now_ns()
        output = self.pipeline.add([Request(body, now_ns)], [], now_ns=now_ns, record=len(self.received))
        assert output.arrived == 1
        assert (output.spans, output.traces, output.points) == ([], [], []), "it is part of nothing else"
        if not self.loses:
            self.readable += output.canaries[0]["trace_id"].to_pylist()

    def rows(self, sql: str, values: Values | None = None) -> list[tuple[str]]:
        if self.away:
            raise RetryableError("the store does not answer")
        return [(trace_id,) for trace_id in self.readable]

    def table(self, sql: str, values: Values | None = None) -> pa.Table:
        """Incidents of an earlier canary that are open: what the query asks for."""
        newest = {row["id"]: row for row in self.incidents()}
        left = [row for row in newest.values() if row["status"] == "open" and row["id"] != (values or {})["id"]]
        return records.table_from_rows(records.INCIDENT, left)

    def go(self, seconds: float) -> None:
        until_ns = self.clock.now_ns() + int(seconds * NS_PER_SECOND)
        while self.clock.now_ns() < until_ns:
            self.clock.advance_to(self.clock.now_ns() + NS_PER_SECOND)
            self.canary.step()

    def incidents(self) -> list[dict[str, Any]]:
        consumer, found = self.log.consumer(f"test-{self.clock.now_ns()}", (records.INCIDENTS,)), []
        while batch := consumer.poll(max_records=100, max_bytes=1 << 20, timeout_s=0.0):
            found += [row for record in batch for row in records.decode(record.value).to_pylist()]
        consumer.close()
        return found

    def say(self, action: control.Action, **more: Any) -> None:
        order = control.Order(action, at_ns=self.clock.now_ns(), id=f"{action}", **more)
        self.log.append({control.TOPIC: [NewRecord(order.encode(), self.clock.now_ns())]})


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_how_long_it_takes_is_told(site: Site) -> None:
    site.go(185)
    assert len(site.received) == 4, "one a minute"
    assert site.canary.seen.took_s == 0
    assert site.incidents() == []
    seen = REGISTRY.get_sample_value("dimwatch_canary_seen_timestamp_seconds")
    assert seen is not None
    assert seen >= START_NS / NS_PER_SECOND + 183


@pytest.mark.parametrize(
    ("fault", "why"), [("refuses", "refuses it: Connection refused"), ("loses", "does not arrive"), ("away", "store")]
)
def test_it_is_blind_when_none_arrives_and_no_more_when_one_does(site: Site, fault: str, why: str) -> None:
    site.go(65)
    setattr(site, fault, True)
    site.go(290)
    assert site.incidents() == []
    site.go(60)
    (opened,) = site.incidents()
    assert (opened["kind"], opened["severity"], opened["status"]) == ("blind", "critical", "open")
    assert is_blind(opened["id"])
    assert why in opened["summary"]
    assert site.canary.seen.blind
    setattr(site, fault, False)
    site.go(65)
    resolved = site.incidents()[-1]
    assert (resolved["id"], resolved["status"], resolved["version"]) == (opened["id"], "resolved", 2)
    assert not site.canary.seen.blind


def test_people_are_obeyed_while_the_fleet_stage_may_be_dead(site: Site) -> None:
    site.loses = True
    site.go(310)
    (opened,) = site.incidents()
    site.say(control.Action.ACKNOWLEDGE, incident=opened["id"], by="ann")
    site.say(control.Action.RESOLVE, incident="0123456789abcdef")
    site.go(1)
    assert [row["status"] for row in site.incidents()] == ["open", "acknowledged"]
    consumer = site.log.consumer("test", (records.ORDERS,))
    (record,) = consumer.poll(max_records=9, max_bytes=1 << 20, timeout_s=0.0)
    (row,) = records.decode(record.value).to_pylist()
    assert (row["by"], row["action"], row["outcome"]) == ("ann", "acknowledge", "obeyed")


def test_what_an_earlier_one_left_open_is_resolved_by_the_first_that_arrives(site: Site) -> None:
    site.loses = True
    site.go(310)
    (opened,) = site.incidents()
    site.canary = site.born()
    site.go(5)
    assert len(site.incidents()) == 1, "it does not know yet"
    site.loses = False
    site.go(65)
    last = site.incidents()[-1]
    assert (last["id"], last["status"], last["version"]) == (opened["id"], "resolved", 2)


def test_what_the_eventlog_does_not_take_is_told_when_it_does(site: Site) -> None:
    def go(seconds: int) -> None:
        for _ in range(seconds):
            with suppress(RetryableError):
                site.go(1)

    site.loses = site.log.full = True
    go(320)
    assert site.incidents() == []
    site.log.full = False
    go(2)
    (opened,) = site.incidents()
    assert opened["status"] == "open"
    site.loses, site.log.full = False, True
    go(65)
    assert not site.canary.seen.blind
    site.log.full = False
    go(2)
    assert [row["status"] for row in site.incidents()] == ["open", "resolved"]
