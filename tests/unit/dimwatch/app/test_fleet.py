"""The fleet process over a real eventlog: killed between any two steps it writes the same, once."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from prometheus_client import REGISTRY

from detectors.alerts import Node
from detectors.changes.ledger import Ledger
from detectors.fleet import Fleet, FleetOutput
from detectors.incidents import control
from detectors.series.pack import pack, unpack
from detectors.shadow import ShadowAlert
from detectors.windows.minute import MINUTE_NS
from dimwatch import records
from dimwatch.app.fleet import FleetStage
from dimwatch.clock import ManualClock
from dimwatch.errors import InvalidError, PermanentError
from dimwatch.eventlog.base import NewRecord, TopicPartition
from dimwatch.eventlog.memory import MemoryEventLog
from dimwatch.settings import Objective, Settings
from tests.told_outage import DETECTION, OUTAGE, START_NS, Told, told

SETTINGS = Settings(detection=DETECTION)
TOPICS = (records.WINDOWS, records.WINDOW_SIGHTINGS, records.CHANGES, records.INCIDENTS)
DAY_NS = 24 * 60 * MINUTE_NS
Rows = dict[str, list[dict[str, Any]]]


class Site:
    """An eventlog, a clock, and one fleet process after the other."""

    def __init__(self, settings: Settings = SETTINGS, *, partitions: int = 1) -> None:
        self.settings = settings
        self.log = MemoryEventLog(partitions=partitions)
        self.clock = ManualClock(START_NS)
        self.kill()

    def hear(self, what: Told) -> None:
        self.clock.advance_to(what.watermark_ns)
        headers = {records.HEADER_SOURCE: "worker"}
        tables = {records.POINTS: what.points, records.SIGHTINGS: what.sightings}
        self.log.append(
            {t: [NewRecord(records.encode(of), what.watermark_ns, headers=headers)] for t, of in tables.items()}
        )

    def kill(self) -> None:
        self.stage = FleetStage(self.settings, self.log, self.clock)

    def rows(self, *topics: str) -> Rows:
        found: Rows = {topic: [] for topic in topics}
        consumer = self.log.consumer("test", topics)
        while batch := consumer.poll(max_records=1_000, max_bytes=1 << 30, timeout_s=0.0):
            for record in batch:
                found[record.topic] += records.decode(record.value).to_pylist()
        consumer.close()
        return found


@cache
def undisturbed() -> Rows:
    site = Site()
    for what in told():
        site.hear(what)
        site.stage.step(0.0)
    site.stage.close()
    return site.rows(*TOPICS)


def test_kills_make_no_difference() -> None:
    site, chance = Site(), random.Random(3)
    for what in told():
        site.hear(what)
        fate = chance.random()
        if fate < 0.1:
            site.stage.step(0.0)
            site.kill()
        elif fate < 0.15:
            site.kill()
        elif fate < 0.7:
            site.stage.step(0.0)
    while site.stage.step(0.0):
        pass
    site.stage.close()
    assert site.rows(*TOPICS) == undisturbed()


def test_who_stands_by_goes_on_where_the_other_was_and_nothing_counts_twice() -> None:
    site = Site(partitions=2)  # more than one: members share, as on Kafka
    stages = [site.stage, FleetStage(site.settings, site.log, site.clock)]
    for number, what in enumerate(told()):
        site.hear(what)
        if number % 97 == 96:  # not heard of for too long: it goes on, but it is the other's turn
            site.log.end_session(stages[0]._consumer)  # type: ignore[arg-type]
            stages.reverse()
        elif number % 97 == 40:  # the same, with nobody else there
            site.log.end_session(stages[1]._consumer)  # type: ignore[arg-type]
            site.log.end_session(stages[0]._consumer)  # type: ignore[arg-type]
            stages[0].step(0.0)
        stages[0].step(0.0)
        assert stages[1].step(0.0) == 0
    for stage in reversed(stages):
        stage.close()
    assert site.rows(*TOPICS) == undisturbed()


def test_who_never_had_its_turn_writes_no_state() -> None:
    site = Site(partitions=2)
    early = FleetStage(site.settings, site.log, site.clock)
    for what in list(told())[:4]:
        site.hear(what)
        site.stage.step(0.0)
        early.step(0.0)
    site.stage.checkpoint()
    states = site.log.reader([TopicPartition(records.FLEET_CHECKPOINTS)]).poll(
        max_records=1_000, max_bytes=1 << 30, timeout_s=0.0
    )
    early.close()
    FleetStage(site.settings, site.log, site.clock).close()
    again = site.log.reader([TopicPartition(records.FLEET_CHECKPOINTS)])
    assert again.poll(max_records=1_000, max_bytes=1 << 30, timeout_s=0.0) == states


def test_live_is_as_in_process_and_finds_the_outage() -> None:
    fleet = Fleet(DETECTION)
    found = []
    for what in told():
        output = fleet.add(what.points, what.sightings, source="any", watermark_ns=what.watermark_ns)
        found += [incident.row() for incident in output.incidents]
    live = undisturbed()[records.INCIDENTS]
    assert records.table_from_rows(records.INCIDENT, found).to_pylist() == live
    assert {(row["kind"], row["provider"]) for row in live} == {("outage", "openai")}


def test_objectives_come_once_whatever_is_killed() -> None:
    slo = Objective(name="calls", signal="model_error", objective=0.97, window_d=7)
    detection = DETECTION.model_copy(update={"slos": [slo]})
    fleet, found = Fleet(detection), FleetOutput()
    site, chance = Site(Settings(detection=detection)), random.Random(5)
    for what in told():
        output = fleet.add(what.points, what.sightings, source="any", watermark_ns=what.watermark_ns)
        found.incidents += output.incidents
        site.hear(what)
        if chance.random() < 0.02:
            site.kill()
        site.stage.step(0.0)
    site.stage.close()
    rows = site.rows(records.INCIDENTS)
    incidents = [incident.row() for incident in found.incidents]
    assert records.table_from_rows(records.INCIDENT, incidents).to_pylist() == rows[records.INCIDENTS]
    assert "slo_burn" in {row["kind"] for row in rows[records.INCIDENTS]}


def test_what_would_have_paged_is_written() -> None:
    site = Site()
    node = Node.make(agent="shop")
    alert = ShadowAlert("adwin", node, "run_steps", START_NS, START_NS + MINUTE_NS, None, 0.001, 17.0, 16.0)
    site.stage.step(0.0)
    site.stage._keep(FleetOutput(shadow=[alert, replace(alert, ended_ns=START_NS + 9 * MINUTE_NS, final=True)]))
    site.stage.close()
    opened, ended = site.rows(records.SHADOW_ALERTS)[records.SHADOW_ALERTS]
    assert (opened["plugin"], opened["agent"], opened["until"]) == ("adwin", "shop", None)
    assert (ended["id"], ended["until"].value) == (opened["id"], START_NS + 9 * MINUTE_NS)
    assert ended["version"] > opened["version"]


def test_windows_of_every_width_hold_all_points() -> None:
    rows = undisturbed()[records.WINDOWS]
    closed_ns = max(row["time"].value for row in rows if row["width_s"] == 60)
    sums = dict.fromkeys(records.WINDOW_WIDTHS_S, 0.0)
    for row in rows:
        if row["time"].value < closed_ns - closed_ns % (3600 * 10**9):  # the hour that is open is not written yet
            sums[row["width_s"]] += row["n"]
    assert len(set(sums.values())) == 1
    assert sums[60] > 1_000
    keys = [tuple(row[name] for name in ("width_s", "time", "agent", "signal")) for row in rows]
    assert len(keys) == len(set(keys)), "exactly once"


def test_what_can_not_be_read_is_counted_and_passed_over() -> None:
    site = Site()
    first, second, *_ = told()
    site.hear(first)
    site.log.append({records.POINTS: [NewRecord(b"garbage", first.watermark_ns)]})
    site.log.append({control.TOPIC: [NewRecord(b"garbage", first.watermark_ns)]})
    site.hear(second)
    site.stage.step(0.0)
    site.stage.close()
    site.log.append({records.FLEET_CHECKPOINTS: [NewRecord(b"garbage", site.clock.now_ns())]})
    site.kill()
    site.stage.step(0.0)
    site.stage.close()
    dropped = {(row["stage"], row["signal"], row["reason"]): row["count"] for row in site.rows("drops")["drops"]}
    assert dropped == {
        ("fleet", "points", "unreadable"): 1,
        ("fleet", "control", "unreadable"): 1,
        ("fleet", "fleet_checkpoints", "unreadable"): 1,
    }


def test_after_days_of_silence_it_goes_on() -> None:
    site = Site()
    first, *_ = told()
    site.hear(first)
    nothing = first.points.slice(0, 0), first.sightings.slice(0, 0)
    for days in (1, 2, 3):
        site.hear(Told(first.watermark_ns + days * 24 * 60 * MINUTE_NS, *nothing))
        site.stage.step(0.0)
    again, *_ = told(START_NS + 100 * 60 * MINUTE_NS)
    site.hear(again)
    site.hear(Told(again.watermark_ns + 2 * MINUTE_NS, *nothing))
    site.stage.step(0.0)
    site.kill()
    site.hear(Told(again.watermark_ns + 3 * MINUTE_NS, *nothing))
    site.stage.step(0.0)
    site.stage.close()
    runs = [row["n"] for row in site.rows(records.WINDOWS)[records.WINDOWS] if row["signal"] == "run_traffic"]
    assert sum(runs) > 0
    assert len(runs) == 2 * 2 * 3 + 3, "each width of both minutes of three agents, but the hour that is open"


def test_it_begins_with_what_was_learned_from_recorded_traffic_days_before() -> None:
    past = Fleet(DETECTION)
    for what in told(minutes=OUTAGE.start - 5):
        past.add(what.points, what.sightings, source="replay", watermark_ns=what.watermark_ns)
    state = past.snapshot()
    days_later = START_NS + 3 * DAY_NS
    site = Site()
    site.stage = FleetStage(SETTINGS, site.log, site.clock, lambda: state)
    for what in list(told(days_later))[OUTAGE.start - 5 : OUTAGE.stop]:
        site.hear(what)
        site.stage.step(0.0)
    site.stage.close()
    found = site.rows(records.INCIDENTS)[records.INCIDENTS]
    assert {(row["kind"], row["provider"]) for row in found} == {("outage", "openai")}, "and the gap is no silence"
    assert min(row["opened_at"].value for row in found) < days_later + (OUTAGE.start + 5) * MINUTE_NS

    def never() -> bytes:
        raise AssertionError("there is a checkpoint")

    FleetStage(SETTINGS, site.log, site.clock, never)


def test_a_state_that_is_none_is_told() -> None:
    with pytest.raises(PermanentError, match=r"detection\.state.*replay"):
        FleetStage(SETTINGS, MemoryEventLog(), ManualClock(START_NS), lambda: b"garbage")


def test_a_ledger_of_the_version_before_costs_only_the_ledger() -> None:
    fleet = Fleet(DETECTION)
    for what in told(minutes=10):
        fleet.add(what.points, what.sightings, source="replay", watermark_ns=what.watermark_ns)
    before = unpack(fleet.snapshot())
    ledger = before["ledger"].tobytes()
    before["ledger"] = np.frombuffer((2).to_bytes(8, "little") + b"{}", dtype=np.uint8)
    again = Fleet(DETECTION)
    again.restore(pack(before))
    after = unpack(again.snapshot())
    assert after.pop("ledger").tobytes() == Ledger().snapshot() != ledger
    assert {name: part.tobytes() for name, part in after.items()} == {
        name: part.tobytes() for name, part in before.items() if name != "ledger"
    }
    before["engine"] = before["ledger"]
    with pytest.raises(InvalidError):
        Fleet(DETECTION).restore(pack(before))


def test_a_damaged_state_is_told() -> None:
    """Arrow, which reads a part of it, may crash by a single bit."""
    fleet = Fleet(DETECTION)
    for what in told(minutes=10):
        fleet.add(what.points, what.sightings, source="replay", watermark_ns=what.watermark_ns)
    state, chance = fleet.snapshot(), random.Random(7)
    for _ in range(200):
        damaged = bytearray(state)
        damaged[chance.randrange(len(state))] ^= 1 << chance.randrange(8)
        cut = state[: chance.randrange(len(state))]
        for bad in (bytes(damaged), cut):
            with pytest.raises(InvalidError):
                Fleet(DETECTION).begin(bad)


def test_a_clock_that_was_set_back_is_told() -> None:
    site = Site()
    first, *_ = told()
    site.hear(first)
    site.clock = ManualClock(first.watermark_ns - 6 * 3600 * 10**9)
    site.kill()
    site.stage.step(0.0)
    assert REGISTRY.get_sample_value("dimwatch_watermark_lag_seconds") == -6 * 3600


def test_an_order_counts_at_once_and_what_became_of_it_is_a_row() -> None:
    site = Site()
    *_, last = told(minutes=OUTAGE.start + 8)
    for what in told(minutes=OUTAGE.start + 8):
        site.hear(what)
        site.stage.step(0.0)
    site.stage.checkpoint()
    about = site.rows(records.INCIDENTS)[records.INCIDENTS][-1]
    assert (about["kind"], about["status"]) == ("outage", "open")
    order = control.Order(control.Action.ACKNOWLEDGE, about["id"], last.watermark_ns, by="ann", id="1")
    wrong = control.Order(control.Action.RESOLVE, "beef", last.watermark_ns, id="2")
    for said in (order, order, wrong):
        site.log.append({control.TOPIC: [NewRecord(said.encode(), last.watermark_ns)]})
    site.stage.step(0.0)
    site.kill()
    rows = site.rows(records.INCIDENTS, records.ORDERS, records.DROPS)
    assert (rows[records.INCIDENTS][-1]["id"], rows[records.INCIDENTS][-1]["status"]) == (about["id"], "acknowledged")
    assert rows[records.INCIDENTS][-1]["version"] == about["version"] + 1, "once, and no minute was waited for"
    assert [(row["id"], row["by"], row["outcome"]) for row in rows[records.ORDERS]] == [
        ("1", "ann", "obeyed"),
        ("2", "", "unknown_incident"),
    ]
    (drop,) = (row for row in rows[records.DROPS] if row["signal"] == control.TOPIC)
    assert (drop["reason"], drop["count"]) == ("unknown_incident", 1)
