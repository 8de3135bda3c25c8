"""OTLP over the network, as an SDK exporter sends it: HTTP or gRPC, gzip, retries that heed the receiver."""

from __future__ import annotations

import gzip
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol, cast

import grpc
import httpx
import stamina
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from dimwatch.errors import BackpressureError, InvalidError, PermanentError, RetryableError
from dimwatch.simulate.export import Export

_PATHS: Final = {"traces": "/v1/traces", "logs": "/v1/logs"}
_METHODS: Final = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}
_RETRYABLE: Final = frozenset({408, 429, 502, 503, 504})
_RETRYABLE_CODES: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
    }
)
_TIMEOUT_S: Final = 10.0
_GIVE_UP_S: Final = 120.0
_MAX_WAIT_S: Final = 5.0


class Sender(Protocol):
    """Sends one request once."""

    def send(self, export: Export) -> int:
        """Send; return how many items the receiver rejected.

        Raises RetryableError, InvalidError (it will never take this), PermanentError (it will take nothing).
        """
        ...

    def close(self) -> None:
        """Close connections."""
        ...


def _rejected(signal: str, answer: bytes) -> int:
    if signal == "traces":
        return ExportTraceServiceResponse.FromString(answer).partial_success.rejected_spans
    return ExportLogsServiceResponse.FromString(answer).partial_success.rejected_log_records


class HttpSender:
    """OTLP/HTTP, protobuf, gzip."""

    def __init__(self, endpoint: str, token: str | None = None) -> None:
        headers = {"content-type": "application/x-protobuf", "content-encoding": "gzip"}
        if token:
            headers["authorization"] = f"Bearer {token}"
        self._client = httpx.Client(base_url=endpoint, headers=headers, timeout=_TIMEOUT_S)

    def send(self, export: Export) -> int:
        try:
            body = gzip.compress(export.body, compresslevel=1, mtime=0)
            response = self._client.post(_PATHS[export.signal], content=body)
        except httpx.UnsupportedProtocol as error:
            raise PermanentError(f"not an HTTP address: {error}") from error
        except httpx.TransportError as error:
            raise RetryableError(f"{self._client.base_url}: {error}") from error
        if response.is_success:
            return _rejected(export.signal, response.content)
        message = f"{response.url} answered {response.status_code}"
        if response.status_code in _RETRYABLE:
            after = response.headers.get("retry-after", "")
            if after.isdecimal():
                raise BackpressureError(message, float(after))
            raise RetryableError(message)
        if response.status_code in (401, 403):
            raise PermanentError(f"{message}: give the receiver's token with --token")
        if response.status_code in (404, 405):
            raise PermanentError(f"{message}: is this an OTLP/HTTP endpoint (default port 4318)?")
        raise InvalidError(f"{message}: {response.text[:200]}")

    def close(self) -> None:
        self._client.close()


def _identity(message: bytes) -> bytes:
    return message


class GrpcSender:
    """OTLP/gRPC with gzip, on an unencrypted connection."""

    def __init__(self, endpoint: str, token: str | None = None) -> None:
        self._target = endpoint.partition("://")[2] or endpoint
        self._channel = grpc.insecure_channel(self._target, compression=grpc.Compression.Gzip)
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._calls = {
            signal: self._channel.unary_unary(method, request_serializer=_identity, response_deserializer=_identity)
            for signal, method in _METHODS.items()
        }

    def send(self, export: Export) -> int:
        try:
            answer = self._calls[export.signal](export.body, timeout=_TIMEOUT_S, metadata=self._metadata)
        except grpc.RpcError as error:
            # Errors of a blocking call are calls too, which the type stubs do not say.
            code = cast(grpc.Call, error).code()
            message = f"{self._target} answered {code.name}"
            if code in _RETRYABLE_CODES:
                raise RetryableError(message) from error
            if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
                raise PermanentError(f"{message}: give the receiver's token with --token") from error
            if code is grpc.StatusCode.UNIMPLEMENTED:
                raise PermanentError(f"{message}: is this an OTLP/gRPC endpoint (default port 4317)?") from error
            raise InvalidError(message) from error
        return _rejected(export.signal, answer)

    def close(self) -> None:
        self._channel.close()


@dataclass(slots=True)
class Tally:
    """What became of what was sent; items are spans, or log records in `log_records`."""

    requests: int = 0
    spans: int = 0
    """Acknowledged."""
    log_records: int = 0
    """Acknowledged."""
    rejected: int = 0
    lost: int = 0
    """Items of requests that were refused, or given up after two minutes."""
    retries: int = 0
    bytes: int = 0
    """Of acknowledged requests, uncompressed."""
    trouble: str = ""
    """The last thing that went wrong, until something went right."""


class Delivery:
    """Sends requests on a few threads, so that a slow answer does not hold up the other services.

    At most `4 x connections` requests wait; then `submit` blocks.
    """

    def __init__(self, sender: Sender, connections: int = 4) -> None:
        self.tally = Tally()
        self._sender = sender
        self._threads = ThreadPoolExecutor(connections, thread_name_prefix="export")
        self._room = threading.BoundedSemaphore(4 * connections)
        self._lock = threading.Lock()
        self._stopping = False
        self._fatal: PermanentError | None = None
        # The tally and the progress line tell of retries.
        stamina.instrumentation.set_on_retry_hooks([])

    def submit(self, export: Export) -> None:
        """Send in the background. Raises PermanentError once the receiver has said that it takes nothing."""
        self._room.acquire()
        if self._fatal is not None:
            self._room.release()
            raise self._fatal
        self._threads.submit(self._deliver, export).add_done_callback(self._done)

    def close(self, *, drain: bool) -> None:
        """Wait for what is on its way; without `drain`, do not retry any more. Raises PermanentError."""
        self._stopping = not drain
        self._threads.shutdown(wait=True)
        self._sender.close()
        if self._fatal is not None:
            raise self._fatal

    def _done(self, future: Future[None]) -> None:
        self._room.release()
        future.result()

    def _deliver(self, export: Export) -> None:
        try:
            rejected = self._attempt(export)
        except (RetryableError, InvalidError) as error:
            with self._lock:
                self.tally.lost += export.items
                self.tally.trouble = str(error)
            return
        except PermanentError as error:
            self._fatal = error
            return
        with self._lock:
            self.tally.requests += 1
            self.tally.rejected += rejected
            self.tally.bytes += len(export.body)
            self.tally.trouble = ""
            if export.signal == "traces":
                self.tally.spans += export.items - rejected
            else:
                self.tally.log_records += export.items - rejected

    def _attempt(self, export: Export) -> int:
        for attempt in stamina.retry_context(
            on=self._wait, attempts=None, timeout=_GIVE_UP_S, wait_initial=0.2, wait_max=2.0, wait_jitter=0.2
        ):
            with attempt:
                return self._sender.send(export)
        raise AssertionError("unreachable")

    def _wait(self, error: Exception) -> bool | float:
        """Whether to try again, or in how many seconds."""
        if self._stopping or not isinstance(error, RetryableError):
            return False
        with self._lock:
            self.tally.retries += 1
            self.tally.trouble = str(error)
        if isinstance(error, BackpressureError):
            return min(error.retry_after_s, _MAX_WAIT_S)
        return True
