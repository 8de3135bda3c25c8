"""Whose runs an incident has to do with."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from detectors.incidents.incidents import Incidents
from detectors.incidents.silences import Silences
from detectors.incidents.users import Users
from detectors.windows.minute import MINUTE_NS, Minute
from detectors.windows.points import NO_SIGHTINGS, merged
from dimwatch.errors import InvalidError
from dimwatch.records import POINT

START_NS = 1_800_000_000 * 10**9 // (10 * MINUTE_NS) * 10 * MINUTE_NS


def traffic(agent: str, users: range, runs_each: int = 1, silent: int = 0) -> dict[str, object]:
    """Runs of an agent; `silent` ones do not say whose they are. Few enough users to have a mark each."""
    names = dict.fromkeys(("provider", "model", "tool", "release", "region"), "")
    count = len(users) * runs_each + silent
    shapes = {"bucket": list(users), "bucket_count": [runs_each] * len(users)}
    key = {"tenant": "t", "time": 0, "subject": "run", "agent": agent, "signal": "run_traffic"}
    return {**key, **names, "n": count, "total": count, "squares": 0.0, **shapes}


def minute(number: int, *rows: dict[str, object]) -> Minute:
    start_ns = START_NS + number * MINUTE_NS
    points = merged([pa.Table.from_pylist([{**row, "time": start_ns} for row in rows], schema=POINT)])
    return Minute(start_ns, points, NO_SIGHTINGS)


def of(*agents: str) -> frozenset[tuple[str, str]]:
    return frozenset(("t", agent) for agent in agents)


def after(*minutes: Minute) -> Users:
    users = Users()
    for one in minutes:
        users.add(one)
    return users


def test_a_user_who_comes_again_or_to_another_agent_counts_once() -> None:
    a, b = traffic("a", range(60)), traffic("b", range(30, 90))
    users = after(minute(0, a, b), minute(15, a))
    assert users.concerned(of("a", "b"), 1.0, START_NS).users == pytest.approx(90, rel=0.02)
    found = users.concerned(of("a"), 1.0, START_NS)
    assert found.users == pytest.approx(60, rel=0.02)
    assert found.share == pytest.approx(2 / 3, rel=0.02)


def test_one_run_in_ten_concerns_those_who_come_often() -> None:
    users = after(minute(0, traffic("a", range(100), runs_each=1), traffic("b", range(100, 200), runs_each=20)))
    once, often = (users.concerned(of(agent), 0.1, START_NS) for agent in ("a", "b"))
    assert once.users == pytest.approx(10, rel=0.05)
    assert often.users == pytest.approx(100 * (1 - 0.9**20), rel=0.05)
    assert once.share == often.share == pytest.approx(0.05, rel=0.05), "a run in ten is a tenth of a user"


def test_only_the_last_hour_since_the_onset_counts() -> None:
    users = after(minute(0, traffic("a", range(50))), minute(20, traffic("a", range(50, 70))))
    assert users.concerned(of("a"), 1.0, START_NS + 20 * MINUTE_NS).users == pytest.approx(20, rel=0.02)
    users.add(minute(60, traffic("b", range(5))))
    assert users.concerned(of("a"), 1.0, START_NS).users == pytest.approx(20, rel=0.02)
    users.add(minute(80, traffic("b", range(5))))
    assert users.concerned(of("a"), 1.0, START_NS).users == 0
    assert users.state()["agents"] == [["t", "b"]], "an agent that is silent takes no room"


def test_no_share_where_few_runs_say_whose_they_are() -> None:
    told, rest = traffic("a", range(40)), traffic("b", range(0), silent=60)
    found = after(minute(0, told, rest)).concerned(of("a"), 1.0, START_NS)
    assert (round(found.users), found.share) == (40, 0.0)
    few = after(minute(0, traffic("a", range(10)))).concerned(of("a"), 1.0, START_NS)
    assert (round(few.users), few.share) == (10, 0.0)


def test_agents_that_say_nothing_concern_nobody_that_is_known() -> None:
    users = after(minute(0, traffic("a", range(0), silent=9)), minute(1))
    assert users.concerned(of("a", "z"), 1.0, START_NS) == (0.0, 0.0)


def test_a_restart_changes_nothing() -> None:
    users = after(minute(0, traffic("a", range(30)), traffic("b", range(30, 60))))
    again = Users.of(json.loads(json.dumps(users.state())))
    for one in (users, again):
        one.add(minute(10, traffic("b", range(50, 80))))
    assert again.state() == users.state()
    assert again.concerned(of("b"), 0.5, START_NS) == users.concerned(of("b"), 0.5, START_NS)


def test_damaged_marks_make_the_state_unreadable() -> None:
    state = json.loads(Incidents(Silences()).snapshot())
    state["users"]["bits"] = "AAAA"
    with pytest.raises(InvalidError, match="unreadable state of incidents"):
        Incidents(Silences()).restore(json.dumps(state).encode())
