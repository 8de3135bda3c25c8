"""One embedded store for all tests of this folder: chDB opens one folder a process."""

from __future__ import annotations

import base64
import os
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from urllib.parse import unquote, urlsplit

import clickhouse_connect
import pytest
import uvicorn
from clickhouse_connect.driver.client import Client
from pydantic import SecretStr

from dimwatch.app.store import http_server
from dimwatch.app.store_server import prepare
from dimwatch.settings import Settings, Store
from dimwatch.store.access import INTERNAL_USER, ensure_token
from dimwatch.store.client import StoreClient
from dimwatch.store.engine import Engine
from dimwatch.store.migrate import migrate
from dimwatch.store.server import StoreServer
from dimwatch.store.target import EngineTarget

PASSWORD = "correct horse"


@dataclass(frozen=True)
class Answer:
    """An HTTP response."""

    status: int
    headers: Message
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass(frozen=True)
class RunningStore:
    """A store that answers, and how to reach it."""

    settings: Settings
    token: str
    engine: Engine

    @property
    def port(self) -> int:
        return self.settings.store.http_port

    def client(self, *, writer: bool = False, compress: bool | str = False) -> Client:
        """A clickhouse-connect client, as a user would make it."""
        user, password = (INTERNAL_USER, self.token) if writer else ("default", "")
        return clickhouse_connect.get_client(
            host="127.0.0.1",
            port=self.port,
            username=user,
            password=password,
            compress=compress,
            dedicated_pool=True,
        )

    def run(self, sql: str) -> str:
        """Run a statement in the database, as the store process does."""
        with self.engine.session() as session:
            session.use("dimwatch")
            return session.run(sql).data.decode()

    def target(self) -> EngineTarget:
        """Where the sink inserts."""
        return EngineTarget(self.engine, "dimwatch")

    def http(
        self,
        body: bytes | None = None,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        *,
        writer: bool = False,
    ) -> Answer:
        """One request: POST with a body, GET without. `query` is the query string, encoded."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/?{query}", data=body, headers=dict(headers or {})
        )
        if writer:
            account = base64.b64encode(f"{INTERNAL_USER}:{self.token}".encode()).decode()
            request.add_header("Authorization", f"Basic {account}")
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return Answer(response.status, response.headers, response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())


@dataclass(frozen=True)
class ServerStore:
    """A database of ours on the ClickHouse server that DIMWATCH_TEST_CLICKHOUSE names."""

    settings: Settings

    def run(self, sql: str) -> str:
        """Run a statement in the database."""
        client = StoreClient(self.settings, writer=True)
        try:
            return client.text(sql, "").decode() if " FORMAT " in sql else client.command(sql)
        finally:
            client.close()

    def target(self) -> StoreClient:
        """Where the sink inserts."""
        return StoreClient(self.settings, writer=True)


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerStore]:
    url = urlsplit(os.environ["DIMWATCH_TEST_CLICKHOUSE"])
    database = f"dimwatch_test_{os.getpid()}"
    store = Store(
        mode="server",
        host=url.hostname or "127.0.0.1",
        http_port=url.port or 8123,
        tls=url.scheme == "https",
        user=unquote(url.username or "default"),
        password=SecretStr(unquote(url.password or "")),
        database=database,
    )
    settings = Settings(data=tmp_path_factory.mktemp("server"), store=store)
    prepare(settings)
    yield ServerStore(settings)
    outside = StoreClient(settings, writer=True, database="")
    outside.command(f"DROP DATABASE {database}")
    outside.close()


@contextmanager
def served(server: uvicorn.Server, listener: socket.socket) -> Iterator[None]:
    """The server answers there while the block runs."""
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        thread.join(60)
        listener.close()


@pytest.fixture(scope="package")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    data: Path = tmp_path_factory.mktemp("store")
    listener = socket.create_server(("127.0.0.1", 0))
    settings = Settings(data=data, store=Store(http_port=listener.getsockname()[1], password=SecretStr(PASSWORD)))
    engine = Engine(settings.store_path, max_memory_bytes=2 << 30)
    with engine.session() as session:
        session.run("CREATE DATABASE dimwatch")
        session.use("dimwatch")
        migrate(lambda sql: session.run(sql).data.decode(), settings.store)
    token = ensure_token(settings)
    with served(http_server(StoreServer(settings, engine, token)), listener):
        yield RunningStore(settings, token, engine)
    engine.close()
