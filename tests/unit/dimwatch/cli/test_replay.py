"""`dimwatch replay`: a public interface."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from detectors.fleet import Fleet
from dimwatch.cli.replay import replay
from dimwatch.settings import Detection
from tests.telemetry import agent, chat, logs_request, spans_request, tool

FIELDS = {
    "type", "rule", "severity", "confidence", "trace_id", "span_id", "time", "service", "agent", "provider", "model",
    "tool", "summary", "evidence",
}  # fmt: skip


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    folder = tmp_path / "recordings"
    folder.mkdir()
    for number in range(3):
        spans = [
            agent(1, trace=number + 1, start=100 * number, seconds=20),
            tool(2, 1, trace=number + 1, start=100 * number + 1, error="boom"),
            chat(3, 1, trace=number + 1, start=100 * number + 5),
        ]
        # The names are not in order of time.
        (folder / f"{9 - number}.pb").write_bytes(spans_request(spans).body)
    (folder / "talk.logs.pb").write_bytes(logs_request([("gen_ai.user.message", 3, {}, {"content": "hi"})]).body)
    return folder


def run(*arguments: str | Path) -> tuple[Result, list[dict[str, Any]]]:
    result = CliRunner().invoke(replay, [str(argument) for argument in arguments])
    return result, [json.loads(line) for line in result.stdout.splitlines()]


def test_observations_in_order_of_time_and_a_summary(recordings: Path) -> None:
    result, lines = run(recordings)
    assert result.exit_code == 0, result.output
    *found, summary = lines
    assert all(set(line) == FIELDS and line["type"] == "observation" for line in found)
    assert [line["trace_id"][-1] for line in found if line["rule"] == "tool_error"] == ["1", "2", "3"]
    assert [line["time"] for line in found] == sorted(line["time"] for line in found)
    assert found[0]["time"] == "2025-10-09T08:53:22.000000000Z"
    counts = ("requests", "spans", "traces", "incomplete_traces", "unreadable")
    assert summary["type"] == "summary"
    assert [summary[key] for key in counts] == [4, 9, 3, 0, 0]
    assert summary["observations"]["tool_error"] == 3
    assert summary["dropped"] == {}


def test_twice_the_same(recordings: Path) -> None:
    assert run(recordings)[0].stdout == run(recordings)[0].stdout


def test_output_to_a_file(recordings: Path, tmp_path: Path) -> None:
    out = tmp_path / "found.jsonl"
    result, lines = run(recordings, "--out", out)
    assert (result.exit_code, lines) == (0, [])
    assert out.read_text() == run(recordings)[0].stdout


def test_what_is_normal_to_a_file_that_a_fleet_begins_with(recordings: Path, tmp_path: Path) -> None:
    state = tmp_path / "normal.state"
    result, lines = run(recordings, "--state", state)
    assert result.exit_code == 0
    assert lines == run(recordings)[1]
    fleet = Fleet(Detection())
    fleet.begin(state.read_bytes())
    assert fleet.engine.series > 0
    assert run("--since", "1h", "--state", state)[0].exit_code == 2


def test_an_unreadable_file_is_told_and_passed_over(recordings: Path) -> None:
    (recordings / "broken.pb").write_bytes(b"\xff\xff\xff")
    result, lines = run(recordings)
    assert result.exit_code == 3
    assert "broken.pb" in result.stderr
    assert (lines[-1]["unreadable"], lines[-1]["spans"]) == (1, 9)


def test_nothing_to_read_is_a_summary_of_nothing(tmp_path: Path) -> None:
    _, lines = run(tmp_path)
    assert lines[-1]["type"] == "summary"
    assert lines[-1]["spans"] == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "name PATHS of recorded OTLP, or --since"),
        (("captures", "--since", "1h"), "name PATHS of recorded OTLP, or --since"),
        (("captures", "--until", "1h"), "--until goes with --since"),
        (("captures", "--set", "detection.margin"), "is not NAME=VALUE"),
        (("captures", "--set", "detection.margim=1"), "did you mean detection.margin"),
        (("captures", "--set", "detection.margin=much"), "detection.margin"),
        (("--since", "1h", "--set", "assembly.linger_s=1"), "with PATHS all of them"),
        (("--since", "1h", "--set", "detection.lateness_s=1"), "with PATHS all of them"),
        (("--since", "1h", "--set", "store.http_port=1"), "with PATHS all of them"),
        (("--since", "1h"), "no store answers"),
    ],
)
def test_what_does_not_go_together_is_told(
    words: tuple[str, ...], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIMWATCH_STORE__HTTP_PORT", "1")
    result, lines = run(*words, "--data", tmp_path)
    assert result.exit_code in (1, 2)
    assert told in " ".join(result.stderr.split())
    assert lines == []


def test_settings_of_the_run_can_be_changed(recordings: Path) -> None:
    assert run(recordings)[1][-1]["traces"] == 3
    assert run(recordings, "--set", "receiver.max_spans=1")[1][-1]["traces"] == 0
