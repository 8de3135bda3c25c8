"""Traces of five hours with a tool that breaks: `replay` and the live processes find the same incident."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from dimwatch import records
from dimwatch.app.fleet import FleetStage
from dimwatch.app.worker import Worker
from dimwatch.cli.replay import replay
from dimwatch.clock import ManualClock
from dimwatch.eventlog.base import NewRecord
from dimwatch.eventlog.memory import MemoryEventLog
from dimwatch.settings import Settings
from tests.telemetry import SECOND, START_NS, agent, chat, spans_request, tool
from tests.told_outage import DETECTION

MINUTES, RUNS = 330, 4
BROKEN = range(290, 305)
ENVIRONMENT = {
    f"DIMWATCH_DETECTION__{name.upper()}": str(value)
    for name, value in DETECTION.model_dump(exclude_unset=True).items()
}


@cache
def requests() -> list[tuple[int, bytes]]:
    """Requests with the time at which the last of their spans ended."""
    chance = random.Random(5)
    found = []
    for minute in range(MINUTES):
        spans = []
        for run in range(RUNS):
            start, trace = 60.0 * minute + chance.uniform(0, 40), 1 + minute * RUNS + run
            spans += [agent(1, trace=trace, start=start, seconds=6), chat(2, 1, trace=trace, start=start, seconds=2)]
            for call in range(3):
                bad = chance.random() < (0.7 if minute in BROKEN else 0.02)
                spans.append(
                    tool(3 + call, 1, trace=trace, start=start + 2 + call, seconds=0.5, error="boom" if bad else None)
                )
        end_ns = START_NS + int(max(span.start + span.seconds for span in spans) * SECOND)
        found.append((end_ns, spans_request(spans).body))
    return found


def replayed(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Incident lines and the summary; files in any order."""
    order = list(requests())
    random.Random(1).shuffle(order)
    for number, (_, body) in enumerate(order):
        (folder / f"{number}.pb").write_bytes(body)
    result = CliRunner(env=ENVIRONMENT).invoke(replay, [str(folder)])
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    return [line for line in lines if line["type"] == "incident"], lines[-1]


def lived() -> Iterator[dict[str, Any]]:
    """Rows of incidents as the processes write them."""
    settings = Settings(detection=DETECTION)
    log, clock = MemoryEventLog(), ManualClock(START_NS)
    worker, stage = Worker(settings, log, clock), FleetStage(settings, log, clock)
    for number, (time_ns, body) in enumerate(requests(), 1):
        clock.advance_to(time_ns)
        log.append({records.OTLP_SPANS: [NewRecord(body, time_ns)]})
        if number % 15 == 0:
            clock.advance_to(time_ns + 15 * SECOND)
            worker.step(0.0)
            worker.step(0.0)
            stage.step(0.0)
    consumer = log.consumer("test", [records.INCIDENTS])
    while batch := consumer.poll(max_records=1_000, max_bytes=1 << 30, timeout_s=0.0):
        for record in batch:
            yield from records.decode(record.value).to_pylist()


def test_live_and_replay_find_the_same_incident(tmp_path: Path) -> None:
    lines, summary = replayed(tmp_path)
    opened, final = lines
    assert opened["id"] == final["id"]
    assert (opened["kind"], final["status"]) == ("tool_degradation", "resolved")
    assert (final["scope"]["agent"], final["scope"]["tool"]) == ("a", "search")
    assert 0 <= minutes_of(opened["opened_at"]) - BROKEN.start <= 5
    assert summary["incidents"] == {"tool_degradation": 1}
    rows = list(lived())
    assert {row["id"] for row in rows} == {final["id"]}
    for row, line in ((rows[0], opened), (rows[-1], final)):
        for name in ("kind", "severity", "status", "summary"):
            assert row[name] == line[name]
        assert json.loads(row["signals"]) == line["signals"]
        assert f"{row['opened_at']:%Y-%m-%dT%H:%M:%SZ}" == line["opened_at"]


def minutes_of(time: str) -> float:
    """Minutes after the beginning."""
    return (datetime.fromisoformat(time).timestamp() - START_NS / SECOND) / 60
