"""Every process is killed twice under load, by the benchmark that does it fifty times."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import kills
from benchmarks.proof import SOME_WINDOWS
from benchmarks.running import ROLES

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def test_nothing_is_lost_doubled_or_found_differently(tmp_path: Path) -> None:
    result = kills.run(
        tmp_path,
        kills=2 * len(ROLES),
        seconds=30.0,
        traces_per_s=20.0,
        load_spans_per_s=300.0,
        settings={"assembly__idle_s": "10", "assembly__max_idle_s": "15", "detection__lateness_s": "5"},
    )
    told = kills.table(result)
    proof = result.proof
    assert not proof.lost, told
    assert not proof.doubles, told
    assert not proof.missing | proof.surplus, told
    assert not proof.other_traces, told
    assert not proof.unexplained, told
    assert not proof.other_windows, told
    assert not proof.other_incidents, told
    assert {role: len(times) for role, times in result.recovery_s.items()} == dict.fromkeys(ROLES, 2)
    # More only on a machine that took long to start everything, which is then its pace.
    assert result.slowest_s < max(kills.ANSWERS_WITHIN_S, 2 * result.started_s), told
    assert not result.sent.given_up, told
    assert not result.sent.rejected, told
    # There was something to lose.
    assert proof.spans >= result.sent.spans > 5_000, told
    assert proof.findings > 20, told
    assert proof.windows > SOME_WINDOWS, told
