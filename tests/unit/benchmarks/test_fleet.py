"""The benchmark's fleet does what its truth says, and its scoring says what was found."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.fleet.__main__ import main
from benchmarks.fleet.draw import DAY_S, EMPTY, FAILED, INVALID, LENGTH, SWALLOWED, Day, draw
from benchmarks.fleet.faults import KINDS, Fault, Timetable, timetable
from benchmarks.fleet.otlp import EPOCH_NS, Style, write
from benchmarks.fleet.points import minutes
from benchmarks.fleet.score import incidents, score
from benchmarks.fleet.world import AGENTS, MODELS, TOOLS
from dimwatch.app.replay import Replay
from dimwatch.settings import Settings

_HOUR = 3600.0


def _day(fault: Fault, agent: str) -> tuple[Day, Day]:
    number = next(number for number, known in enumerate(AGENTS) if known.name == agent)
    return draw(5, number, 0, DAY_S, Timetable((fault,))), draw(5, number, 0, DAY_S, Timetable())


def _rate(day: Day, kind: str) -> float:
    inside = {
        "tool_empty": lambda: day.tools.state[day.tools.tool == _tool("find_parcel")] == EMPTY,
        "swallowed_errors": lambda: day.tools.state[day.tools.tool == _tool("find_parcel")] == SWALLOWED,
        "provider_errors": lambda: day.models.state[day.models.model == 0] == FAILED,
        "outage": lambda: day.models.state[day.models.model == 0] == FAILED,
        "truncation": lambda: day.models.state[day.models.model == 0] == LENGTH,
        "invalid_calls": lambda: day.tools.state == INVALID,
        "loops": lambda: day.tools.argument == -1,
        "model_change": lambda: day.models.successor[day.models.model == 0],
    }
    return float(inside[kind]().mean())


def _tool(name: str) -> int:
    return next(number for number, tool in enumerate(TOOLS) if tool.name == name)


@pytest.mark.parametrize(
    ("kind", "scope", "least"),
    [
        ("tool_empty", {"tool": "find_parcel"}, 0.25),
        ("swallowed_errors", {"tool": "find_parcel"}, 0.1),
        ("provider_errors", {"provider": "openai"}, 0.06),
        ("outage", {"provider": "openai"}, 0.5),
        ("truncation", {"model": "gpt-5-mini"}, 0.08),
        ("invalid_calls", {"agent": "order_desk"}, 0.05),
        ("loops", {"agent": "order_desk"}, 0.2),
        ("model_change", {"model": "gpt-5-mini"}, 0.9),
    ],
)
def test_a_fault_raises_its_rate(kind: str, scope: dict[str, str], least: float) -> None:
    with_fault, without = _day(Fault(kind, scope, 0.0, DAY_S), "order_desk")
    assert _rate(with_fault, kind) > least > 2 * _rate(without, kind)


def test_a_fault_slows_what_it_should_slow_and_nothing_else() -> None:
    brown, calm = _day(Fault("brownout", {"provider": "openai"}, 0.0, DAY_S), "order_desk")
    for model, ratio in ((0, 1.8), (3, 1.0)):
        firsts = [np.median(day.models.first_token[day.models.model == model]) for day in (brown, calm)]
        assert firsts[0] / firsts[1] == pytest.approx(ratio, rel=0.1)
    slow, calm = _day(Fault("tool_latency", {"tool": "find_parcel"}, 0.0, DAY_S), "order_desk")
    for tool, ratio in (("find_parcel", 2.2), ("lookup_customer", 1.0)):
        medians = [np.median(day.tools.duration[day.tools.tool == _tool(tool)]) for day in (slow, calm)]
        assert medians[0] / medians[1] == pytest.approx(ratio, rel=0.1)


def test_silence_is_silent() -> None:
    silent, _ = _day(Fault("silence", {"agent": "order_desk"}, 6 * _HOUR, 8 * _HOUR), "order_desk")
    assert not ((silent.runs.start >= 6 * _HOUR) & (silent.runs.start < 8 * _HOUR)).any()
    assert (silent.runs.start >= 8 * _HOUR).any()


def test_every_kind_has_its_slot_and_recovers() -> None:
    table = timetable(3, 3.0)
    assert {fault.kind for fault in table.faults} == set(KINDS)
    for one, next_ in zip(table.faults, table.faults[1:], strict=False):
        assert one.end_s + _HOUR < next_.start_s
    with pytest.raises(ValueError, match="need at least"):
        timetable(3, 1.5)


def test_the_requests_replay_whole_and_the_same_each_time(tmp_path: Path) -> None:
    spans = write(tmp_path / "one", 1, 1200.0, Timetable(), Style())
    write(tmp_path / "two", 1, 1200.0, Timetable(), Style())
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert len(names) == len(AGENTS)
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in names)
    *_, summary = Replay(Settings()).run([tmp_path / "one"])
    assert (summary["spans"], summary["unreadable"], summary["incomplete_traces"]) == (spans, 0, 0)


def test_minutes_are_all_there_in_order_and_sum_up() -> None:
    got = list(minutes(1, 2 * _HOUR, Timetable()))
    assert [minute.start_ns for minute in got] == [EPOCH_NS + 60 * 10**9 * number for number in range(120)]
    counted = 0.0
    for minute in got:
        table = minute.points.filter(np.array(minute.points["signal"].to_pylist()) == "run_traffic")
        counted += sum(table["n"].to_pylist())
    ended = sum(
        int((draw(1, number, 0, 2 * _HOUR, Timetable()).runs.end < 2 * _HOUR).sum()) for number in range(len(AGENTS))
    )
    assert counted == ended


def _line(number: int, at_s: float, kind: str = "brownout", **scope: str) -> dict[str, object]:
    opened = datetime.fromtimestamp(EPOCH_NS / 1e9 + at_s, UTC).isoformat().replace("+00:00", "Z")
    return {
        "type": "incident", "id": f"i{number}", "kind": kind, "severity": "warning", "scope": scope,
        "opened_at": opened, "signals": [], "summary": "",
    }  # fmt: skip


def test_scoring_tells_right_from_tight_and_wrong_from_made_up() -> None:
    model = MODELS[0]
    faults = (
        Fault("brownout", {"provider": "openai"}, 0.0, 3600.0),
        Fault("truncation", {"provider": "openai", "model": model.name}, 20_000.0, 23_600.0),
        Fault("tool_empty", {"tool": "get_fares"}, 40_000.0, 43_600.0),
    )
    found = incidents([
        _line(1, 300.0, provider="openai", model=model.name),
        _line(2, 20_300.0, "quality_drop", model=model.name),
        _line(3, 40_060.0, agent="trip_scout"),
        _line(4, 70_000.0, agent="trip_scout"),
    ])  # fmt: skip
    outcomes, made_up = score(faults, found)
    assert [(o.right, o.tight, o.kind_right) for o in outcomes] == [
        (True, False, True),
        (True, True, True),
        (False, False, False),
    ]
    assert [o.delay_s for o in outcomes] == pytest.approx([300.0, 300.0, 60.0])
    assert [incident.id for incident in made_up] == ["i4"]


def test_too_little_time_for_the_faults_is_told() -> None:
    result = CliRunner().invoke(main, ["--days", "1", "--kinds", "silence,outage", "--direct"])
    assert result.exit_code == 2
    assert "2 faults need at least 28 hours" in result.stderr
