"""The client that all processes share between their threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import clickhouse_connect
import pytest

from dimwatch.store.client import StoreClient
from tests.contract.store.conftest import RunningStore


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The connections that were opened."""
    made: list[object] = []
    connect = clickhouse_connect.get_client

    def counted(**options: Any) -> Any:
        made.append(connect(**options))
        return made[-1]

    monkeypatch.setattr(clickhouse_connect, "get_client", counted)
    return made


def test_a_connection_outlives_its_thread(store: RunningStore, opened: list[object]) -> None:
    client = StoreClient(store.settings)
    for number in range(3):
        with ThreadPoolExecutor(1) as thread:
            assert thread.submit(client.rows, f"SELECT {number}").result() == [(number,)]
    assert len(opened) == 1
    client.close()
    assert client.rows("SELECT 4") == [(4,)]
    assert len(opened) == 2
    client.close()


def test_calls_at_the_same_time_do_not_share_one(store: RunningStore, opened: list[object]) -> None:
    client, together = StoreClient(store.settings), threading.Barrier(4, timeout=30)

    def ask(number: int) -> int:
        together.wait()
        return int(client.rows(f"SELECT {number} + sleep(0.2)")[0][0])

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(ask, range(4))) == list(range(4))
    assert len(opened) == 4
    client.close()
