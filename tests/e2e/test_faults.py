"""Each role as a process over a real broker, each killed once, by the benchmark that kills a hundred times."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import faults

pytestmark = [pytest.mark.e2e, pytest.mark.kafka, pytest.mark.timeout(900)]


def test_kafka_loses_doubles_and_changes_nothing_when_each_role_is_killed(tmp_path: Path) -> None:
    result = faults.run(
        "kill_each",
        tmp_path,
        seconds=15.0,
        traces_per_s=10.0,
        load_spans_per_s=200.0,
        roles=("collector", "worker", "fleet", "store", "notifier"),  # the others keep nothing
        settings={"assembly__linger_s": "2", "assembly__idle_s": "5", "assembly__max_idle_s": "5"},
        minutes=False,
    )
    told = faults.table(result)
    assert result.good, told
    assert len(result.recovery_s) == 7, told  # two workers, and what stands in for a ClickHouse server
    assert not result.sent.given_up, told
    # There was something to lose.
    assert result.proof.spans >= result.sent.spans > 1_500, told
    assert result.proof.findings > 3, told
