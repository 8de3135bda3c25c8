"""HTTP servers with limits, which do not wait long for a request's headers, nor for somebody who takes nothing of an
answer: nobody keeps others out by waiting."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from typing import Any, Final

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

_KEEP_ALIVE_S: Final = 30
_UNREAD_S: Final = 60.0
"""Longer than who reads a stream of rows thinks about some of them."""


def config(
    app: Any,
    *,
    headers_s: float,
    max_headers: int,
    most_at_a_time: int,
    grace_s: float,
    unread_s: float = _UNREAD_S,
) -> uvicorn.Config:
    """How an application is served. `headers_s` and `max_headers`: how long a request's headers may take, and how many
    bytes they may have; `grace_s`: how long requests in flight may take at the end; `unread_s`: a client that takes
    nothing of its answer for so long is given up."""
    return uvicorn.Config(
        app,
        # h11 bounds the size of the request line and headers; the faster parser does not.
        http=impatient(headers_s, unread_s),
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


def impatient(headers_s: float, unread_s: float) -> type[H11Protocol]:
    """uvicorn's protocol, but a request's line and headers must come in time: waiting for them takes others' places.

    When all places are taken, a connection that waits for its client gives up its own for a new one: first those of
    the address that has most, with nothing in flight, the oldest.
    """

    class Impatient(H11Protocol):
        _timer: asyncio.TimerHandle | None = None
        since_s = 0.0

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            _send_at_once(transport)
            _give_up_when_unread(transport, unread_s)
            self._arm()
            if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
                self._make_room()

        def connection_lost(self, exc: Exception | None) -> None:
            self._disarm()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self.idle:
                self._arm()
            super().data_received(data)
            if not self.idle:
                self._disarm()

        def _make_room(self) -> None:
            others = [one for one in self.connections if isinstance(one, Impatient) and one is not self]
            held = Counter(one.address for one in others)
            waiting = [one for one in others if one.gives_way]
            if waiting:
                max(waiting, key=lambda one: (held[one.address], one.idle, -one.since_s)).transport.abort()

        @property
        def address(self) -> str:
            """Whose connection it is."""
            return self.client[0] if self.client else ""

        @property
        def idle(self) -> bool:
            """Whether no request is in flight."""
            return self.cycle is None or self.cycle.response_complete

        @property
        def gives_way(self) -> bool:
            """Whether it waits for its client: for a request, or for the body of one that nothing was answered to.

            An answer that is complete for uvicorn may still be on its way: it is in the transport's buffer.
            """
            if self.transport.is_closing() or self.transport.get_write_buffer_size():
                return False
            return self.idle or self._waits_for_body

        @property
        def _waits_for_body(self) -> bool:
            asked = self.conn.their_state is h11.SEND_BODY and not self.flow.read_paused
            return asked and self.cycle is not None and not self.cycle.response_started

        def _arm(self) -> None:
            if self._timer is None:
                self.since_s = self.loop.time()
                self._timer = self.loop.call_later(headers_s, self.transport.abort)

        def _disarm(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return Impatient


def _send_at_once(transport: asyncio.Transport) -> None:
    """Headers and body of an answer are written one after the other: the system would keep the second back until the
    client confirms the first, which takes 40 ms. asyncio asks for this only on sockets that were made for TCP by name.
    """
    transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _give_up_when_unread(transport: asyncio.Transport, after_s: float) -> None:
    """Only the system knows whether any of an answer is taken, however slowly; not all systems can be asked to look."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * after_s))
