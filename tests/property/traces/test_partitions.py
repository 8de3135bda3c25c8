"""Workers over partitions: however many there are, come, go and die, what comes out is the same."""

from __future__ import annotations

import contextlib
import random
from functools import cache
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from dimwatch import records
from dimwatch.app.fleet import FleetStage
from dimwatch.app.worker import Worker
from dimwatch.clock import NS_PER_SECOND, ManualClock
from dimwatch.errors import PermanentError
from dimwatch.eventlog.base import Consumer, NewRecord
from dimwatch.eventlog.memory import MemoryConsumer, MemoryEventLog
from dimwatch.settings import Settings
from ingest.otlp.admission import Piece
from ingest.otlp.signals import LOGS, TRACES
from ingest.otlp.spread import spread
from tests.property.traces.test_worker import SETTINGS, START, Rows, dropped, exports, rows_of, windows_of
from tests.scenario.test_fleet_of_traces import requests
from tests.told_outage import DETECTION

GARBAGE = b"\x0a\xff"
"""It has no trace, and is tested with one partition."""


class Site:
    """A partitioned eventlog, a clock, workers that come and go, and the fleet stage."""

    def __init__(self, settings: Settings, start_ns: int, partitions: int, workers: int) -> None:
        self.settings = settings
        self.log = MemoryEventLog(partitions=partitions)
        self.clock = ManualClock(start_ns)
        self.workers = [Worker(settings, self.log, self.clock) for _ in range(workers)]
        self.fleet = FleetStage(settings, self.log, self.clock)

    def receive(self, signal: str, body: bytes, time_ns: int) -> None:
        self.clock.advance_to(time_ns)
        of = TRACES if signal == "traces" else LOGS
        pieces = spread([Piece(body, b"")], of, self.log.partitions(of.topic)) if body != GARBAGE else []
        self.log.append(
            {of.topic: [NewRecord(one.body, time_ns, one.key, {records.HEADER_TENANT: ""}) for one in pieces]}
        )

    def step(self, number: int) -> int:
        """One step of a worker; one that was shut out of the group ends, and its supervisor starts it again."""
        try:
            return self.workers[number % len(self.workers)].step(0.0)
        except PermanentError:
            self.workers[number % len(self.workers)] = self.join()
            return 1

    def join(self) -> Worker:
        return Worker(self.settings, self.log, self.clock)

    def shut_out(self, consumer: Consumer) -> None:
        """The group has not heard of a member for too long."""
        assert isinstance(consumer, MemoryConsumer)
        self.log.end_session(consumer)

    def kill(self, number: int) -> None:
        """Killed with -9: nothing is written, and the group notices after a while. Another one is started."""
        dead = self.workers.pop(number % len(self.workers))
        self.shut_out(dead._consumer)
        self.workers.append(self.join())

    def suffer(self, fate: str, number: int) -> None:
        if fate == "step":
            self.step(number)
        elif fate == "fleet":
            self.fleet.step(0.0)
        elif fate == "kill":
            self.kill(number)
        elif fate == "kill fleet":
            self.shut_out(self.fleet._consumer)
            self.fleet = FleetStage(self.settings, self.log, self.clock)
        elif fate == "forget":  # of a worker that hangs for a while; it does not know
            self.shut_out(self.workers[number % len(self.workers)]._consumer)
        elif fate == "join" and len(self.workers) < 4:
            self.workers.append(self.join())
        elif fate == "leave" and len(self.workers) > 1:
            with contextlib.suppress(PermanentError):  # it was shut out before
                self.workers.pop(number % len(self.workers)).close()

    def settle(self) -> None:
        """Until everything is read."""
        while any([self.step(number) for number in range(len(self.workers))] * 2):
            pass

    def end(self, rounds: int = 40, seconds: int = 5) -> None:
        for _ in range(rounds):
            self.clock.advance_to(self.clock.now_ns() + seconds * NS_PER_SECOND)
            self.settle()
            while self.fleet.step(0.0):
                pass
        self.fleet.close()

    def rows(self, topic: str) -> list[dict[str, Any]]:
        """In an order that does not depend on what was written first."""
        consumer = self.log.consumer("test", [topic])
        found: list[dict[str, Any]] = []
        while batch := consumer.poll(max_records=1_000, max_bytes=1 << 30, timeout_s=0.0):
            found += [row for record in batch for row in records.decode(record.value).to_pylist()]
        consumer.close()
        return sorted(found, key=repr)


