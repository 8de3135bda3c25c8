"""One store for the pages and notebooks that are run: it holds what a simulated fleet sent in the last hour."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import pytest

from benchmarks.ports import free_ports
from dimwatch.clock import SystemClock
from dimwatch.settings import Settings, Store
from dimwatch.store.client import StoreClient
from tests.fleet_in_store import rows, together

PATIENCE_S = 180.0


@pytest.fixture(scope="session")
def filled_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A store process, and the settings that reach it."""
    (port,) = free_ports(1)
    settings = Settings(data=tmp_path_factory.mktemp("filled"), store=Store(http_port=port))
    environment = os.environ | {
        "DIMWATCH_DATA": str(settings.data),
        "DIMWATCH_STORE__HTTP_PORT": str(port),
        "DIMWATCH_TELEMETRY__HEALTH_PORT": "0",
    }
    process = subprocess.Popen([sys.executable, "-P", "-m", "dimwatch", "store"], env=environment)
    try:
        # Made while the store starts.
        tables = together(rows(SystemClock().now_ns()))
        deadline = time.monotonic() + PATIENCE_S
        while not _answers(port):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        writer = StoreClient(settings, writer=True)
        for table, part in tables.items():
            writer.insert(table, part)
        writer.close()
        yield settings
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5).close()
    except OSError:
        return False
    return True
