"""The replay of the dashboard: a child process with progress, bounds, and an end."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta

import pytest

from dashboard.replays import Question, Replays, Run
from dimwatch.app.configuration import as_environment
from dimwatch.clock import NS_PER_SECOND
from dimwatch.settings import Settings
from dimwatch.store.client import StoreClient
from tests.unit.dashboard.fleet_rows import fill_fleet

UNTIL = datetime(2026, 1, 31, 12, tzinfo=UTC)
PATIENCE_S = 60.0


def _over(run: Run) -> Run:
    deadline = time.monotonic() + PATIENCE_S
    while run.going:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return run


def test_question_is_the_command_that_a_person_would_type() -> None:
    question = Question(UNTIL - timedelta(hours=1), UNTIL, (("margin", 0.4),))
    since = ["--since", "2026-01-31T11:00:00Z", "--until", "2026-01-31T12:00:00Z"]
    assert question.arguments == ["replay", *since, "--set", "detection.margin=0.4"]
    with pytest.raises(ValueError, match="no setting"):
        _ = Question(UNTIL, UNTIL, (("margin=1 --out /tmp/x", 1.0),)).arguments


@pytest.mark.e2e
def test_replay_goes_through_minutes_and_one_runs_at_a_time(empty: Settings) -> None:
    client = StoreClient(empty, writer=True)
    fill_fleet(client, int(UNTIL.timestamp()) * NS_PER_SECOND)
    client.close()
    environment = as_environment(empty, os.environ)
    replays = Replays()
    question = Question(UNTIL - timedelta(hours=1), UNTIL, (("margin", 0.4),))
    run = replays.start(question, environment)
    assert run is not None
    assert replays.start(Question(UNTIL - timedelta(hours=2), UNTIL, ()), environment) is None
    _over(run)
    assert run.problem == ""
    assert run.done == run.total > 60
    assert {told["status"] for told in run.incidents} <= {"open", "resolved"}
    assert replays.start(question, environment) is run, "the same question has an answer"


@pytest.mark.e2e
def test_replay_says_why_it_could_not_and_can_be_stopped(empty: Settings) -> None:
    environment = as_environment(empty, os.environ)
    assert "margin" in _over(Run(Question(UNTIL - timedelta(hours=1), UNTIL, (("margin", -1.0),)), environment)).problem
    stopped = Run(Question(UNTIL - timedelta(days=300), UNTIL, ()), environment)
    stopped.cancel()
    assert "stopped" in _over(stopped).problem