@cache
def undisturbed(partitions: int) -> Site:
    site = Site(SETTINGS, START, partitions, 1)
    for export in exports():
        site.receive(export.signal, export.body, export.due_ns)
        site.settle()
    site.end()
    return site


@cache
def rows_undisturbed(partitions: int) -> Rows:
    return rows_of(undisturbed(partitions).log)


def test_there_is_something_to_compare() -> None:
    rows = rows_undisturbed(12)
    assert len(rows[records.SPANS]) > 200
    assert len(rows[records.TRACES]) > 30
    assert len({row["rule"] for row in rows[records.OBSERVATIONS].values()}) >= 8
    assert len(undisturbed(12).rows(records.WINDOWS)) > 200


def test_one_partition_or_twelve() -> None:
    assert windows_of(undisturbed(12).log) == windows_of(undisturbed(1).log)
    assert undisturbed(12).rows(records.WINDOWS) == undisturbed(1).rows(records.WINDOWS)
    for topic in (records.SPANS, records.TRACES, records.OBSERVATIONS):
        assert rows_undisturbed(12)[topic] == rows_undisturbed(1)[topic]


FATES = st.tuples(
    st.sampled_from(["step"] * 8 + ["fleet", "fleet", "kill", "kill fleet", "forget", "join", "leave"]),
    st.integers(0, 3),
)


@given(st.integers(1, 4), st.lists(st.lists(FATES, max_size=3), min_size=20, max_size=60))
@settings(max_examples=3, deadline=None, phases=[Phase.generate])
@pytest.mark.timeout(600)
def test_workers_that_come_go_and_die_make_no_difference(workers: int, fates: list[list[tuple[str, int]]]) -> None:
    site, calm = Site(SETTINGS, START, 12, workers), undisturbed(12)
    for turn, export in enumerate(exports()):
        site.receive(export.signal, export.body, export.due_ns)
        for fate, number in fates[turn % len(fates)]:
            site.suffer(fate, number)
    site.end()
    found = rows_of(site.log)
    for topic in (records.SPANS, records.TRACES, records.OBSERVATIONS):
        assert found[topic] == rows_undisturbed(12)[topic]
    assert windows_of(site.log) == windows_of(calm.log)
    for topic in (records.WINDOWS, records.WINDOW_SIGHTINGS, records.CHANGES, records.INCIDENTS):
        assert site.rows(topic) == calm.rows(topic)
    assert dropped(found) == dropped(rows_undisturbed(12))
    assert site.fleet._fleet.windower.counts.late == 0


def incidents(partitions: int, workers: int, seed: int) -> list[dict[str, Any]]:
    site, chance = Site(Settings(detection=DETECTION), requests()[0][0], partitions, workers), random.Random(seed)
    for number, (time_ns, body) in enumerate(requests(), 1):
        site.receive("traces", body, time_ns)
        if number % 8 == 0:  # a partition that is ten minutes behind would be given up
            for fate in chance.choices(("step", "fleet", "kill", "join", "leave"), (8, 2, 1, 1, 1), k=seed and 12):
                site.suffer(fate, chance.randrange(4))
            site.clock.advance_to(time_ns + 15 * NS_PER_SECOND)
            site.settle()
            site.fleet.step(0.0)
    site.end(3)
    return site.rows(records.INCIDENTS)


def test_one_worker_or_four_find_the_same_incidents() -> None:
    alone = incidents(1, 1, 0)
    assert {(row["kind"], row["status"]) for row in alone} >= {("tool_degradation", "open")}
    assert incidents(4, 4, 7) == alone
