"""The store role against a server: over TLS, with certificates, from migrations to rows, and back from an outage."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from dimwatch import records
from dimwatch.app.health import require_store
from dimwatch.app.standalone import Health
from dimwatch.app.stopping import Stop
from dimwatch.app.store import http_server
from dimwatch.app.store_server import prepare, run
from dimwatch.errors import PermanentError, RetryableError
from dimwatch.eventlog import open_eventlog
from dimwatch.eventlog.base import NewRecord
from dimwatch.settings import Settings, Store
from dimwatch.store.client import StoreClient
from dimwatch.store.server import StoreServer
from dimwatch.store.sink import GROUP, TABLES
from tests.certificates import certificate
from tests.contract.store.conftest import PASSWORD, RunningStore
from tests.contract.store.test_tables import sample

PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    folder = tmp_path_factory.mktemp("tls")
    return {name: certificate(folder, name) for name in ("server", "dimwatch", "stranger")}


@pytest.fixture
def settings(store: RunningStore, pairs: dict[str, tuple[Path, Path]], tmp_path: Path) -> Iterator[Settings]:
    """Of a process of its own, with a server that needs an account and a certificate; nobody listens yet."""
    # Bound and not listening, it keeps the port from everybody else while nobody answers there.
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        yield Settings(
            data=tmp_path,
            store=Store(
                mode="server",
                http_port=reserved.getsockname()[1],
                password=SecretStr(PASSWORD),
                database="remote",
                tls=True,
                tls_ca=pairs["server"][0],
                tls_cert=pairs["dimwatch"][0],
                tls_key=pairs["dimwatch"][1],
                linger_s=0.05,
            ),
        )
    with store.engine.session() as session:
        session.run("DROP DATABASE IF EXISTS remote SYNC")


@contextmanager
def serving(store: RunningStore, settings: Settings, pairs: dict[str, tuple[Path, Path]]) -> Iterator[None]:
    """The engine of the other tests behind another door, with TLS."""
    server: Any = http_server(StoreServer(store.settings, store.engine, store.token))
    server.config.ssl_certfile, server.config.ssl_keyfile = map(str, pairs["server"])
    server.config.ssl_ca_certs = str(pairs["dimwatch"][0])
    server.config.ssl_cert_reqs = ssl.CERT_REQUIRED
    listener = socket.create_server(("127.0.0.1", settings.store.http_port))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield
    finally:
        server.should_exit = True
        while thread.is_alive():
            # Whoever waits on a kept connection would never answer the end of its TLS.
            for connection in list(server.server_state.connections):
                connection.loop.call_soon_threadsafe(connection.transport.abort)
            thread.join(0.1)
        listener.close()


@contextmanager
def role(settings: Settings) -> Iterator[Health]:
    """The store role on a thread."""
    stop, health, raised = Stop(), Health("store"), list[BaseException]()

    def target() -> None:
        try:
            run(settings, health, stop)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    try:
        yield health
    finally:
        stop.request()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
        assert raised == []


def wait_for(there: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def append(settings: Settings, *ids: str) -> None:
    log = open_eventlog(settings)
    log.append({"drops": [NewRecord(records.encode(sample("drops", id=one)), 1) for one in ids]})
    log.close()


def unread(settings: Settings) -> int:
    log = open_eventlog(settings)
    consumer = log.consumer(GROUP, list(TABLES))
    count = sum(lag.records for lag in consumer.lag().values())
    consumer.close()
    log.close()
    return count


def ids(settings: Settings) -> list[str]:
    client = StoreClient(settings)
    try:
        return [row[0] for row in client.rows("SELECT id FROM drops ORDER BY id")]
    finally:
        client.close()


def test_records_end_in_tables_and_an_outage_only_delays_them(
    store: RunningStore, settings: Settings, pairs: dict[str, tuple[Path, Path]]
) -> None:
    append(settings, "a")
    with role(settings) as health:
        wait_for(lambda: "does not answer" in health.states()["work"])  # and is waited for
        with serving(store, settings, pairs):
            wait_for(lambda: not unread(settings))
            assert ids(settings) == ["a"]
            wait_for(lambda: health.states()["work"] == "ready")
        append(settings, "b", "c")
        with serving(store, settings, pairs):
            wait_for(lambda: not unread(settings))
            assert ids(settings) == ["a", "b", "c"]


def test_the_account_and_both_certificates_are_looked_at(
    store: RunningStore, settings: Settings, pairs: dict[str, tuple[Path, Path]]
) -> None:
    wrong: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
        "a password that is none": ({"password": SecretStr("guessed")}, RetryableError, "AUTHENTICATION_FAILED"),
        "a server that is not ours": ({"tls_ca": pairs["stranger"][0]}, RetryableError, "does not answer"),
        "a certificate it does not know": (
            {"tls_cert": pairs["stranger"][0], "tls_key": pairs["stranger"][1]}, RetryableError, "does not answer"
        ),
        "none": ({"tls_cert": None, "tls_key": None}, RetryableError, "does not answer"),
    }  # fmt: skip
    with serving(store, settings, pairs):
        prepare(settings)
        require_store(settings)
        for changed, kind, told in wrong.values():
            other = settings.model_copy(update={"store": settings.store.model_copy(update=changed)})
            client = StoreClient(other)
            with pytest.raises(kind, match=told):
                client.command("SELECT 1")
            client.close()
        unreadable = settings.store.model_copy(update={"tls_ca": settings.data / "none.pem"})
        with pytest.raises(PermanentError, match=r"look at store\.tls_ca"):
            require_store(settings.model_copy(update={"store": unreadable}))


def test_whoever_may_not_create_tables_is_told_who_should(
    store: RunningStore, settings: Settings, pairs: dict[str, tuple[Path, Path]]
) -> None:
    checking = settings.model_copy(update={"store": settings.store.model_copy(update={"migrate": False})})
    with serving(store, settings, pairs):
        with pytest.raises(PermanentError, match=r"has no tables of Dimwatch yet: .*store\.migrate on"):
            prepare(checking)
        prepare(settings)
        prepare(checking)
        with store.engine.session() as session:
            session.run("DELETE FROM remote.migrations WHERE number = 1 SETTINGS mutations_sync = 1")
        with pytest.raises(PermanentError, match=r"lacks 0001_tables\.sql"):
            prepare(checking)
