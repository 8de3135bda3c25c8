"""An embedded store for the dashboard's tests, empty or filled with a known fleet."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from dashboard import source
from dimwatch.app.store import http_server
from dimwatch.clock import SystemClock
from dimwatch.settings import Settings, Store
from dimwatch.store.access import ensure_token
from dimwatch.store.client import StoreClient
from dimwatch.store.engine import Engine
from dimwatch.store.migrate import migrate
from dimwatch.store.server import StoreServer
from tests.unit.dashboard.rows import fill


@pytest.fixture(scope="package")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, Engine]]:
    listener = socket.create_server(("127.0.0.1", 0))
    settings = Settings(data=tmp_path_factory.mktemp("dashboard"), store=Store(http_port=listener.getsockname()[1]))
    engine = Engine(settings.store_path, max_memory_bytes=2 << 30)
    with engine.session() as session:
        session.run("CREATE DATABASE dimwatch")
        session.use("dimwatch")
        migrate(lambda sql: session.run(sql).data.decode(), settings.store)
    server = http_server(StoreServer(settings, engine, ensure_token(settings)))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    yield settings, engine
    server.should_exit = True
    thread.join(10)
    listener.close()
    engine.close()


@pytest.fixture
def empty(running: tuple[Settings, Engine]) -> Iterator[Settings]:
    """The settings of a store without a row, which the dashboard shows."""
    settings, engine = running
    source.configure(settings)
    yield settings
    with engine.session() as session:
        session.use("dimwatch")
        for name in ("span", "trace", "observation", "drop"):
            session.run(f"TRUNCATE TABLE {name}_versions")


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
