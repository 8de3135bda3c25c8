"""OTLP over gRPC, on grpc.aio.

Messages are taken as raw bytes, and gRPC's own decompression is switched off: it has no bound, so that a few
kilobytes could fill the memory. Calls are handled as streams of one message, which is the same on the wire as a
unary call, but lets the handler decide when to read, and how long to wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
import grpc.aio
import structlog

from dimwatch.errors import BackpressureError, InvalidError
from dimwatch.settings import Receiver
from ingest.otlp.intake import Answer, Intake
from ingest.otlp.signals import SIGNALS, Signal
from ingest.otlp.tls import grpc_credentials

TRANSPORT: Final = "grpc"
_STATUS_DETAILS: Final = "grpc-status-details-bin"
_MAX_READS: Final = 12
"""Most messages that arrive at once; each may be as large as `receiver.max_body`."""
_READ_PATIENCE_S: Final = 2.0

_log = structlog.get_logger()


class GrpcReceiver:
    """The gRPC door: `start`, then `stop`."""

    def __init__(self, intake: Intake, receiver: Receiver) -> None:
        self._intake = intake
        self._receiver = receiver
        self._reads = asyncio.Semaphore(_MAX_READS)
        self._server: grpc.aio.Server | None = None
        self.port = 0

    async def start(self, address: str) -> int:
        """Listen on `host:port` (port 0: any); return the port. Raises OSError or RuntimeError if it is taken."""
        options = [
            ("grpc.max_receive_message_length", int(self._receiver.max_body)),
            ("grpc.per_message_decompression", 0),
            ("grpc.so_reuseport", 0),
            ("grpc.max_concurrent_streams", 128),
            ("grpc.max_connection_idle_ms", 10 * 60 * 1000),
            ("grpc.server_handshake_timeout_ms", int(self._receiver.request_timeout_s * 1000)),
        ]
        self._server = grpc.aio.server(options=options)
        self._server.add_generic_rpc_handlers((_Handlers(self),))
        credentials = grpc_credentials(self._receiver)
        if credentials is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, credentials)
        await self._server.start()
        return self.port

    async def stop(self, grace_s: float) -> None:
        """Accept no more, finish what is in flight, close."""
        if self._server is not None:
            await self._server.stop(grace_s)

    async def export(self, signal: Signal, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        """Answer one call."""
        try:
            answer = await self._export(signal, context)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            failure = self._intake.count(signal, TRANSPORT, error)
            assert failure is not None
            if failure.http == 500:
                _log.error("request failed", signal=signal.name, exc_info=error)
            elif failure.http > 500:
                _log.warning("request refused", reason=failure.message)
            details = ((_STATUS_DETAILS, failure.status().SerializeToString()),)
            await context.abort(failure.grpc, failure.message, details)
        self._intake.count(signal, TRANSPORT, None)
        return signal.answer(answer.rejected, answer.message).SerializeToString()

    async def _export(self, signal: Signal, context: grpc.aio.ServicerContext[Any, Any]) -> Answer:
        metadata = dict(context.invocation_metadata() or ())
        self._intake.authenticate(str(metadata.get("authorization", "")))
        with self._intake.gate.enter() as hold:
            message = await self._read(context)
            hold.reserve(len(message))
            return await self._intake.take(message, signal, coding=_coding(message), json=False, hold=hold)

    async def _read(self, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        try:
            async with asyncio.timeout(_READ_PATIENCE_S):
                await self._reads.acquire()
        except TimeoutError:
            raise BackpressureError("too many requests arrive at once") from None
        try:
            async with asyncio.timeout(self._receiver.request_timeout_s):
                message = await context.read()
        finally:
            self._reads.release()
        if not isinstance(message, bytes):
            raise InvalidError("the call ended without a message")
        return message


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, receiver: GrpcReceiver) -> None:
        self._methods = {signal.grpc_method: _handler(receiver, signal) for signal in SIGNALS}

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        return self._methods.get(details.method)


def _handler(receiver: GrpcReceiver, signal: Signal) -> Any:
    async def export(_messages: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        return await receiver.export(signal, context)

    return grpc.stream_unary_rpc_method_handler(export)


def _coding(message: bytes) -> str:
    """How a message is compressed. An export request starts with 0x0a, which neither of these does."""
    if message[:2] == b"\x1f\x8b":
        return "gzip"
    if message[:1] == b"\x78" and len(message) > 1 and (message[0] << 8 | message[1]) % 31 == 0:
        return "deflate"
    return "identity"
