"""kill -9 at any moment: what was acknowledged is there, once."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from dimwatch.eventlog.sqlite import SqliteEventLog
from dimwatch.eventlog.testing import new, read_rest, values

pytestmark = pytest.mark.e2e

HERE = Path(__file__).parent
KILLS = 12


def start(script: str, *arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", str(HERE / script), *(str(argument) for argument in arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def kill(process: subprocess.Popen[bytes]) -> Sequence[bytes]:
    """Kill it and return the whole lines that it printed."""
    process.kill()
    output, _ = process.communicate()
    return output.splitlines()


def test_a_killed_appender_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "eventlog.sqlite"
    chance = random.Random(7)
    acknowledged: list[bytes] = []
    for attempt in range(KILLS):
        process = start("appender.py", path, attempt * 10_000_000)
        try:
            assert process.stdout is not None
            acknowledged.append(process.stdout.readline().strip())  # it runs
            time.sleep(chance.uniform(0, 0.25))
        finally:
            acknowledged += kill(process)
    log = SqliteEventLog(path, max_bytes=10**10)
    for topic in ("t", "twin"):
        found = Counter(value.split()[0] for value in values(read_rest(log.consumer("g", [topic]))))
        assert max(found.values()) == 1
        assert set(acknowledged) <= set(found)
        # At most one append of each thread was written and not yet acknowledged when the process died.
        assert len(found) - len(acknowledged) <= KILLS * 4
    assert len(acknowledged) > 100
    log.close()


def test_a_killed_copier_copies_each_record_once(tmp_path: Path) -> None:
    path = tmp_path / "eventlog.sqlite"
    chance = random.Random(11)
    log = SqliteEventLog(path, max_bytes=10**10)
    number = 0
    for _ in range(KILLS):
        process = start("copier.py", path)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            until = time.monotonic() + chance.uniform(0.02, 0.2)
            while time.monotonic() < until:
                log.append({"in": [new(b"%d" % number)]})
                number += 1
        finally:
            kill(process)
    process = start("copier.py", path)
    try:
        copied: list[bytes] = []
        reader = log.consumer("reader", ["out"])
        deadline = time.monotonic() + 120
        while len(copied) < number and time.monotonic() < deadline:
            copied += values(reader.poll(max_records=1000, max_bytes=10**9, timeout_s=0.2))
    finally:
        kill(process)
    copied += values(read_rest(reader))
    assert copied == [b"%d" % n for n in range(number)]
    log.close()
