"""OTLP over HTTP, on uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any, Final

import grpc
import structlog
import uvicorn
from google.protobuf import json_format
from google.protobuf.message import Message
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from dimwatch import telemetry
from dimwatch.http_server import Server
from dimwatch.settings import Receiver
from ingest.otlp.failures import Failure
from ingest.otlp.gate import Hold
from ingest.otlp.intake import Answer, Intake
from ingest.otlp.json_codec import from_protobuf
from ingest.otlp.refusals import TooLargeError, UnsupportedError
from ingest.otlp.signals import SIGNALS, Signal
from ingest.otlp.tls import http_context

TRANSPORT: Final = "http"
PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
_CONTENT_TYPES: Final = {PROTOBUF: PROTOBUF, "application/protobuf": PROTOBUF, JSON: JSON}

_KEEP_ALIVE_S: Final = 65  # longer than exporters wait between batches
_MAX_CONNECTIONS: Final = 1_024
_MAX_HEADER_BYTES: Final = 64 * 1024
_DISCARD_BYTES: Final = 64 * 1024 * 1024
_DISCARD_S: Final = 15.0

_log = structlog.get_logger()


class HttpReceiver:
    """The HTTP door: `start`, then `stop`."""

    def __init__(self, intake: Intake, receiver: Receiver) -> None:
        self._intake = intake
        self._receiver = receiver
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, listener: socket.socket) -> None:
        """Serve on a bound socket; returns when requests are answered."""
        tls = http_context(self._receiver)
        config = uvicorn.Config(
            self._application(),
            http=_guarded(self._receiver.request_timeout_s),
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            ssl_context_factory=None if tls is None else lambda _config, _default: tls,
        )
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started:
            if self._task.done():
                await self._task
            await asyncio.sleep(0.005)

    async def stop(self, grace_s: float) -> None:
        """Accept no more, finish what is in flight, close. Requests not done after `grace_s` are cut off."""
        if self._server is None or self._task is None:
            return
        self._server.config.timeout_graceful_shutdown = max(1, int(grace_s))
        self._server.should_exit = True
        await self._task

    def _application(self) -> Starlette:
        routes = [Route(signal.http_path, self._endpoint(signal), methods=["POST"]) for signal in SIGNALS]
        handlers: Any = {HTTPException: self._other_error}
        return Starlette(routes=routes, exception_handlers=handlers)

    def _endpoint(self, signal: Signal) -> Any:
        async def export(request: Request) -> Response:
            content_type = _content_type(request)
            try:
                answer = await self._export(request, signal, content_type)
            except ClientDisconnect:
                telemetry.RECEIVED_REQUESTS.labels(signal.name, TRANSPORT, "disconnected").inc()
                return Response(status_code=499)
            except Exception as error:
                return await self._refuse(request, signal, content_type, error)
            self._intake.count(signal, TRANSPORT, None)
            message = signal.answer(answer.rejected, answer.message)
            body = from_protobuf(message) if content_type == JSON else message.SerializeToString()
            return Response(body, media_type=content_type)

        return export

    async def _export(self, request: Request, signal: Signal, content_type: str | None) -> Answer:
        self._intake.authenticate(request.headers.get("authorization", ""))
        if content_type is None:
            raise UnsupportedError(f"the Content-Type must be {PROTOBUF} or {JSON}")
        with self._intake.gate.enter() as hold:
            body = await self._read(request, hold)
            coding = request.headers.get("content-encoding", "identity")
            return await self._intake.take(body, signal, coding=coding, json=content_type == JSON, hold=hold)

    async def _read(self, request: Request, hold: Hold) -> bytes:
        """The body as sent. Raises TooLargeError, BackpressureError, TimeoutError."""
        limit = int(self._receiver.max_body)
        too_large = TooLargeError(f"the body is over {limit} bytes (receiver.max_body); send smaller batches")
        announced = request.headers.get("content-length", "")
        if announced.isdigit() and int(announced) > limit:
            raise too_large
        chunks: list[bytes] = []
        size = 0
        async with asyncio.timeout(self._receiver.request_timeout_s):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise too_large
                hold.reserve(len(chunk))
                chunks.append(chunk)
        return b"".join(chunks)

    async def _refuse(
        self, request: Request, signal: Signal | None, content_type: str | None, error: Exception
    ) -> Response:
        failure = self._intake.count(signal, TRANSPORT, error)
        assert failure is not None
        if failure.http == 500:
            _log.error("request failed", signal=signal and signal.name, exc_info=error)
        elif failure.http > 500:
            _log.warning("request refused", reason=failure.message)
        if not isinstance(error, TimeoutError):
            await _discard(request)
        return _failure_response(failure, content_type)

    async def _other_error(self, request: Request, error: HTTPException) -> Response:
        """Unknown paths (404) and methods (405)."""
        message = f"{error.detail}; OTLP is received with POST on {', '.join(s.http_path for s in SIGNALS)}"
        code = {404: "NOT_FOUND", 405: "UNIMPLEMENTED"}.get(error.status_code, "UNKNOWN")
        failure = Failure(error.status_code, getattr(grpc.StatusCode, code), "unsupported", message)
        await _discard(request)
        response = _failure_response(failure, _content_type(request))
        response.headers.update(error.headers or {})
        return response


def _content_type(request: Request) -> str | None:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return _CONTENT_TYPES.get(given)


def _failure_response(failure: Failure, content_type: str | None) -> Response:
    headers = {"connection": "close"} if failure.http in (401, 408, 413, 429) else {}
    if failure.retry_after_s is not None:
        headers["retry-after"] = failure.retry_after
    if failure.http == 401:
        headers["www-authenticate"] = "Bearer"
    if failure.http == 415:
        headers["accept"] = f"{PROTOBUF}, {JSON}"
        headers["accept-encoding"] = "gzip, deflate, zstd, identity"
    status = failure.status()
    body = _status_json(status) if content_type == JSON else status.SerializeToString()
    return Response(body, failure.http, headers, content_type or PROTOBUF)


def _status_json(status: Message) -> bytes:
    return json_format.MessageToJson(status, indent=None).encode()


async def _discard(request: Request) -> None:
    """Read the rest of a refused body and forget it: a sender that still writes would not see the answer."""
    if "expect" in request.headers:
        return
    size = 0
    with contextlib.suppress(TimeoutError, ClientDisconnect, RuntimeError):
        async with asyncio.timeout(_DISCARD_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size > _DISCARD_BYTES:
                    return


class _Server(Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the process that runs both doors."""
        yield


def _guarded(timeout_s: float) -> type[HttpToolsProtocol]:
    """uvicorn's HTTP protocol with the bounds that it lacks: on time and size of headers, and on connections."""

    class Guarded(HttpToolsProtocol):
        _timer: asyncio.TimerHandle | None = None
        _in_headers = True
        _header_bytes = 0

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > _MAX_CONNECTIONS:
                transport.abort()
                return
            self._arm()

        def connection_lost(self, exc: Exception | None) -> None:
            self._disarm()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self._in_headers:
                self._arm()
                self._header_bytes += len(data)
            super().data_received(data)
            if self._in_headers and self._header_bytes > _MAX_HEADER_BYTES:
                self.transport.abort()

        def on_headers_complete(self) -> None:
            self._in_headers = False
            self._header_bytes = 0
            self._disarm()
            super().on_headers_complete()

        def on_response_complete(self) -> None:
            self._in_headers = not self.pipeline
            super().on_response_complete()

        def _arm(self) -> None:
            if self._timer is None:
                self._timer = self.loop.call_later(timeout_s, self.transport.abort)

        def _disarm(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return Guarded
