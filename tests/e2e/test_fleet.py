"""Points of a fleet with an outage through a running Dimwatch: the incident is there by SQL, whatever is killed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.running import Running, until
from detectors.fleet import Fleet
from detectors.windows.minute import MINUTE_NS
from dimwatch import records
from dimwatch.clock import SystemClock
from dimwatch.eventlog.base import NewRecord
from dimwatch.eventlog.sqlite import SqliteEventLog
from tests import told_incidents
from tests.told_outage import DETECTION, MINUTES, Told, told
from tests.webhook_receiver import SECRET, Receiver

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

PATIENCE_S = 180.0

SQL = "SELECT id, kind, provider, model, status, version, summary FROM incidents WHERE kind = 'outage' ORDER BY id"
DELIVERIES = "SELECT incidents[1], target, event, status FROM deliveries WHERE state = 'delivered'"
SKIPPED = "SELECT error FROM deliveries WHERE state = 'skipped'"
ENVIRONMENT = {f"detection__{name}": str(value) for name, value in DETECTION.model_dump(exclude_unset=True).items()}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        receiver.answer = receiver.accept
        yield receiver


@pytest.fixture
def running(tmp_path: Path, receiver: Receiver) -> Iterator[Running]:
    target = {"name": "hook", "type": "webhook", "url": receiver.url, "secrets": SECRET}
    pages = {"notify__targets": json.dumps([target]), "notify__allow_private": "127.0.0.1", "notify__wait_s": "0"}
    running = Running(tmp_path, ENVIRONMENT | pages)
    yield running
    running.__exit__(None, None, None)


def write(running: Running, said: list[Told]) -> None:
    """What a worker would have written until now."""
    log = SqliteEventLog(running.settings().eventlog_path, max_bytes=1 << 30)
    for one in said:
        headers = {records.HEADER_SOURCE: "worker"}
        tables = {records.POINTS: one.points, records.SIGHTINGS: one.sightings}
        log.append({t: [NewRecord(records.encode(of), one.watermark_ns, headers=headers)] for t, of in tables.items()})
    log.close()


def expected(said: list[Told]) -> list[list[Any]]:
    """What the same points give in this process."""
    fleet = Fleet(DETECTION)
    found = {}
    for one in said:
        for incident in fleet.add(one.points, one.sightings, source="w", watermark_ns=one.watermark_ns).incidents:
            row = incident.row()
            found[row["id"]] = [row[n] for n in ("id", "kind", "provider", "model", "status", "version", "summary")]
    return sorted(found.values())


def replayed(running: Running, *words: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "dimwatch", "replay", "--since", "90m", "--data", str(running.data), *words]
    done = subprocess.run(command, env=running.environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def tell_of_an_incident(running: Running) -> None:
    """As the fleet would have written it just now."""
    log = SqliteEventLog(running.settings().eventlog_path, max_bytes=1 << 30)
    now_ns = SystemClock().now_ns()
    log.append({records.INCIDENTS: [told_incidents.record(told_incidents.incident("just now", now_ns), at_ns=now_ns)]})
    log.close()


def test_an_outage_is_an_incident_by_sql_after_kills_and_in_stored_history(
    running: Running, receiver: Receiver
) -> None:
    start_ns = SystemClock().now_ns() // MINUTE_NS * MINUTE_NS - (MINUTES + 1) * MINUTE_NS
    said = list(told(start_ns))
    write(running, said)
    wanted = expected(said)
    assert [row[1:5] for row in wanted] == [["outage", "openai", "m", "resolved"]]

    running.start()
    for role in ("fleet", "store", "fleet"):
        running.kill(role)
        until(lambda role=role: running.answers(role), PATIENCE_S, f"{role} did not come back")  # type: ignore[misc]
    until(lambda: running.answers("store") and running.rows(SQL) == wanted, PATIENCE_S, "the incident is not there")
    runs = sum(row["n"] for one in said for row in one.points.to_pylist() if row["signal"] == "run_traffic")
    counted = "SELECT sum(n) FROM windows WHERE width_s = 60 AND signal = 'run_traffic'"
    until(lambda: running.value(counted) == runs, PATIENCE_S, "not all runs are in `windows`")
    until(lambda: running.metric("dimwatch_watched_streams") > 0, PATIENCE_S, "nothing is watched")

    tell_of_an_incident(running)
    until(
        lambda: running.rows(DELIVERIES) == [["just now", "hook", "trigger", 200]], PATIENCE_S, "nobody was told of it"
    )
    assert [got.json["data"]["incidents"][0]["id"] for got in receiver.accepted.values()] == ["just now"]
    assert {why for (why,) in running.rows(SKIPPED)} <= {"too old", "resolved before anybody was told"}
    delivered = "dimwatch_deliveries_total"
    until(lambda: running.metric(delivered, state="delivered") == 1, PATIENCE_S, "the delivery is not counted")

    *incidents, summary = replayed(running)
    outages = [line for line in incidents if line["kind"] == "outage"]
    assert [line["scope"] for line in outages] == [{"provider": "openai", "model": "m"}] * 2, "opened, and its end"
    assert summary["incidents"]["outage"] == 1
    assert summary["minutes"] > 80
    *incidents, _ = replayed(running, "--set", "detection.margin=1000", "--set", "detection.group_margin=1000")
    assert not [line for line in incidents if line["kind"] == "outage"]

    running.stop()
    running.start()
    until(lambda: running.answers("store"), PATIENCE_S, "the store does not answer")
    assert running.rows(SQL) == wanted
