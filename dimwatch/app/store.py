"""The store process: the engine, its HTTP interface, the sink that fills it, and the eventlog's retention."""

from __future__ import annotations

import socket
import threading
from typing import Final

import structlog

from dimwatch.app import impatient, store_server
from dimwatch.app.memory import keep_freed
from dimwatch.app.sinking import Sinking, keep_house, sink_limits
from dimwatch.app.standalone import Health
from dimwatch.app.stopping import Stop
from dimwatch.app.summing import Summing
from dimwatch.clock import Clock, SystemClock
from dimwatch.errors import PermanentError
from dimwatch.eventlog import open_eventlog
from dimwatch.http_server import Server
from dimwatch.settings import MIB, Settings
from dimwatch.store.access import ensure_token
from dimwatch.store.engine import Engine, EngineError
from dimwatch.store.migrate import create_database, migrate
from dimwatch.store.server import StoreServer
from dimwatch.store.sink import GROUP, TABLES
from dimwatch.store.target import EngineTarget

ENGINE_MEMORY: Final = 4096 * MIB
DRAIN_S: Final = 10.0
HEADERS_S: Final = 15.0

_log = structlog.get_logger()


def run(settings: Settings, health: Health) -> None:
    """Serve, sink and trim until SIGTERM or SIGINT; then finish what is at hand.

    With `store.mode = "server"` there is nothing to serve. Raises PermanentError when the folder, the port, the account
    or the migrations make it impossible to start.
    """
    stop = Stop.by_signals()
    if settings.store.mode == "server":
        store_server.run(settings, health, stop)
    else:
        _run_embedded(settings, health, stop)


def _run_embedded(settings: Settings, health: Health, stop: Stop) -> None:
    keep_freed()
    engine = Engine(settings.store_path, ENGINE_MEMORY)
    try:
        _migrate(engine, settings)
        listener = _listen(settings)
        server = http_server(StoreServer(settings, engine, ensure_token(settings)))
        serving = threading.Thread(target=server.run, args=([listener],), name="http")
        serving.start()
        try:
            _sink_and_trim(engine, settings, SystemClock(), stop, serving, health)
        finally:
            server.should_exit = True
            serving.join(DRAIN_S)
    finally:
        engine.close()


def _migrate(engine: Engine, settings: Settings) -> None:
    with engine.session() as session:
        try:
            create_database(lambda sql: session.run(sql).data.decode(), settings.store)
            session.use(settings.store.database)
            if not session.run("SHOW TABLES").data:
                _take_over_again(settings)
            applied = migrate(lambda sql: session.run(sql).data.decode(), settings.store)
        except EngineError as error:
            raise PermanentError(f"the database cannot be migrated: {error}") from error
    if applied:
        _log.info("migrations applied", names=applied)


def _take_over_again(settings: Settings) -> None:
    """Set the sink back to the oldest records that the eventlog keeps: a new database holds nothing of them.

    Before the first migration, so that a crash in between can not leave it out.
    """
    eventlog = open_eventlog(settings)
    try:
        consumer = eventlog.consumer(GROUP, list(TABLES))
        if committed := consumer.committed():
            consumer.commit(dict.fromkeys(committed, 0))
            _log.warning("the database is new: what the eventlog still keeps is stored again")
    finally:
        eventlog.close()


def _listen(settings: Settings) -> socket.socket:
    host, port = settings.store.host, settings.store.http_port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise PermanentError(
            f"cannot listen on {host}:{port} ({error.strerror}): stop what uses it or set DIMWATCH_STORE__HTTP_PORT"
        ) from error
    listener.listen(256)
    return listener


def http_server(store: StoreServer, headers_s: float = HEADERS_S) -> Server:
    """The HTTP server of a store, with its limits. `headers_s`: how long a request's headers may take."""
    config = impatient.config(store.app, headers_s=headers_s, max_headers=MIB, most_at_a_time=200, grace_s=DRAIN_S)
    return Server(config)


def _sink_and_trim(
    engine: Engine, settings: Settings, clock: Clock, stop: Stop, serving: threading.Thread, health: Health
) -> None:
    def check() -> None:
        if not serving.is_alive():
            raise PermanentError("the HTTP interface of the store has stopped")

    eventlog = open_eventlog(settings)
    target = EngineTarget(engine, settings.store.database)
    sinking = Sinking(eventlog, target, clock, sink_limits(settings, parallel=1))
    summing = Summing(target, stop)
    sinking.start()
    summing.start()
    try:
        keep_house(eventlog, settings, clock, stop, check)
        health.drain()
    finally:
        stop.request()
        sinking.stop()
        summing.join()
        eventlog.close()
