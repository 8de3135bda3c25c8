"""Who is told what and when: routes, groups, quiet hours, escalation, repeats, and what ends a page."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from detectors.alerts import Node
from detectors.incidents.incident import Kind, Severity, Status
from detectors.notify.outbox import FAILURES_IN_A_ROW, LONGEST_WAIT_S, Message, Outcome, Result, wait_ns
from detectors.notify.page import Event
from detectors.notify.pager import KEPT_NS, Pager
from detectors.notify.routing import is_quiet
from dimwatch.clock import NS_PER_SECOND
from dimwatch.errors import InvalidError
from dimwatch.targets import Notify, QuietHours
from tests.told_incidents import MINUTE_NS, START_NS, told

DELIVERED = Result(Outcome.DELIVERED, 200, duration_ns=1)
FAILED = Result(Outcome.FAILED, 503, "busy")


def target(name: str, type_: str = "webhook", **more: Any) -> dict[str, Any]:
    url = {"url": "http://127.0.0.1/"}
    return {"name": name, "type": type_, **url, **more}


def notify(**more: Any) -> Notify:
    return Notify.model_validate({"targets": [target("a"), target("b"), target("boss")], "wait_s": 10} | more)


class World:
    """A pager, and receivers that take everything unless they are told not to."""

    def __init__(self, settings: Notify, now_ns: int = START_NS) -> None:
        self.settings = settings
        self.now_ns = now_ns
        self.pager = Pager(settings, now_ns)
        self.sent: list[tuple[str, str, str]] = []
        """Target, event and key of what was delivered."""
        self.down: set[str] = set()
        self.attempts: Counter[str] = Counter()

    def pass_time(self, seconds: float, step_s: float = 1.0) -> list[tuple[str, str]]:
        """Let time pass; returns target and event of what was delivered meanwhile."""
        before = len(self.sent)
        end_ns = self.now_ns + int(seconds * NS_PER_SECOND)
        while True:
            self.pager.look(self.now_ns)
            while due := self.pager.start(self.now_ns, 100):
                for message in due:
                    self._attempt(message)
            if self.now_ns >= end_ns:
                return [(name, event) for name, event, _ in self.sent[before:]]
            self.now_ns = min(self.now_ns + int(step_s * NS_PER_SECOND), end_ns)

    def hear(self, id_: str = "i1", version: int = 1, **values: Any) -> None:
        opened_ns = values.pop("opened_ns", START_NS)
        self.pager.hear(told(id_, opened_ns, version=version, **values), self.now_ns)

    def restart(self) -> None:
        state = self.pager.snapshot()
        self.pager = Pager(self.settings, self.now_ns + NS_PER_SECOND)
        self.pager.restore(state, self.now_ns)

    def rows(self) -> list[dict[str, Any]]:
        table = self.pager.ledger.take()
        rows: list[dict[str, Any]] = [] if table is None else table.to_pylist()
        return rows

    def _attempt(self, message: Message) -> None:
        self.attempts[message.target] += 1
        if message.target in self.down:
            self.pager.finish(message.key, FAILED, self.now_ns)
        else:
            self.sent.append((message.target, message.event.value, message.key))
            self.pager.finish(message.key, DELIVERED, self.now_ns)


def test_a_page_waits_for_what_belongs_to_it_and_then_goes_to_every_target() -> None:
    world = World(notify())
    world.hear()
    assert world.pass_time(9) == []
    assert sorted(world.pass_time(2)) == [("a", "trigger"), ("b", "trigger"), ("boss", "trigger")]
    assert world.pass_time(3600, 10) == []


@pytest.mark.parametrize(
    ("status", "event"),
    [
        (Status.ACKNOWLEDGED, "acknowledge"),
        (Status.SILENCED, "silence"),
        (Status.RESOLVED, "resolve"),
        (Status.FALSE, "resolve"),
    ],
)
def test_what_people_say_is_told_to_whom_was_told_and_ends_repeats(status: Status, event: str) -> None:
    world = World(notify(routes=[{"name": "r", "targets": ["a"]}], repeat_h=1))
    world.hear()
    assert world.pass_time(11) == [("a", "trigger")]
    assert world.pass_time(3700, 10) == [("a", "repeat")]
    world.hear(version=2, status=status)
    assert world.pass_time(2) == [("a", event)]
    assert world.pass_time(8 * 3600, 60) == []


@pytest.mark.parametrize("status", [Status.ACKNOWLEDGED, Status.SILENCED, Status.RESOLVED, Status.FALSE])
def test_what_was_settled_before_anybody_was_told_is_not_sent(status: Status) -> None:
    world = World(notify())
    world.hear()
    world.pass_time(5)
    world.hear(version=2, status=status)
    assert world.pass_time(3600, 10) == []


def test_a_silence_that_ends_and_an_incident_that_comes_back_wake_people_again() -> None:
    world = World(notify(routes=[{"name": "r", "targets": ["a"]}]))
    world.hear()
    world.pass_time(11)
    for version, status in enumerate((Status.SILENCED, Status.OPEN, Status.RESOLVED, Status.OPEN), 2):
        world.hear(version=version, status=status)
        world.pass_time(2)
    assert [event for _, event, _ in world.sent] == ["trigger", "silence", "trigger", "resolve", "trigger"]
    assert len({key for *_, key in world.sent}) == 5


def test_news_are_told_as_updates_at_most_every_interval_and_mere_growth_is_none() -> None:
    world = World(notify(routes=[{"name": "r", "targets": ["a"]}], interval_m=5))
    world.hear()
    world.pass_time(11)
    world.hear(version=2, runs=1000.0)
    assert world.pass_time(600, 5) == []
    world.hear(version=3, scope=Node.make(provider="openai"))
    assert world.pass_time(2) == [("a", "update")]
    world.hear(version=4, scope=Node.make(provider="openai", model="gpt-y"))
    assert world.pass_time(290, 5) == []
    assert world.pass_time(20) == [("a", "update")]


def test_what_becomes_critical_wakes_people_at_once() -> None:
    world = World(notify(routes=[{"name": "r", "targets": ["a"]}]))
    world.hear()
    world.pass_time(11)
    world.hear(version=2, severity=Severity.CRITICAL)
    assert world.pass_time(2) == [("a", "trigger")]


def test_an_old_version_that_is_read_again_is_no_news() -> None:
    world = World(notify(routes=[{"name": "r", "targets": ["a"]}]))
    world.hear(version=3)
    world.pass_time(11)
    world.hear(version=2, status=Status.RESOLVED)
    assert world.pass_time(60) == []


def test_escalation_by_steps_until_somebody_acknowledges() -> None:
    steps = [{"after_m": 15, "to": ["b"]}, {"after_m": 30, "to": ["boss", "a"]}, {"after_m": 60, "to": ["boss"]}]
    world = World(notify(routes=[{"name": "r", "targets": ["a"], "escalate": steps}]))
    world.hear()
    assert world.pass_time(15 * 60, 5) == [("a", "trigger")]
    assert world.pass_time(60) == [("b", "escalate")]
    assert sorted(world.pass_time(15 * 60, 5)) == [("a", "escalate"), ("boss", "escalate")]
    world.hear(version=2, status=Status.ACKNOWLEDGED)
    assert sorted(world.pass_time(2)) == [("a", "acknowledge"), ("b", "acknowledge"), ("boss", "acknowledge")]
    assert world.pass_time(3 * 3600, 60) == []


def test_escalation_is_taken_up_again_after_a_restart() -> None:
    world = World(notify(routes=[{"name": "r", "targets": ["a"], "escalate": [{"after_m": 15, "to": ["boss"]}]}]))
    world.hear()
    world.pass_time(600, 5)
    world.restart()
    assert world.pass_time(280, 5) == []
    assert world.pass_time(60) == [("boss", "escalate")]
    world.restart()
    assert world.pass_time(3600, 60) == []


def test_routes_by_tenant_kind_severity_and_scope_first_match_or_continue() -> None:
    routes = [
        {"name": "one", "tenants": ["pay-*"], "targets": ["a"], "continue": True},
        {"name": "two", "kinds": ["outage", "brownout"], "scope": {"model": "gpt-*"}, "targets": ["b"]},
        {"name": "three", "severities": ["ticket"], "targets": ["boss"]},
        {"name": "four", "severities": ["critical"], "targets": []},
    ]
    for values, wanted in (
        ({"tenant": "pay-eu"}, ["a", "b"]),
        ({"tenant": "pay-eu", "scope": Node.make(tool="search")}, ["a"]),
        ({"tenant": "other"}, ["b"]),
        ({"tenant": "other", "kind": Kind.SILENCE}, []),
        ({"tenant": "other", "kind": Kind.SILENCE, "severity": Severity.TICKET}, ["boss"]),
        ({"tenant": "pay", "kind": Kind.SILENCE, "severity": Severity.CRITICAL}, []),
    ):
        world = World(notify(routes=routes))
        world.hear(**values)
        assert sorted(name for name, _ in world.pass_time(11)) == wanted, values


def test_incidents_that_share_what_the_route_groups_by_are_one_page_but_tenants_never_are() -> None:
    world = World(notify(routes=[{"name": "r", "targets": ["a"], "group_by": ["kind"]}]))
    for number in range(30):
        world.hear(f"i{number}", tenant="one")
    world.hear("other", tenant="two")
    assert world.pass_time(11) == [("a", "trigger")] * 2
    rows = [row for row in world.rows() if row["state"] == "delivered"]
    assert [(row["tenant"], len(row["incidents"])) for row in rows] == [("one", 20), ("two", 1)]
    for number in range(29):
        world.hear(f"i{number}", tenant="one", version=2, status=Status.RESOLVED)
    assert world.pass_time(310) == [("a", "update")], "some are over"
    world.hear("i29", tenant="one", version=2, status=Status.RESOLVED)
    assert world.pass_time(2) == [("a", "resolve")]


def test_an_incident_that_joins_a_page_that_somebody_has_acknowledged_wakes_people() -> None:
    world = World(notify(routes=[{"name": "r", "targets": ["a"], "group_by": []}]))
    world.hear("i1")
    world.pass_time(11)
    world.hear("i1", version=2, status=Status.ACKNOWLEDGED)
    world.pass_time(2)
    world.hear("i2")
    assert world.pass_time(2) == [("a", "trigger")]


NIGHT = {"start": "22:00", "end": "07:00", "time_zone": "Europe/Zurich"}


@pytest.mark.parametrize(
    ("moment", "quiet"),
    [
        ("2026-01-05T20:59:00", False),  # 21:59 there
        ("2026-01-05T21:00:00", True),
        ("2026-01-06T05:59:00", True),
        ("2026-01-06T06:00:00", False),
        ("2026-07-06T20:00:00", True),  # summer time
        ("2026-07-07T05:00:00", False),
        ("2026-01-10T23:00:00", False),  # the night of a Saturday
        ("2026-01-10T04:00:00", True),  # still that of Friday
    ],
)
def test_quiet_hours_over_midnight_by_zone_and_weekday(moment: str, quiet: bool) -> None:
    hours = QuietHours.model_validate(NIGHT | {"days": ["mon", "tue", "wed", "thu", "fri"]})
    at_ns = int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()) * NS_PER_SECOND
    assert is_quiet([hours], at_ns) is quiet


def test_quiet_hours_hold_back_all_but_what_is_critical_and_what_still_goes_on_comes_after() -> None:
    routes = [
        {"name": "asleep", "scope": {"agent": "a*"}, "targets": ["a"]},
        {"name": "awake", "targets": ["b"], "quiet": False},
    ]
    hours = [{"start": "00:00", "end": "07:00"}]
    world = World(notify(routes=routes, quiet_hours=hours))  # it begins at midnight
    agent = Node.make(agent="agent")
    world.hear("goes on", scope=agent)
    world.hear("over by then", scope=agent)
    world.hear("critical", scope=agent, severity=Severity.CRITICAL)
    world.hear("elsewhere")
    assert sorted(world.pass_time(60)) == [("a", "trigger"), ("b", "trigger")]
    world.hear("critical", version=2, scope=agent, severity=Severity.CRITICAL, status=Status.RESOLVED)
    assert world.pass_time(2) == [("a", "resolve")], "what ends a page is told"
    world.hear("over by then", version=2, scope=agent, status=Status.RESOLVED)
    assert ("a", "trigger") not in world.pass_time(6.9 * 3600, 60)
    assert world.pass_time(600, 10) == [("a", "trigger")]


def test_old_incidents_are_not_sent_at_the_first_start_but_are_after_a_restart() -> None:
    world = World(notify(routes=[{"name": "r", "targets": ["a"]}], max_age_h=1))
    world.hear("old", opened_ns=START_NS - 61 * MINUTE_NS)
    world.hear("older", opened_ns=START_NS - 600 * MINUTE_NS, status=Status.RESOLVED)
    world.hear("young", opened_ns=START_NS - 59 * MINUTE_NS)
    assert world.pass_time(60) == [("a", "trigger")]
    world.hear("old", opened_ns=START_NS - 61 * MINUTE_NS, version=2, severity=Severity.CRITICAL)
    assert world.pass_time(60) == []
    assert world.pager.skipped == {"too_old": 2}
    world.hear("while away", opened_ns=world.now_ns)
    world.restart()
    world.now_ns += 5 * 3600 * NS_PER_SECOND
    assert world.pass_time(20) == [("a", "repeat"), ("a", "trigger")]


def test_a_target_that_is_down_is_tried_ever_less_and_hears_the_newest_when_it_is_back() -> None:
    world = World(notify(routes=[{"name": "r", "targets": ["a", "b"]}]))
    world.down = {"a"}
    for number in range(10):
        world.hear(f"i{number}")
    world.pass_time(11)
    assert len(world.sent) == 10, "the other target has all"
    for number in range(5):
        world.hear(f"i{number}", version=2, status=Status.RESOLVED)
    world.pass_time(3600, 10)
    assert FAILURES_IN_A_ROW <= world.attempts["a"] < 30, "its circuit is open"
    world.down.clear()
    arrived = Counter(event for name, event in world.pass_time(1200, 5) if name == "a")
    assert arrived == {"resolve": 5, "trigger": 5}
    assert world.pager.waiting == 0


def test_a_trigger_that_never_arrived_stays_one_although_there_is_news() -> None:
    world = World(notify(routes=[{"name": "r", "targets": ["a"]}], interval_m=1))
    world.down = {"a"}
    world.hear()
    world.pass_time(30)
    world.hear(version=2, scope=Node.make(provider="openai"))
    world.pass_time(120)
    world.down.clear()
    assert world.pass_time(1200, 5) == [("a", "trigger")]
    states = Counter(row["state"] for row in world.rows() if row["state"] != "sending")
    assert states["superseded"] == 1
    assert states["delivered"] == 1


def test_given_up_after_days_and_told_so() -> None:
    world = World(notify(routes=[{"name": "r", "targets": ["a"]}], give_up_d=0.5, repeat_h=100))
    world.down = {"a"}
    world.hear()
    world.pass_time(13 * 3600, 20)
    assert world.pager.waiting == 0
    assert [row["state"] for row in world.rows()][-1] == "given_up"


def test_waits_double_with_jitter_and_are_bounded() -> None:
    waits = [wait_ns("key", attempt) / NS_PER_SECOND for attempt in range(1, 40)]
    for attempt, wait in enumerate(waits):
        longest = min(2.0 * 2**attempt, LONGEST_WAIT_S)
        assert longest / 2 <= wait <= longest
    assert len({wait_ns(f"key{number}", 1) for number in range(20)}) > 10


def test_a_wish_of_the_target_is_respected() -> None:
    world = World(notify(routes=[{"name": "r", "targets": ["a"]}], wait_s=0))
    world.hear()
    world.pager.look(world.now_ns)
    (message,) = world.pager.start(world.now_ns, 1)
    world.pager.finish(message.key, Result(Outcome.FAILED, 429, retry_after_s=600.0), world.now_ns)
    assert world.pass_time(599, 1) == []
    assert world.pass_time(2) == [("a", "trigger")]


def test_a_target_that_is_gone_gets_no_further_attempt() -> None:
    world = World(notify(routes=[{"name": "r", "targets": ["a"]}], wait_s=0))
    world.hear()
    world.pager.look(world.now_ns)
    (message,) = world.pager.start(world.now_ns, 1)
    assert world.pager.finish(message.key, Result(Outcome.GONE, 410), world.now_ns) == "given_up"


def test_one_message_at_a_time_to_a_target_and_what_is_refused_opens_no_circuit() -> None:
    world = World(notify(routes=[{"name": "r", "targets": ["a"]}], wait_s=0))
    for number in range(8):
        world.hear(f"i{number}")
    world.pager.look(world.now_ns)
    for _ in range(8):
        (message,) = world.pager.start(world.now_ns, 16)
        assert world.pager.start(world.now_ns, 16) == []
        world.pager.finish(message.key, Result(Outcome.REFUSED, 404), world.now_ns)
    assert not world.pager.circuits["a"].broken


def test_alertmanager_hears_again_and_again_whoever_acknowledged_and_at_night() -> None:
    manager = {"name": "am", "type": "alertmanager", "url": "http://127.0.0.1/", "resend_m": 5}
    world = World(notify(targets=[manager], quiet_hours=[{"start": "00:00", "end": "23:00"}]))
    world.hear()
    assert world.pass_time(1) == [("am", "trigger")]
    world.hear(version=2, status=Status.ACKNOWLEDGED)
    assert [event for _, event in world.pass_time(599, 1)] == ["update", "repeat"]
    world.hear(version=3, status=Status.SILENCED)
    assert world.pass_time(601, 5) == [("am", "resolve")]
    world.hear(version=4, status=Status.OPEN)
    assert world.pass_time(1) == [("am", "trigger")]


def test_heartbeats_while_all_is_well_and_none_otherwise() -> None:
    world = World(notify(targets=[target("a"), target("alive")], heartbeat_targets=["alive"], heartbeat_m=5))
    world.hear()
    assert [name for name, event in world.pass_time(601, 5) if event == "heartbeat"] == ["alive"] * 3
    assert ("alive", "trigger") not in {(name, event) for name, event, _ in world.sent}
    for _ in range(600):
        world.now_ns += NS_PER_SECOND
        world.pager.look(world.now_ns, well=False)
        assert world.pager.start(world.now_ns, 16) == []
    assert world.pass_time(1) == [("alive", "heartbeat")]


def test_the_state_goes_on_where_it_was_at_any_moment() -> None:
    """Restarts between any two steps give the same messages, with the same keys."""
    steps = [{"after_m": 2, "to": ["boss"]}]
    settings = notify(routes=[{"name": "r", "targets": ["a", "b"], "escalate": steps, "group_by": ["kind"]}])

    def told_to_all(restarts: bool) -> list[tuple[str, str, str]]:
        world = World(settings)
        world.down = {"b"}
        for second in range(400):
            if second % 50 == 0:
                world.hear(f"i{second}", kind=Kind.OUTAGE if second % 100 else Kind.BROWNOUT)
            if second == 250:
                world.hear("i0", version=2, status=Status.ACKNOWLEDGED)
                world.down.clear()
            if second == 300:
                world.hear("i0", version=3, status=Status.RESOLVED)
            if restarts:
                world.restart()
            world.pass_time(1)
        return world.sent

    assert told_to_all(restarts=True) == told_to_all(restarts=False)


def test_a_restart_with_other_targets_and_routes_ends_what_nobody_can_be_told() -> None:
    world = World(notify(routes=[{"name": "r", "targets": ["a", "b"]}]))
    world.hear()
    world.pass_time(11)
    world.down = {"a", "b"}
    world.hear(version=2, status=Status.RESOLVED)
    world.pass_time(5)
    world.settings = notify(targets=[target("b"), target("c")], routes=[{"name": "new", "targets": ["c"]}])
    world.restart()
    world.down.clear()
    assert world.pass_time(60) == [("b", "resolve")]
    assert "the target is not configured any more" in [row["error"] for row in world.rows()]


def test_what_is_over_is_forgotten_after_a_while() -> None:
    world = World(notify(routes=[{"name": "r", "targets": ["a"]}]))
    world.hear()
    world.pass_time(11)
    world.hear(version=2, status=Status.RESOLVED)
    world.pass_time(5)
    before = len(world.pager.snapshot())
    world.pass_time(KEPT_NS / NS_PER_SECOND + 60, 30)
    assert len(world.pager.snapshot()) < before / 3


def test_a_state_of_another_version_or_damaged_is_refused() -> None:
    pager = Pager(notify(), START_NS)
    for state in (b"", b"{}", b'{"version": 99}', pager.snapshot()[:-5]):
        with pytest.raises(InvalidError):
            pager.restore(state, START_NS)


def test_the_ledger_has_a_row_for_the_beginning_and_the_end_of_every_attempt() -> None:
    world = World(notify(routes=[{"name": "r", "targets": ["a"]}]))
    world.down = {"a"}
    world.hear()
    world.pass_time(12)
    world.down.clear()
    world.pass_time(10)
    rows = world.rows()
    assert {row["idempotency_key"] for row in rows} == {world.sent[0][2]}
    assert [(row["attempt"], row["state"], row["version"]) for row in rows[:2]] == [
        (1, "sending", 1),
        (1, "retrying", 2),
    ]
    assert rows[0]["id"] == rows[1]["id"]
    assert rows[1]["next_attempt_at"] is not None
    assert (rows[-1]["state"], rows[-1]["next_attempt_at"]) == ("delivered", None)
    assert all(row["event"] == Event.TRIGGER for row in rows)
