"""A store for the dashboard's tests, empty or filled with a known fleet.

It is a process of its own: the embedded engine opens one folder a process, and other tests open theirs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import pandas as pd
import pytest

from benchmarks.ports import free_ports
from dashboard import source
from dimwatch.clock import NS_PER_SECOND, SystemClock
from dimwatch.settings import Settings, Store
from dimwatch.store.client import StoreClient
from tests.unit.dashboard.fleet_rows import fill_fleet
from tests.unit.dashboard.rows import fill

PATIENCE_S = 60.0


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=20) as response:
            return bool(response.status == 200)
    except OSError:
        return False


@pytest.fixture(scope="package")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    (port,) = free_ports(1)
    settings = Settings(data=tmp_path_factory.mktemp("dashboard"), store=Store(http_port=port))
    environment = os.environ | {"DIMWATCH_DATA": str(settings.data), "DIMWATCH_STORE__HTTP_PORT": str(port)}
    process = subprocess.Popen([sys.executable, "-m", "dimwatch", "store"], env=environment)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not _answers(f"http://127.0.0.1:{port}/ping"):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield settings
    finally:
        process.terminate()
        process.wait(60)


def _clear(settings: Settings) -> None:
    client = StoreClient(settings, writer=True)
    for name in (
        "span",
        "trace",
        "observation",
        "drop",
        "window",
        "change",
        "incident",
        "delivery",
        "run",
        "model_call",
    ):
        client.command(f"TRUNCATE TABLE {name}_versions")
    client.command("TRUNCATE TABLE reached")
    client.close()


@pytest.fixture
def empty(running: Settings) -> Iterator[Settings]:
    """The settings of a store without a row, which the dashboard shows."""
    source.configure(running)
    yield running
    _clear(running)


@pytest.fixture
def now_ns() -> int:
    """The moment that the rows are made for."""
    return SystemClock().now_ns()


@pytest.fixture
def filled(empty: Settings, now_ns: int) -> Settings:
    """The settings of a store that holds the known fleet, which the dashboard shows."""
    client = StoreClient(empty, writer=True)
    fill(client, now_ns)
    client.close()
    return empty


@pytest.fixture(scope="module")
def fleet(running: Settings) -> Iterator[pd.Timestamp]:
    """A store that holds the same with windows, incidents and a change: now. For a module that only reads them."""
    source.configure(running)
    now_s = SystemClock().now_ns() // NS_PER_SECOND
    client = StoreClient(running, writer=True)
    fill(client, now_s * NS_PER_SECOND)
    fill_fleet(client, now_s * NS_PER_SECOND)
    client.close()
    yield pd.Timestamp(now_s, unit="s", tz="UTC")
    _clear(running)
