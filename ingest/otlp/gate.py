"""A bound on what all requests in flight hold together, so that senders wait instead of the process dying."""

from __future__ import annotations

import threading
from types import TracebackType

from dimwatch.errors import BackpressureError


class Gate:
    """Counts requests and their bytes. Safe to share between threads; never blocks, it refuses."""

    def __init__(self, max_bytes: int, max_requests: int) -> None:
        self._max_bytes = max_bytes
        self._max_requests = max_requests
        self._bytes = 0
        self._requests = 0
        self._lock = threading.Lock()

    def enter(self) -> Hold:
        """Let one request in. Raises BackpressureError when too many are inside."""
        with self._lock:
            if self._requests >= self._max_requests:
                raise BackpressureError(f"{self._requests} requests are in flight; send fewer at a time")
            self._requests += 1
        return Hold(self)

    def reserve(self, size: int) -> None:
        """Take `size` bytes. Raises BackpressureError when that is over the bound."""
        with self._lock:
            if self._bytes + size > self._max_bytes:
                raise BackpressureError("the requests in flight hold too much memory")
            self._bytes += size

    def leave(self, size: int) -> None:
        """Let one request out, and give back what it held."""
        with self._lock:
            self._bytes -= size
            self._requests -= 1


class Hold:
    """What one request holds; given back when the block ends."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._size = 0

    def reserve(self, size: int) -> None:
        """Take `size` more bytes. Raises BackpressureError."""
        self._gate.reserve(size)
        self._size += size

    def __enter__(self) -> Hold:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._gate.leave(self._size)
