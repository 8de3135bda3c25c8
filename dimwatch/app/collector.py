"""The collector process: OTLP in at two doors, eventlog out."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

import structlog

from dimwatch.app.memory import keep_freed
from dimwatch.app.standalone import Health
from dimwatch.clock import Clock, SystemClock
from dimwatch.errors import PermanentError
from dimwatch.eventlog import open_eventlog
from dimwatch.eventlog.base import EventLog
from dimwatch.settings import Receiver, Settings
from dimwatch.store.access import is_loopback
from ingest.otlp.intake import Intake
from ingest.otlp.receiver_grpc import GrpcReceiver
from ingest.otlp.receiver_http import HttpReceiver

GRACE_S: Final = 6.0
"""How long requests in flight may take after SIGTERM."""

_TIDY_S: Final = 10.0
_BEAT_S: Final = 1.0

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Doors:
    """Where the collector listens."""

    grpc_port: int
    http_port: int


def run(settings: Settings, health: Health) -> None:
    """Receive until SIGTERM or SIGINT, then finish what is in flight. Raises PermanentError if it can not start."""
    check_exposure(settings.receiver)
    keep_freed()
    eventlog = open_eventlog(settings, spool=True)
    try:
        asyncio.run(_run(settings, eventlog, SystemClock(), health))
    finally:
        eventlog.close()


async def _run(settings: Settings, eventlog: EventLog, clock: Clock, health: Health) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serving(settings, eventlog, clock) as doors:
        _log.info("receiving OTLP", host=settings.receiver.host, grpc=doors.grpc_port, http=doors.http_port)
        while not stop.is_set():
            health.beat()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _BEAT_S)
        health.drain()
        _log.info("draining")


@contextlib.asynccontextmanager
async def serving(settings: Settings, eventlog: EventLog, clock: Clock) -> AsyncIterator[Doors]:
    """Serve both doors while the block runs; on leaving, requests in flight are finished first."""
    receiver = settings.receiver
    intake = Intake(eventlog, settings, clock)
    http, grpc = HttpReceiver(intake, receiver), GrpcReceiver(intake, receiver)
    listener = _bind(receiver.host, receiver.http_port)
    tidying: asyncio.Task[None] | None = None
    try:
        grpc_port = await _start_grpc(grpc, receiver)
        http_port = listener.getsockname()[1]
        await http.start(listener)
        tidying = asyncio.create_task(_tidy(intake))
        yield Doors(grpc_port, http_port)
    finally:
        if tidying is not None:
            tidying.cancel()
        await asyncio.gather(http.stop(GRACE_S), grpc.stop(GRACE_S))
        listener.close()
        await asyncio.to_thread(intake.close)


async def _tidy(intake: Intake) -> None:
    while True:
        await asyncio.sleep(_TIDY_S)
        await asyncio.to_thread(intake.tidy)


def check_exposure(receiver: Receiver) -> None:
    """Refuse to be open to a network for everybody. Raises PermanentError with the remedy."""
    if (receiver.token is not None and receiver.token.get_secret_value()) or receiver.tls_client_ca is not None:
        return
    if not is_loopback(receiver.host):
        raise PermanentError(
            f"receiver.host {receiver.host!r} can be reached from other machines, so a token is needed: set "
            "receiver.token (DIMWATCH_RECEIVER__TOKEN) or receiver.tls_client_ca, or listen on 127.0.0.1"
        )


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(1024)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise PermanentError(
            f"can not listen on {host}:{port} for OTLP/HTTP: {error.strerror}; stop what uses it, or set "
            "receiver.http_port (DIMWATCH_RECEIVER__HTTP_PORT)"
        ) from error
    return listener


async def _start_grpc(grpc: GrpcReceiver, receiver: Receiver) -> int:
    host = f"[{receiver.host}]" if ":" in receiver.host else receiver.host
    try:
        return await grpc.start(f"{host}:{receiver.grpc_port}")
    except (OSError, RuntimeError) as error:
        raise PermanentError(
            f"can not listen on {host}:{receiver.grpc_port} for OTLP/gRPC; stop what uses it, or set "
            "receiver.grpc_port (DIMWATCH_RECEIVER__GRPC_PORT)"
        ) from error
