"""The store process: the engine, its HTTP interface, the sink that fills it, and the eventlog's retention."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import threading
from types import FrameType
from typing import Final

import structlog
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from dimwatch import records
from dimwatch.app.standalone import Health
from dimwatch.clock import Clock, SystemClock
from dimwatch.errors import DimwatchError, PermanentError, RetryableError
from dimwatch.eventlog import open_eventlog
from dimwatch.eventlog.base import EventLog
from dimwatch.eventlog.sqlite import SqliteEventLog
from dimwatch.settings import MIB, Settings
from dimwatch.store.access import ensure_token
from dimwatch.store.engine import Engine, EngineError, quote_identifier
from dimwatch.store.migrate import migrate
from dimwatch.store.server import StoreServer
from dimwatch.store.sink import GROUP, TABLES, Sink
from dimwatch.store.target import EngineTarget

ENGINE_MEMORY: Final = 4096 * MIB
TRIM_EVERY_S: Final = 60.0
SINK_RESTART_S: Final = 30.0
DRAIN_S: Final = 10.0
HEADERS_S: Final = 15.0
TRIMMED: Final = (
    records.OTLP_SPANS,
    records.OTLP_LOGS,
    records.POINTS,
    records.SIGHTINGS,
    *records.SCHEMAS,
    records.POINTS,
    records.SIGHTINGS,
    records.DEAD_LETTERS,
)
"""Topics under retention. `checkpoints` is not: its newest record counts however old it is; nor are metrics, which the
collector bounds by itself."""
DEAD_LETTERS_SHARE: Final = 16
"""Only people read dead letters, so that they get that part of the eventlog. They were counted as drops already."""

_log = structlog.get_logger()


def run(settings: Settings, health: Health) -> None:
    """Serve, sink and trim until SIGTERM or SIGINT; then finish what is at hand.

    Raises PermanentError when the folder, the port or the migrations make it impossible to start.
    """
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    engine = Engine(settings.store_path, ENGINE_MEMORY)
    try:
        _migrate(engine, settings)
        listener = _listen(settings)
        server = http_server(StoreServer(settings, engine, ensure_token(settings)))
        serving = threading.Thread(target=server.run, args=([listener],), name="http")
        serving.start()
        try:
            _sink_and_trim(engine, settings, SystemClock(), stop, serving)
        finally:
            health.drain()
            server.should_exit = True
            serving.join(DRAIN_S)
    finally:
        engine.close()


def _migrate(engine: Engine, settings: Settings) -> None:
    with engine.session() as session:
        try:
            session.run(f"CREATE DATABASE IF NOT EXISTS {quote_identifier(settings.store.database)}")
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


def _impatient(headers_s: float) -> type[H11Protocol]:
    """uvicorn's protocol, but a request's line and headers must come in time: waiting for them takes others' places."""

    class Impatient(H11Protocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._arm()

        def connection_lost(self, exc: Exception | None) -> None:
            self._disarm()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self.cycle is None or self.cycle.response_complete:
                self._arm()
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._disarm()

        def _arm(self) -> None:
            if self._timer is None:
                self._timer = self.loop.call_later(headers_s, self.transport.abort)

        def _disarm(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return Impatient


def http_server(store: StoreServer, headers_s: float = HEADERS_S) -> uvicorn.Server:
    """The HTTP server of a store, with its limits. `headers_s`: how long a request's headers may take."""
    return uvicorn.Server(
        uvicorn.Config(
            store.app,
            # h11 bounds the size of the request line and headers; the faster parser does not.
            http=_impatient(headers_s),
            h11_max_incomplete_event_size=MIB,
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=200,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=int(DRAIN_S),
        )
    )


def _sink_and_trim(
    engine: Engine, settings: Settings, clock: Clock, stop: threading.Event, serving: threading.Thread
) -> None:
    eventlog = SqliteEventLog(settings.eventlog_path, max_bytes=settings.eventlog.max_bytes)
    sinking = _Sinking(eventlog, EngineTarget(engine, settings.store.database), clock)
    sinking.start()
    try:
        while not stop.wait(TRIM_EVERY_S if serving.is_alive() else 0):
            if not serving.is_alive():
                raise PermanentError("the HTTP interface of the store has stopped")
            _trim(eventlog, settings, clock)
    finally:
        sinking.stop()
        eventlog.close()


def _trim(eventlog: EventLog, settings: Settings, clock: Clock) -> None:
    keep_ns = int(settings.eventlog.keep_hours * 3600e9)
    try:
        for topic in TRIMMED:
            # Where somebody reads, no bound by bytes: that would remove unread records, and the eventlog makes room by
            # itself.
            unread = topic == records.DEAD_LETTERS
            keep_bytes = int(settings.eventlog.max_bytes) // DEAD_LETTERS_SHARE if unread else sys.maxsize
            eventlog.trim(topic, keep_ns=keep_ns, keep_bytes=keep_bytes, now_ns=clock.now_ns())
    except RetryableError as error:
        _log.warning("the eventlog could not be trimmed now", error=str(error))


class _Sinking:
    """The sink on a thread of its own. If it gives up, the data stays readable and it tries again later."""

    def __init__(self, eventlog: EventLog, target: EngineTarget, clock: Clock) -> None:
        self._eventlog, self._target, self._clock = eventlog, target, clock
        self._stopped = threading.Event()
        self._sink = Sink(eventlog, target, clock)
        self._thread = threading.Thread(target=self._run, name="sink")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Finish the batch at hand."""
        self._stopped.set()
        self._sink.stop()
        self._thread.join(DRAIN_S)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._sink.run()
            except DimwatchError as error:
                if self._stopped.is_set():
                    return
                _log.error("the sink has stopped", error=str(error), again_in_s=SINK_RESTART_S)
                self._stopped.wait(SINK_RESTART_S)
