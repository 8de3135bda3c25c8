"""The HTTP server behind every door of Dimwatch."""

from __future__ import annotations

import asyncio
import socket

import uvicorn


class Server(uvicorn.Server):
    """uvicorn's server, but its end is the end of every connection."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Requests in flight have their time; then no connection is left open, also none that takes nothing more."""
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # that is when they are closed
