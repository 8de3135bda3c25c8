"""The API process: incidents and what people say of them, over HTTP; and the canary."""

from __future__ import annotations

import socket
import threading
from typing import Final

import structlog
import uvicorn

from dimwatch.app import impatient
from dimwatch.app.api.application import application
from dimwatch.app.canary import Canary, possible
from dimwatch.app.standalone import Health
from dimwatch.clock import SystemClock
from dimwatch.errors import PermanentError
from dimwatch.eventlog import open_eventlog
from dimwatch.http_server import Server
from dimwatch.settings import Settings

_HEADERS_S: Final = 10.0
_MAX_HEADERS: Final = 64 * 1024
_GRACE_S: Final = 5
_MOST_AT_A_TIME: Final = 64

_log = structlog.get_logger()


def run(settings: Settings, health: Health) -> None:
    """Serve until SIGTERM or SIGINT. Raises PermanentError when the port is not to be had, or a token is missing."""
    eventlog, clock, stop = open_eventlog(settings), SystemClock(), threading.Event()
    canary = Canary(settings, eventlog, clock) if possible(settings) else None
    singing = threading.Thread(target=canary.run, args=[stop], name="canary") if canary else None
    try:
        server = Server(config(application(settings, eventlog, clock, canary)))
        listener = _listen(settings.api.host, settings.api.port)
        if singing:
            singing.start()
        _log.info("API", host=settings.api.host, port=settings.api.port, canary=canary is not None)
        server.run(sockets=[listener])
        health.drain()
    finally:
        stop.set()
        if singing and singing.is_alive():
            singing.join(_GRACE_S)
        eventlog.close()


def config(app: object) -> uvicorn.Config:
    """How the application is served."""
    return impatient.config(
        app, headers_s=_HEADERS_S, max_headers=_MAX_HEADERS, most_at_a_time=_MOST_AT_A_TIME, grace_s=_GRACE_S
    )


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise PermanentError(
            f"can not listen on {host}:{port} for the API: {error.strerror}; stop what uses it, or set api.port "
            "(DIMWATCH_API__PORT)"
        ) from error
    listener.listen(128)
    return listener
