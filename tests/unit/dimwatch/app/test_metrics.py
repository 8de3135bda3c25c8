"""Metrics of several processes as one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dimwatch import telemetry
from dimwatch.app.metrics import VARIABLE, Flow, MergedMetrics

_COUNT = """
import sys
from dimwatch.telemetry import OPEN_TRACES, PROCESSED_SPANS, STAGE_SECONDS
PROCESSED_SPANS.inc(float(sys.argv[1]))
OPEN_TRACES.set(float(sys.argv[1]))
STAGE_SECONDS.labels("x").observe(0.1)
print("counted", flush=True)
sys.stdin.read()
"""
PROCESSED = "dimwatch_processed_spans_total"


class Counting:
    """A process that has counted, and lives on until the end of the block."""

    def __init__(self, metrics: MergedMetrics, amount: int) -> None:
        environment = os.environ | {VARIABLE: str(metrics.folder)}
        command = [sys.executable, "-c", _COUNT, str(amount)]
        self._process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"counted\n"

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


@pytest.fixture
def metrics(tmp_path: Path) -> MergedMetrics:
    return MergedMetrics(tmp_path)


def test_processes_are_summed_and_the_dead_keep_what_they_counted(metrics: MergedMetrics) -> None:
    with Counting(metrics, 3):
        for _ in range(3):
            with Counting(metrics, 4):
                metrics.fold_the_dead()
                assert metrics.total("dimwatch_open_traces", {}) == 7
        files = len(list(metrics.folder.iterdir()))
        metrics.fold_the_dead()
        metrics.fold_the_dead()
        assert metrics.total(PROCESSED, {}) == 3 + 3 * 4
        assert metrics.total("dimwatch_stage_seconds_count", {"stage": "x"}) == 4
        assert metrics.total("dimwatch_open_traces", {}) == 3, "what the dead measured is gone"
        assert len(list(metrics.folder.iterdir())) < files
    telemetry.PROCESS_READY.labels("one").set(1)
    text = metrics.exposition().decode()
    assert f"{PROCESSED} 15.0" in text
    assert 'dimwatch_process_ready{role="one"} 1.0' in text


def test_a_file_that_was_never_finished_is_passed_over(metrics: MergedMetrics) -> None:
    (metrics.folder / "counter_1.db").touch()
    assert metrics.collect() == []
    metrics.fold_the_dead()


def test_a_new_start_begins_from_zero(tmp_path: Path) -> None:
    with Counting(MergedMetrics(tmp_path), 3):
        pass
    assert MergedMetrics(tmp_path).total(PROCESSED, {}) == 0


def test_flow_is_spans_a_second(metrics: MergedMetrics) -> None:
    flow = Flow(metrics)
    assert flow.rates()["processed"] == 0.0
    flow.sample()
    with Counting(metrics, 1000):
        flow.sample()
    rates = flow.rates()
    assert rates["received"] == 0.0
    assert rates["processed"] > 0.0
