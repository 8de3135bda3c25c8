"""The store process: killed at any moment it loses nothing, and it says why when it cannot start."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from benchmarks.ports import free_ports
from dimwatch import records
from dimwatch.clock import SystemClock
from dimwatch.errors import RetryableError
from dimwatch.eventlog.base import NewRecord
from dimwatch.eventlog.sqlite import SqliteEventLog
from dimwatch.settings import Settings, Store
from dimwatch.store.access import token_path
from dimwatch.store.client import StoreClient

pytestmark = pytest.mark.e2e

PATIENCE_S = 90.0

_COMMAND = [sys.executable, "-P", "-c", "from dimwatch.cli import main; main()", "store"]


class Process:
    """`dimwatch store` on a folder and a free port."""

    def __init__(self, data: Path) -> None:
        (port,) = free_ports(1)
        self.settings = Settings(data=data, store=Store(http_port=port))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start, wait until it answers, and return how many seconds that took."""
        environment = os.environ | {
            "DIMWATCH_STORE__HTTP_PORT": str(self.settings.store.http_port),
        }
        started = time.monotonic()
        self._process = subprocess.Popen(
            [*_COMMAND, "--data", str(self.settings.data)], env=environment, stderr=subprocess.PIPE
        )
        while time.monotonic() - started < PATIENCE_S:
            try:
                with socket.create_connection(("127.0.0.1", self.settings.store.http_port), 1) as connection:
                    connection.sendall(b"GET /ping HTTP/1.0\r\n\r\n")
                    if connection.recv(100).startswith(b"HTTP/1.1 200"):
                        return time.monotonic() - started
            except OSError:
                assert self._process.poll() is None, "the store has ended"
                time.sleep(0.02)
        raise AssertionError("the store does not answer")

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Send a signal; return the exit status and what was logged."""
        if self._process is None:
            return 0, ""
        process, self._process = self._process, None
        process.send_signal(number)
        _, logged = process.communicate(timeout=PATIENCE_S)
        return process.returncode, logged.decode()


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path)
    yield process
    process.end(signal.SIGKILL)


def drop_rows(*ids: str) -> pa.Table:
    return records.table_from_rows(
        records.DROP,
        [
            {"id": i, "time": 0, "tenant": "", "stage": "s", "signal": "x", "reason": "r", "count": 1, "version": 1}
            for i in ids
        ],
    )  # fmt: skip


def wait_for(client: StoreClient, sql: str, expected: int, seconds: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + seconds
    found: object = None
    while time.monotonic() < deadline:
        found = client.rows(sql)[0][0]
        if found == expected:
            return
        time.sleep(0.02)
    raise AssertionError(f"{sql} gives {found}, not {expected}")


def test_killed_at_any_moment_nothing_acknowledged_is_lost_or_doubled(process: Process) -> None:
    chance = random.Random(7)
    eventlog = SqliteEventLog(process.settings.eventlog_path, max_bytes=1 << 30)
    acknowledged: set[str] = set()
    logged = 0
    starts = []
    for _ in range(5):
        starts.append(process.start())
        writer = StoreClient(process.settings, writer=True)
        kill_at = time.monotonic() + chance.uniform(0.1, 1.0)
        while time.monotonic() < kill_at:
            rows = drop_rows(*(f"log-{logged + i}" for i in range(10)))
            eventlog.append({records.DROPS: [NewRecord(records.encode(rows), logged)]})
            logged += 10
            ids = [f"http-{len(acknowledged) + i}" for i in range(5)]
            writer.insert("drop_versions", drop_rows(*ids))
            acknowledged.update(ids)
        process.end(signal.SIGKILL)
        with pytest.raises(RetryableError):
            writer.rows("SELECT 1")
        writer.close()
    starts.append(process.start())
    # Ten seconds; more only on a machine that takes long to start anything, as the first time tells.
    assert max(starts) < max(10.0, 2 * starts[0]), starts
    reader = StoreClient(process.settings)
    wait_for(reader, "SELECT count() FROM drops WHERE id LIKE 'log-%'", logged)
    assert reader.rows("SELECT uniqExact(id) FROM drops WHERE id LIKE 'log-%'") == [(logged,)]
    stored = {row[0] for row in reader.rows("SELECT id FROM drops WHERE id LIKE 'http-%'")}
    assert acknowledged <= stored
    reader.close()
    status, _ = process.end(signal.SIGTERM)
    assert status == 0
    eventlog.close()


def test_a_record_is_visible_within_a_second(process: Process) -> None:
    process.start()
    eventlog = SqliteEventLog(process.settings.eventlog_path, max_bytes=1 << 30)
    reader = StoreClient(process.settings)
    wait_for(reader, "SELECT count() FROM drops", 0)
    delays: list[float] = []
    # Most take half of that. A machine that is busy with others may be slow for some, not for all.
    while sum(delay < 1.0 for delay in delays) < 3:
        assert len(delays) < 30, delays
        number = len(delays)
        appended = time.monotonic()
        eventlog.append({records.DROPS: [NewRecord(records.encode(drop_rows(str(number))), number)]})
        wait_for(reader, "SELECT count() FROM drops", number + 1)
        delays.append(time.monotonic() - appended)
    reader.close()
    eventlog.close()


def test_sigterm_drains_and_ends_well(process: Process) -> None:
    process.start()
    assert token_path(process.settings).stat().st_mode & 0o777 == 0o600
    assert process.settings.store_path.stat().st_mode & 0o777 == 0o700
    status, logged = process.end(signal.SIGTERM)
    assert status == 0, logged
    assert "Traceback" not in logged


def test_a_new_store_takes_over_again_what_the_eventlog_still_keeps(process: Process) -> None:
    process.start()
    eventlog = SqliteEventLog(process.settings.eventlog_path, max_bytes=1 << 30)
    reader = StoreClient(process.settings)
    now_ns = SystemClock().now_ns()
    eventlog.append({records.DROPS: [NewRecord(records.encode(drop_rows(str(n))), now_ns) for n in range(20)]})
    wait_for(reader, "SELECT count() FROM drops", 20)
    process.end(signal.SIGTERM)
    process.settings.store_path.rename(process.settings.data / "damaged")
    process.start()
    wait_for(reader, "SELECT count() FROM drops", 20)
    reader.close()
    eventlog.close()


def test_a_second_store_on_the_same_folder_says_so(process: Process) -> None:
    process.start()
    second = subprocess.run(
        [*_COMMAND, "--data", str(process.settings.data)],
        env=os.environ | {"DIMWATCH_STORE__HTTP_PORT": "0"},
        capture_output=True,
        timeout=PATIENCE_S,
    )
    assert second.returncode != 0
    assert b"another process" in second.stderr


def test_a_taken_port_says_so(process: Process) -> None:
    with socket.create_server(("127.0.0.1", process.settings.store.http_port)), pytest.raises(AssertionError):
        process.start()
    _, logged = process.end(signal.SIGKILL)
    assert "DIMWATCH_STORE__HTTP_PORT" in logged
