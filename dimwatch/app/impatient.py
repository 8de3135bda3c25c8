"""HTTP servers with limits, which do not wait long for a request's headers."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

_KEEP_ALIVE_S: Final = 30


def config(app: Any, *, headers_s: float, max_headers: int, most_at_a_time: int, grace_s: float) -> uvicorn.Config:
    """How an application is served. `headers_s` and `max_headers`: how long a request's headers may take, and how many
    bytes they may have; `grace_s`: how long requests in flight may take at the end."""
    return uvicorn.Config(
        app,
        # h11 bounds the size of the request line and headers; the faster parser does not.
        http=impatient(headers_s),
        h11_max_incomplete_event_size=max_headers,
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=most_at_a_time,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(grace_s),
    )


def impatient(headers_s: float) -> type[H11Protocol]:
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
